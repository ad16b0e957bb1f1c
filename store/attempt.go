package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cwharvest/store/check"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// Reopen opens a job of an earlier run. It changes nothing if the place of its output is
// not there.
func (d *Dir) Reopen(ctx context.Context, id string) (*Job, error) {
	job, err := d.disk.ReadJob(id)
	if err == nil {
		err = d.checkPresent(ctx, &job.Plan)
	}
	if err == nil {
		err = d.claimOut(ctx, job.Plan.Out, job.Plan.Shard) // again, where only the claim was lost
	}
	if err == nil {
		err = d.reinstate(ctx, &job.Plan)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open job %s: %w", id, err)
	}
	return d.OpenJob(id)
}

// reinstate takes back parts that a repair dropped and that are intact again.
func (d *Dir) reinstate(ctx context.Context, plan *record.Plan) error {
	return retryTransient(ctx, d.reportOf(plan.Out), func() error {
		r, err := check.Reinstate(ctx, &d.disk, plan)
		if r != nil && err == nil {
			d.log.Info("parts that were missing are there again; their rows are not fetched again", "job", plan.ID, "rows", r.Rows)
		}
		return err
	})
}

// OpenJob opens a job for a run. Opening is recovery: after Begin, the builder
// publishes the parts that an earlier process left unfinished.
func (d *Dir) OpenJob(id string) (*Job, error) {
	db, err := record.OpenForWriting(d.disk.JobFile(id, ".db"))
	if err != nil {
		return nil, fmt.Errorf("cannot open job %s: %w", id, err)
	}
	j := &Job{dir: d, db: db, targets: map[record.Target]record.TargetRecord{}}
	if err := j.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open job %s: %w", id, err), db.Close())
	}
	if j.place, err = d.disk.Place(j.plan.Out); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open job %s: %w", id, err), db.Close())
	}
	j.shapes = record.NewShapes(j.plan.Series)
	j.builder.init(&d.spool, j.publishOldest)
	d.nights.add(j)
	return j, nil
}

// Begin starts an attempt. It records the attempt, marks an earlier one without an end
// as crashed, and starts the builder and the publisher of status. While the disk is
// full it waits until the context ends.
func (j *Job) Begin(ctx context.Context) error {
	err := j.retryTransient(ctx, func() error {
		return j.changeRecord(func(r *record.JobRecord) {
			closeCrashed(r)
			r.Attempts = append(r.Attempts, record.Attempt{Started: time.Now().UTC(), Owner: record.ReadOwner(j.dir.disk.Path), Options: j.dir.config.Options})
		})
	})
	if err != nil {
		return fmt.Errorf("cannot begin attempt: %w", err)
	}
	j.sweepAll(j.builder.ctx)
	spooled, sealed, err := j.unpublished()
	if err != nil {
		return fmt.Errorf("cannot begin attempt: %w", err)
	}
	j.builder.start(spooled, sealed)
	j.dir.nights.begin(j, j.dir.publishStatus)
	return nil
}

func closeCrashed(r *record.JobRecord) {
	if n := len(r.Attempts); n > 0 && r.Attempts[n-1].Ended.IsZero() {
		r.Attempts[n-1].Ended = time.Now().UTC()
		r.Attempts[n-1].Reason = "crashed"
	}
}

// Close records the exit code and the reason of the attempt's end, and what the job
// waited for then. It publishes a last status and closes the database.
func (j *Job) Close(exit int, reason string) error {
	j.builder.stop()
	waits := j.waits()
	j.SetLive(nil)
	err := j.changeRecord(func(r *record.JobRecord) {
		if n := len(r.Attempts); n > 0 && r.Attempts[n-1].Ended.IsZero() {
			r.Attempts[n-1].Ended = time.Now().UTC()
			r.Attempts[n-1].Exit = &exit
			r.Attempts[n-1].Reason = reason
			r.Attempts[n-1].Waits = waits
		}
	})
	err = errors.Join(err, j.dir.nights.remove(j))
	return errors.Join(err, j.dir.publishStatus(), j.db.Close())
}

// waits returns the reason why the job cannot continue now; "" if nothing holds it up.
func (j *Job) waits() string {
	s, err := j.Status()
	if err != nil || s.State != string(record.Unfinished) {
		return "" // the error shows again when the end of the attempt is recorded
	}
	return s.Waits()
}

// Discard closes a job that was opened without Begin.
func (j *Job) Discard() error {
	return errors.Join(j.dir.nights.remove(j), j.db.Close())
}

// Publish seals the segment that is being filled, even if it is small. The builder
// publishes it in the background. The job stays open.
func (j *Job) Publish(ctx context.Context) error { return j.retryTransient(ctx, j.sealRest) }

// Drain waits until everything that is sealed is published.
func (j *Job) Drain(ctx context.Context) error { return j.builder.drain(ctx) }

// Finish publishes the rest of the spool and marks the job as finished. It fails while
// a target that is not denied has pending instances.
func (j *Job) Finish(ctx context.Context) error {
	for _, t := range j.Targets() {
		if t.Denied == nil && !t.Complete() {
			return fmt.Errorf("job %s is not finished: %s is pending", j.plan.ID, t.Target)
		}
	}
	if err := j.Publish(ctx); err != nil {
		return err
	}
	if err := j.Drain(ctx); err != nil {
		return err
	}
	return j.retryTransient(ctx, func() error { return j.finish(ctx) })
}

// finish may be repeated as a whole.
func (j *Job) finish(ctx context.Context) error {
	if err := j.checkOut(ctx); err != nil {
		return err
	}
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
		if r.Redo != nil && len(r.Redo.Targets) == 0 { // of a repair, see prepareSwap
			r.State = record.FinishedWithFailures
		}
		for _, t := range j.targets {
			if t.Denied != nil && !t.Tolerated || t.Failed > 0 || len(t.Metrics) > 0 {
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
		return fmt.Errorf("cannot seal the last segment: %w", err)
	}
	j.builder.committed(0, true)
	return nil
}
