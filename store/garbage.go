package store

import (
	"context"
	"errors"
	"fmt"

	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

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
	names, err := j.db.Garbage()
	if err != nil || len(names) == 0 {
		return err
	}
	for _, name := range names {
		if err := j.place.Remove(ctx, name); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return j.db.Update(func(tx *bolt.Tx) error { return record.DropGarbage(tx, names...) })
}
