package store

import (
	"context"
	"fmt"

	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// Finish publishes all that is still in the spool and marks the job finished.
// It is an error while anything is pending in a target that is not denied.
func (j *Job) Finish(ctx context.Context) error {
	for _, t := range j.Targets() {
		if t.Denied == nil && !t.Complete() {
			return fmt.Errorf("job %s is not finished: %s is pending", j.plan.ID, t.Target)
		}
	}
	if err := j.retryTransient(ctx, j.sealRest); err != nil {
		return err
	}
	if err := j.builder.drain(ctx); err != nil {
		return err
	}
	return j.retryTransient(ctx, func() error { return j.finish(ctx) })
}

// finish is repeated as a whole.
func (j *Job) finish(ctx context.Context) error {
	if err := j.swap(ctx); err != nil {
		return err
	}
	if err := j.publishInventory(ctx); err != nil {
		return err
	}
	if err := j.writeManifest(); err != nil {
		return err
	}
	return j.changeRecord(func(r *record.JobRecord) {
		r.State = record.Finished
		for _, t := range j.targets {
			if t.Denied != nil && !t.Tolerated || t.Failed > 0 {
				r.State = record.FinishedWithFailures
			}
		}
	})
}

func (j *Job) sealRest() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.record.Days) == 0 {
		return nil
	}
	err := j.save(func(r *record.JobRecord, tx *bolt.Tx) error { return seal(tx, r, j.plan) })
	if err != nil {
		return fmt.Errorf("seal the last segment: %w", err)
	}
	j.builder.committed(0, true)
	return nil
}
