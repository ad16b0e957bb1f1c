package store

import (
	"context"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// Output files that are to be removed are written down first, in the transaction
// that makes them superfluous: a file that takes the place of others is garbage
// until it is committed, the others are from then on. Whatever kills the
// process, the next attempt removes what is left.

// discard notes names as garbage in a transaction.
func discard(tx *bolt.Tx, names ...string) error {
	for _, name := range names {
		if err := tx.Bucket(bucketGarbage).Put([]byte(name), nil); err != nil {
			return err
		}
	}
	return nil
}

// keep takes names back.
func keep(tx *bolt.Tx, names ...string) error {
	for _, name := range names {
		if err := tx.Bucket(bucketGarbage).Delete([]byte(name)); err != nil {
			return err
		}
	}
	return nil
}

// garbage returns the names to be removed.
func (db *database) garbage() (names []string, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketGarbage).ForEach(func(name, _ []byte) error {
			names = append(names, string(name))
			return nil
		})
	})
	return names, err
}

// sweepAll removes what an earlier attempt has left: garbage, and what it had not
// completed, which is made anew. What cannot be removed now is warned about only:
// a job is not finished before its garbage is gone, and the rest is hidden.
func (j *Job) sweepAll(ctx context.Context) {
	err := j.sweep(ctx)
	if j.record.Redo == nil { // whose parts are built and have no names yet
		err = errors.Join(err, j.place.Sweep(ctx, j.plan.ID+"-"))
	}
	if err != nil {
		j.dir.log.Warn("what an earlier attempt has left cannot be removed now", "error", err)
	}
}

// sweep removes garbage from the place of output.
func (j *Job) sweep(ctx context.Context) error {
	names, err := j.db.garbage()
	if err != nil || len(names) == 0 {
		return err
	}
	for _, name := range names {
		if err := j.place.Remove(ctx, name); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return j.db.update(func(tx *bolt.Tx) error { return keep(tx, names...) })
}
