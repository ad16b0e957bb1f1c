package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"cwharvest/store/place"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// Job is an open job of a held directory. One goroutine at a time may call Commit,
// Finish and Close; the other methods are safe for concurrent use.
type Job struct {
	dir    *Dir
	db     *record.Database
	plan   record.Plan
	place  place.Place
	shapes map[string]*record.Shape
	encode record.SpoolEncoder // used by Commit only

	mu      sync.Mutex // guards the fields below, a copy of the committed state
	record  record.JobRecord
	targets map[record.Target]record.TargetRecord
	live    func() record.Live
	trouble *record.Trouble // the error that blocks writing now; replaced as a whole
	pace    pace

	builder builder
}

func (j *Job) load() error {
	return j.db.View(func(tx *bolt.Tx) error {
		if err := record.GetJSON(tx.Bucket(record.BucketMeta), record.KeyPlan, &j.plan); err != nil {
			return err
		}
		if err := record.GetJSON(tx.Bucket(record.BucketMeta), record.KeyJob, &j.record); err != nil {
			return err
		}
		j.plan.Out = record.ResolveOut(j.dir.disk.Path, j.plan.Out)
		j.plan.ApplyReplans(j.record.Replans)
		return record.ReadTargets(tx, j.targets)
	})
}

// Replan replaces windows that have aged out, in one transaction. Call it before Begin.
func (j *Job) Replan(replans []record.Replan) error {
	err := j.changeRecord(func(r *record.JobRecord) { r.Replans = append(r.Replans, replans...) })
	if err != nil {
		return fmt.Errorf("cannot replan windows: %w", err)
	}
	j.plan.ApplyReplans(replans)
	j.shapes = record.NewShapes(j.plan.Series)
	return nil
}

// Rediscover marks all targets as not enumerated, and adds new ones to the job.
func (j *Job) Rediscover(targets []record.Target) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	records := maps.Clone(j.targets)
	for _, t := range targets {
		if _, known := records[t]; !known {
			records[t] = record.TargetRecord{}
		}
	}
	err := j.save(func(_ *record.JobRecord, tx *bolt.Tx) error {
		for t, rec := range records {
			rec.Enumerated = false
			records[t] = rec
			if err := record.PutJSON(tx.Bucket(record.BucketTargets), record.TargetKey(t), rec); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot enumerate the targets again: %w", err)
	}
	j.targets = records
	return nil
}

// Plan returns the job's frozen plan.
func (j *Job) Plan() record.Plan { return j.plan }

// TargetState is the committed state of a target.
type TargetState struct {
	record.Target
	record.TargetRecord
}

// Complete reports whether every instance of the target has an outcome.
func (t TargetState) Complete() bool {
	return t.Enumerated && t.Pending() == 0
}

// Targets returns the committed state of all targets, sorted.
func (j *Job) Targets() []TargetState {
	j.mu.Lock()
	defer j.mu.Unlock()
	states := make([]TargetState, 0, len(j.targets))
	for t, r := range j.targets {
		states = append(states, TargetState{t, r})
	}
	slices.SortFunc(states, func(a, b TargetState) int { return a.Target.Compare(b.Target) })
	return states
}

// changeRecord changes the job's record in a transaction of its own.
func (j *Job) changeRecord(change func(*record.JobRecord)) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.save(func(r *record.JobRecord, _ *bolt.Tx) error { change(r); return nil })
}

// save changes the job's record in one transaction. It updates j.record only after the
// commit. The caller holds j.mu.
func (j *Job) save(change func(*record.JobRecord, *bolt.Tx) error) error {
	rec := j.record
	rec.Attempts = slices.Clone(rec.Attempts)
	rec.Days = slices.Clone(rec.Days)
	rec.SeriesRows = slices.Clone(rec.SeriesRows)
	before, err := j.db.Transaction()
	if err != nil {
		return err
	}
	err = j.db.Update(func(tx *bolt.Tx) error {
		if err := change(&rec, tx); err != nil {
			return err
		}
		return record.PutJSON(tx.Bucket(record.BucketMeta), record.KeyJob, rec)
	})
	if err == nil {
		j.record = rec
		return nil
	}
	if after, viewErr := j.db.Transaction(); viewErr != nil || after != before {
		return errors.Join(j.reload(), fmt.Errorf("a commit succeeded but reported an error: %v", err))
	}
	return err
}

// reload reads the committed state again.
func (j *Job) reload() error {
	targets := map[record.Target]record.TargetRecord{}
	err := j.db.View(func(tx *bolt.Tx) error {
		return errors.Join(record.GetJSON(tx.Bucket(record.BucketMeta), record.KeyJob, &j.record), record.ReadTargets(tx, targets))
	})
	j.targets = targets
	return err
}

