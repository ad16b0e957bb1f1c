package store

import (
	"context"
	"errors"
	"fmt"

	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// sweepAll removes files of an earlier attempt: garbage and incomplete files. If it
// cannot, it only logs a warning: Finish removes garbage, too, and incomplete files
// are hidden from readers.
func (j *Job) sweepAll(ctx context.Context) {
	err := j.sweep(ctx)
	if j.record.Redo == nil { // a redo still needs its temporary files
		err = errors.Join(err, j.place.Sweep(ctx, j.plan.ID+"-"))
	}
	if err != nil {
		j.dir.log.Warn("cannot remove files of an earlier attempt", "error", err)
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
