package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"cwharvest/store/encode"
	"cwharvest/store/lost"
	"cwharvest/store/place"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// ErrNotFinished reports a job that is still open.
var ErrNotFinished = errors.New("the job is not finished")

// Redo starts a redo of some targets of a finished job. Call it before Begin.
func (j *Job) Redo(again []record.Target) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.record.State == record.Unfinished || j.record.Redo != nil {
		return ErrNotFinished
	}
	targets := maps.Clone(j.targets)
	err := j.save(func(r *record.JobRecord, tx *bolt.Tx) error {
		r.State = record.Unfinished
		r.Segment++ // so that parts of two redos have different names
		r.Redo = &record.Redo{Targets: again, From: r.Segment}
		for _, t := range again {
			was, known := targets[t]
			if !known {
				return fmt.Errorf("target %s is not in the job", t)
			}
			rows, err := dropProgress(tx, t)
			if err := errors.Join(err, was.DropRefused(tx, t), j.skipMetrics(tx, t)); err != nil {
				return err
			}
			r.Rows -= rows
			r.Redo.OldRows += rows
			targets[t] = record.TargetRecord{Planned: was.Planned, PointsPlanned: was.PointsPlanned, CostPlanned: was.CostPlanned, WorstPlanned: was.WorstPlanned}
			if err := record.PutJSON(tx.Bucket(record.BucketTargets), record.TargetKey(t), targets[t]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot start the redo: %w", err)
	}
	j.targets = targets
	return nil
}

// skipMetrics marks the metrics that instances do not have in their progress.
func (j *Job) skipMetrics(tx *bolt.Tx, t record.Target) error {
	instances := tx.Bucket(record.BucketInstances).Bucket(record.TargetKey(t))
	if instances == nil {
		return nil
	}
	progress, err := tx.Bucket(record.BucketProgress).CreateBucketIfNotExists(record.TargetKey(t))
	if err != nil {
		return err
	}
	return instances.ForEach(func(key, value []byte) error {
		var in record.Instance
		if err := json.Unmarshal(value, &in); err != nil {
			return fmt.Errorf("instance %q: %w", key, err)
		}
		sh, err := j.shapeOf(key)
		if err != nil || len(in.Metrics) == 0 {
			return err
		}
		p := record.Progress{Done: make([]byte, (len(sh.Bits)+7)/8)}
		if changed, _ := p.Skip(&in, nil, sh, j.plan.Series); !changed {
			return nil
		}
		return progress.Put(key, p.Encode())
	})
}

// dropProgress removes the progress and the failures of a target, and returns the
// number of its rows. Its instances stay, even those that no longer exist.
func dropProgress(tx *bolt.Tx, t record.Target) (rows int64, err error) {
	if b := tx.Bucket(record.BucketProgress).Bucket(record.TargetKey(t)); b != nil {
		err = b.ForEach(func(key, value []byte) error {
			n, err := record.ProgressRows(value)
			rows += int64(n)
			return err
		})
		if err == nil {
			err = tx.Bucket(record.BucketProgress).DeleteBucket(record.TargetKey(t))
		}
	}
	if err != nil {
		return 0, err
	}
	prefix := string(record.FailureKey(t, nil))
	failures := tx.Bucket(record.BucketFailures)
	c := failures.Cursor()
	for k, _ := c.Seek([]byte(prefix)); k != nil && strings.HasPrefix(string(k), prefix); k, _ = c.Seek([]byte(prefix)) {
		if err := failures.Delete(k); err != nil {
			return 0, err
		}
	}
	return rows, nil
}

// swap replaces the old rows if every target of the redo is complete without failures.
func (j *Job) swap(ctx context.Context) error {
	j.mu.Lock()
	r, complete := j.record.Redo, true
	if r != nil {
		for _, t := range r.Targets {
			rec := j.targets[t]
			complete = complete && rec.Denied == nil && rec.Failed == 0 && !rec.LacksMetric()
		}
	}
	j.mu.Unlock()
	if r == nil || !complete {
		return nil
	}
	if !r.Prepared {
		var err error
		if r, err = j.prepareSwap(ctx, *r); err != nil || r == nil {
			return err
		}
	}
	intents, err := j.intents()
	if err != nil {
		return err
	}
	parts := slices.Clone(r.Parts)
	for _, in := range intents {
		parts = append(parts, in.Parts...)
	}
	for _, p := range parts {
		if err := j.place.Publish(ctx, p.Name, p.SHA256); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	if err := j.commitSwap(r, parts); err != nil {
		return err
	}
	if err := j.writeManifest(); err != nil { // before the files that it no longer lists are removed
		return err
	}
	j.sweepAll(ctx)
	return nil
}

// prepareSwap rewrites the old parts, and records their replacements. It returns nil if a
// lost part has rows that could not be fetched again: then all files stay.
func (j *Job) prepareSwap(ctx context.Context, r record.Redo) (*record.Redo, error) {
	lostParts, err := j.db.Lost()
	if err != nil {
		return nil, err
	}
	for i := range lostParts {
		p := &lostParts[i]
		if may, err := lost.MayRemove(ctx, j.db, j.place, &j.plan, p); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		} else if !may {
			j.dir.log.Warn("a repaired job keeps its old files: rows of them could not be fetched again", "job", j.plan.ID, "file", p.Name)
			return nil, nil
		}
		r.Removes = append(r.Removes, p.Name)
	}
	parts, err := j.db.Parts()
	if err != nil {
		return nil, err
	}
	if len(r.Targets) == 0 {
		parts = nil // only lost parts are replaced
	}
	for _, p := range parts {
		if err := j.rewrite(ctx, &r, p); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	r.Prepared = true
	return &r, j.changeRecord(func(rec *record.JobRecord) { rec.Redo = &r })
}

// errFound ends a search.
var errFound = errors.New("found")

// rewrite rewrites an old part without the rows of the targets, if it has any.
func (j *Job) rewrite(ctx context.Context, r *record.Redo, old record.Part) error {
	if sum, _, err := j.place.Sum(ctx, old.Name, true); err != nil || sum != old.SHA256 {
		return damagedPart(j.dir.disk.Path, j.place, old.Name, err)
	}
	err := record.ReadRuns(ctx, j.place, j.plan.OutputFormat(), old.Name, func(run *encode.Run, _ []string) error {
		if r.Has(run.Account, run.Region) {
			return errFound
		}
		return ctx.Err()
	})
	if !errors.Is(err, errFound) {
		return err
	}
	r.Removes = append(r.Removes, old.Name)
	is := record.Part{Segment: old.Segment, Date: old.Date}
	is.Name = fmt.Sprintf("date=%s/%s-%06d-r%06d%s", old.Date, j.plan.ID, old.Segment, r.From, j.plan.OutputFormat().Suffix())
	err = j.stagePart(&is, func(w io.Writer) error { return j.encodeWithout(ctx, w, r, old, &is) })
	if err == nil && is.Rows > 0 {
		r.Parts = append(r.Parts, is)
	}
	return err
}

// damagedPart returns the error of a part that does not match its checksum.
func damagedPart(dir string, at place.Place, name string, err error) error {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return &record.RepairError{Dir: dir, Err: fmt.Errorf("%s/%s is missing or was altered", at, name)}
}

func (j *Job) encodeWithout(ctx context.Context, w io.Writer, r *record.Redo, old record.Part, is *record.Part) (err error) {
	out, err := j.newPartWriter(w)
	if err != nil {
		return err
	}
	is.Reset()
	err = record.ReadRuns(ctx, j.place, j.plan.OutputFormat(), old.Name, func(run *encode.Run, _ []string) error {
		if r.Has(run.Account, run.Region) {
			return ctx.Err()
		}
		is.CountRun(run.Columns, run.Start, run.Period, run.Points)
		return out.WriteRun(run)
	})
	return errors.Join(err, out.Close())
}

// commitSwap commits the redo: it adds the new parts and makes the old ones garbage.
func (j *Job) commitSwap(r *record.Redo, parts []record.Part) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.save(func(rec *record.JobRecord, tx *bolt.Tx) error {
		for _, name := range r.Removes {
			if err := tx.Bucket(record.BucketParts).Delete([]byte(name)); err != nil {
				return err
			}
		}
		for _, p := range parts {
			if err := record.PutJSON(tx.Bucket(record.BucketParts), []byte(p.Name), p); err != nil {
				return err
			}
		}
		if err := tx.DeleteBucket(record.BucketIntents); err != nil {
			return err
		}
		if _, err := tx.CreateBucket(record.BucketIntents); err != nil {
			return err
		}
		rec.Redo = nil
		return errors.Join(record.SetLost(tx), record.AddGarbage(tx, r.Removes...))
	})
}