// Pending returns up to limit instances of a target with pending series-windows, in
// the order of their keys, after the given key. If it returns fewer, there are no
// more.
func (j *Job) Pending(t record.Target, after string, limit int) ([]Pending, error) {
	var page []Pending
	err := j.db.View(func(tx *bolt.Tx) error {
		instances := tx.Bucket(record.BucketInstances).Bucket(record.TargetKey(t))
		if instances == nil {
			return nil
		}
		progress := tx.Bucket(record.BucketProgress).Bucket(record.TargetKey(t))
		return j.scan(instances, progress, after, func(p Pending) bool {
			page = append(page, p)
			return len(page) < limit
		})
	})
	if err != nil {
		return nil, fmt.Errorf("pending instances of %s: %w", t, err)
	}
	return page, nil
}

// scan yields pending instances after a key until yield returns false. Both buckets
// have the same order, so one cursor of each suffices.
func (j *Job) scan(instances, done *bolt.Bucket, after string, yield func(Pending) bool) error {
	from := []byte(after + "\x00") // the first key after it
	if after == "" {
		from = nil
	}
	c := instances.Cursor()
	var pc *bolt.Cursor
	var pk, pv []byte
	if done != nil {
		pc = done.Cursor()
		pk, pv = pc.Seek(from)
	}
	for k, v := c.Seek(from); k != nil; k, v = c.Next() {
		for pk != nil && bytes.Compare(pk, k) < 0 {
			pk, pv = pc.Next()
		}
		var value []byte
		if bytes.Equal(pk, k) {
			value = pv
		}
		missing, err := j.missing(k, value)
		if err != nil {
			return err
		}
		if len(missing) == 0 {
			continue
		}
		p := Pending{Missing: missing}
		if err := json.Unmarshal(v, &p.Instance); err != nil {
			return fmt.Errorf("instance %q: %w", k, err)
		}
		if !yield(p) {
			return nil
		}
	}
	return nil
}

func (j *Job) missing(key, value []byte) ([]record.SeriesWindow, error) {
	sh, err := j.shapeOf(key)
	if err != nil {
		return nil, err
	}
	if record.IsComplete(value) {
		return nil, nil
	}
	p, err := record.DecodeProgress(value, len(sh.Bits))
	if err != nil {
		return nil, err
	}
	var missing []record.SeriesWindow
	for i, sw := range sh.Bits {
		if !p.Marked(i) {
			missing = append(missing, sw)
		}
	}
	return missing, nil
}

func (j *Job) shapeOf(instance []byte) (*record.Shape, error) {
	sh := j.shapes[record.GroupOf(instance)]
	if sh == nil {
		return nil, fmt.Errorf("instance %q: the plan has no metric in its namespace with its dimensions", instance)
	}
	return sh, nil
}

// Retry makes denied targets and failed series-windows pending again, and marks the
// job as unfinished.
func (j *Job) Retry() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	targets := maps.Clone(j.targets)
	err := j.save(func(r *record.JobRecord, tx *bolt.Tx) error {
		r.State = record.Unfinished
		for t, rec := range targets {
			if err := errors.Join(rec.DropRefused(tx, t), j.retryFailed(tx, t, &rec)); err != nil {
				return err
			}
			rec.Retry()
			targets[t] = rec
			if err := record.PutJSON(tx.Bucket(record.BucketTargets), record.TargetKey(t), rec); err != nil {
				return err
			}
		}
		if err := tx.DeleteBucket(record.BucketFailures); err != nil {
			return err
		}
		_, err := tx.CreateBucket(record.BucketFailures)
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot retry failures: %w", err)
	}
	j.targets = targets
	return nil
}

// retryFailed makes the failed series-windows of a target pending. Incomplete
// instances, of a target that was denied later for example, do not count as failed yet.
func (j *Job) retryFailed(tx *bolt.Tx, t record.Target, rec *record.TargetRecord) error {
	bucket := tx.Bucket(record.BucketProgress).Bucket(record.TargetKey(t))
	if bucket == nil {
		return nil
	}
	again := map[string][]byte{}
	err := bucket.ForEach(func(key, value []byte) error {
		if !record.HasFailed(value) {
			return nil
		}
		sh, err := j.shapeOf(key)
		if err != nil {
			return err
		}
		p, err := record.DecodeProgress(value, len(sh.Bits))
		if err != nil {
			return err
		}
		for i, sw := range sh.Bits {
			if record.BitSet(p.Failed, i) {
				rec.PointsDone -= j.plan.Series[sw.Series].Points(sw.Window)
			}
		}
		if p.Complete {
			rec.Failed--
		}
		p.Complete, p.Failed = false, nil
		again[string(key)] = p.Encode()
		return nil
	})
	for key, value := range again {
		err = errors.Join(err, bucket.Put([]byte(key), value))
	}
	return err
}
