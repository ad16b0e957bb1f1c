package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// Commit makes a batch durable in one transaction: THE commit point of a job. A
// later run fetches data again that were not committed, and never data that were.
// Commit drops results of series-windows that have an outcome already, so a
// repeated result never doubles a row. While the spool or the disk is full it waits
// until the context ends. If the builder has failed, it returns that error.
func (j *Job) Commit(ctx context.Context, b *Batch) error {
	if err := j.builder.waitForRoom(ctx); err != nil {
		return err
	}
	return j.retryTransient(ctx, func() error { return j.commit(b) })
}

func (j *Job) commit(b *Batch) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := commit{job: j, touched: map[record.Target]*record.TargetRecord{}}
	sealed := false
	j.encode.Begin()
	err := j.save(func(r *record.JobRecord, tx *bolt.Tx) (err error) {
		c.tx, c.record = tx, r
		if err := c.apply(b); err != nil {
			return err
		}
		if r.Spooled >= j.plan.PartSize || r.SegmentRows >= mostRows {
			sealed = true
			return seal(tx, r, j.plan)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot commit to job %s: %w", j.plan.ID, err)
	}
	done := int64(0)
	for t, rec := range c.touched {
		done += rec.PointsDone - j.targets[t].PointsDone
		j.targets[t] = *rec
	}
	j.pace.add(time.Now(), done)
	for _, t := range c.resolved {
		delete(j.targets, t)
	}
	j.builder.committed(c.spooled, sealed)
	return nil
}

// commit applies one batch in one transaction.
type commit struct {
	job      *Job
	tx       *bolt.Tx
	record   *record.JobRecord
	touched  map[record.Target]*record.TargetRecord
	resolved []record.Target // patterns that are no longer targets
	spooled  int64

	segment *bolt.Bucket // the active segment; nil until needed
	last    openInstance // of the last result
}

// openInstance caches the progress of an instance until the next instance: results
// of one instance follow each other.
type openInstance struct {
	target   record.Target
	record   *record.TargetRecord
	bucket   *bolt.Bucket // of the target's progress
	key      string
	shape    *record.Shape // nil: no instance is open
	progress record.Progress
}

// open returns the result's instance, after it has stored the previous one.
func (c *commit) open(r *Result) (_ *openInstance, err error) {
	o := &c.last
	if o.shape != nil && o.key == r.Instance && o.target == r.Target {
		return o, nil
	}
	if err := o.store(); err != nil {
		return nil, err
	}
	if o.bucket == nil || o.target != r.Target {
		o.target = r.Target
		if o.record, err = c.target(r.Target); err != nil {
			return nil, err
		}
		if o.bucket, err = c.tx.Bucket(record.BucketProgress).CreateBucketIfNotExists(record.TargetKey(r.Target)); err != nil {
			return nil, err
		}
	}
	o.key = r.Instance
	key := []byte(o.key)
	if o.shape, err = c.job.shapeOf(key); err != nil {
		return nil, err
	}
	if o.progress, err = record.DecodeProgress(o.bucket.Get(key), len(o.shape.Bits)); err != nil {
		return nil, fmt.Errorf("instance %q: %w", o.key, err)
	}
	return o, nil
}

func (o *openInstance) store() error {
	if o.shape == nil {
		return nil
	}
	o.shape = nil
	return o.bucket.Put([]byte(o.key), o.progress.Encode())
}

func (c *commit) apply(b *Batch) error {
	for i := range b.Resolved {
		if err := c.resolve(&b.Resolved[i]); err != nil {
			return err
		}
	}
	for i := range b.Discovered {
		if err := c.discover(&b.Discovered[i]); err != nil {
			return err
		}
	}
	for i := range b.Results {
		if err := c.result(&b.Results[i]); err != nil {
			return err
		}
	}
	if err := c.last.store(); err != nil {
		return err
	}
	for i := range b.Limited {
		t, err := c.target(b.Limited[i].Target)
		if err != nil {
			return err
		}
		t.FailMetrics(b.Limited[i].Metric)
	}
	for i := range b.Denied {
		if err := c.deny(&b.Denied[i]); err != nil {
			return err
		}
	}
	c.record.Counters.Add(b.Counters)
	for t, rec := range c.touched {
		if err := record.PutJSON(c.tx.Bucket(record.BucketTargets), record.TargetKey(t), rec); err != nil {
			return err
		}
	}
	return nil
}

// deny records a denial, and whether the previous job had one of the target.
func (c *commit) deny(d *Denial) error {
	t, err := c.target(d.Target)
	if err != nil {
		return err
	}
	t.Denied, t.Tolerated, t.DeniedBy = &d.Failure, d.Tolerated, d.By
	if !t.DeniedSince.IsZero() {
		return nil // denied again in this job
	}
	before := map[string]time.Time{}
	if err := record.GetJSON(c.tx.Bucket(record.BucketMeta), record.KeyDenied, &before); err != nil {
		return err
	}
	if t.DeniedSince = before[d.Target.String()]; t.DeniedSince.IsZero() {
		t.DeniedSince, t.DeniedNew = time.Now().UTC(), true
	}
	return nil
}

func (c *commit) target(t record.Target) (*record.TargetRecord, error) {
	if rec := c.touched[t]; rec != nil {
		return rec, nil
	}
	rec, known := c.job.targets[t]
	if !known {
		return nil, fmt.Errorf("target %s is not in the job", t)
	}
	c.touched[t] = &rec
	return &rec, nil
}

// resolve replaces a pattern with the targets that it matches.
func (c *commit) resolve(r *Resolution) error {
	if _, err := c.target(r.Target); err != nil {
		return err
	}
	delete(c.touched, r.Target)
	c.resolved = append(c.resolved, r.Target)
	for _, t := range r.Targets {
		if _, known := c.job.targets[t]; !known && c.touched[t] == nil {
			c.touched[t] = &record.TargetRecord{}
		}
	}
	return c.tx.Bucket(record.BucketTargets).Delete(record.TargetKey(r.Target))
}

// discover adds a page of instances. Known instances are not counted again.
func (c *commit) discover(d *Discovery) error {
	t, err := c.target(d.Target)
	if err != nil {
		return err
	}
	bucket, err := c.tx.Bucket(record.BucketInstances).CreateBucketIfNotExists(record.TargetKey(d.Target))
	if err != nil {
		return err
	}
	for _, in := range d.Instances {
		if err := c.discoverInstance(d.Target, t, bucket, in); err != nil {
			return err
		}
	}
	t.Enumerated = t.Enumerated || d.Complete
	t.FailMetrics(d.Failed...)
	return nil
}

func (c *commit) discoverInstance(target record.Target, t *record.TargetRecord, bucket *bolt.Bucket, in record.Instance) error {
	key := []byte(in.Key())
	sh, err := c.job.shapeOf(key)
	if err != nil {
		return err
	}
	var before *record.Instance
	if old := bucket.Get(key); old != nil {
		before = new(record.Instance)
		if err := json.Unmarshal(old, before); err != nil {
			return fmt.Errorf("instance %q: %w", key, err)
		}
		in = merge(before, in)
	} else {
		t.Planned++
	}
	switch {
	case in.Refused == nil:
		err = c.expect(target, t, key, sh, &in, before)
	case before == nil:
		t.Failed++
		err = c.refuse(target, key, in.Refused, len(sh.Bits))
	}
	if err != nil {
		return err
	}
	return record.PutJSON(bucket, key, in)
}

// expect plans the metrics that a discovered instance has and did not have before.
func (c *commit) expect(target record.Target, t *record.TargetRecord, key []byte, sh *record.Shape, in, before *record.Instance) error {
	counted := -1
	for _, sw := range sh.Bits {
		s := &c.job.plan.Series[sw.Series]
		if !in.Has(s.Metric) || before != nil && before.Has(s.Metric) {
			continue
		}
		t.PointsPlanned += s.Points(sw.Window)
		if sw.Series != counted {
			counted = sw.Series
			t.CostPlanned += s.CostUSD
			t.WorstPlanned += s.WorstUSD
		}
	}
	if len(in.Metrics) == 0 && (before == nil || len(before.Metrics) == 0) {
		return nil
	}
	progress, err := c.tx.Bucket(record.BucketProgress).CreateBucketIfNotExists(record.TargetKey(target))
	if err != nil {
		return err
	}
	p, err := record.DecodeProgress(progress.Get(key), len(sh.Bits))
	if err != nil {
		return fmt.Errorf("instance %q: %w", key, err)
	}
	counts := p
	changed, reopened := p.Skip(in, before, sh, c.job.plan.Series)
	if reopened {
		t.CountInstance(&counts, -1)
	}
	if !changed {
		return nil
	}
	return progress.Put(key, p.Encode())
}

// refuse marks all series-windows of an instance as failed.
func (c *commit) refuse(t record.Target, key []byte, f *record.Failure, bits int) error {
	p := record.Progress{Done: make([]byte, (bits+7)/8)}
	for i := range bits {
		p.Mark(i, bits, true)
	}
	progress, err := c.tx.Bucket(record.BucketProgress).CreateBucketIfNotExists(record.TargetKey(t))
	if err != nil {
		return err
	}
	if err := progress.Put(key, p.Encode()); err != nil {
		return err
	}
	return record.PutJSON(c.tx.Bucket(record.BucketFailures), record.FailureKey(t, key), f)
}

// merge merges an instance with the stored one. The later source wins unless it
// knows only the dimensions.
func merge(known *record.Instance, in record.Instance) record.Instance {
	sources := slices.Clone(known.Sources)
	for _, s := range in.Sources {
		if !slices.Contains(sources, s) {
			sources = append(sources, s)
		}
	}
	metrics := record.Instance{Metrics: known.Metrics}
	metrics.AddMetrics(&in)
	if in.State == "" && in.Type == "" {
		in = *known
	}
	in.Sources, in.Metrics = sources, metrics.Metrics
	return in
}

// result records the outcome of one series-window.
func (c *commit) result(r *Result) error {
	o, err := c.open(r)
	if err != nil {
		return err
	}
	bit, known := o.shape.Index[record.SeriesWindow{Series: r.Series, Window: r.Window}]
	if !known {
		return fmt.Errorf("series-window %d/%d is not in the plan of %q", r.Series, r.Window, r.Instance)
	}
	if o.progress.Marked(bit) {
		c.record.Repeated++
		return nil
	}
	if r.Failure != nil {
		err = c.fail(r)
	} else {
		err = c.spool(r, &o.progress)
	}
	if err != nil {
		return err
	}
	o.record.PointsDone += c.job.plan.Series[r.Series].Points(r.Window)
	if o.progress.Mark(bit, len(o.shape.Bits), r.Failure != nil) {
		o.record.CountInstance(&o.progress, 1)
	}
	return nil
}

func (c *commit) fail(r *Result) error {
	key := record.FailureKey(r.Target, []byte(r.Instance))
	bucket := c.tx.Bucket(record.BucketFailures)
	if bucket.Get(key) != nil {
		return nil // an instance keeps its first reason
	}
	return record.PutJSON(bucket, key, r.Failure)
}

// spoolFill is the fill percentage of the pages of a segment. Results arrive almost
// in the order of keys, so pages that bbolt splits in halves would stay half empty.
const spoolFill = 0.95

// spool adds the datapoints of one series-window to the active segment: one value
// for each UTC date.
func (c *commit) spool(r *Result, p *record.Progress) error {
	if r.Columns == nil {
		return nil
	}
	series := &c.job.plan.Series[r.Series]
	w := series.Windows[r.Window]
	if err := checkColumns(r.Columns, len(series.Statistics), w.Points()); err != nil {
		return fmt.Errorf("result for %q: %w", r.Instance, err)
	}
	segment, err := c.activeSegment()
	if err != nil {
		return err
	}
	for from := 0; from < w.Points(); {
		day := (w.Start + int64(from)*w.Period) / record.SecondsPerDay
		midnight := (day + 1) * record.SecondsPerDay
		to := min(w.Points(), int((midnight-w.Start+w.Period-1)/w.Period))
		key := record.SpoolKey(day, r.Target, r.Instance, r.Series, r.Window)
		value, rows, datapoints := c.job.encode.Encode(key, w, r.Columns, from, to)
		from = to
		if rows == 0 {
			continue
		}
		if err := segment.Put(key, value); err != nil {
			return err
		}
		c.count(day, len(key)+len(value), rows)
		c.record.SeriesRows[r.Series] += int64(rows)
		c.record.Datapoints += datapoints
		p.Rows += uint64(rows)
	}
	return nil
}

func (c *commit) activeSegment() (_ *bolt.Bucket, err error) {
	if c.segment == nil {
		if c.segment, err = c.tx.Bucket(record.BucketSpool).CreateBucketIfNotExists(record.SegmentKey(c.record.Segment)); err != nil {
			return nil, err
		}
		c.segment.FillPercent = spoolFill
	}
	return c.segment, nil
}

func (c *commit) count(day int64, bytes, rows int) {
	c.record.Spooled += int64(bytes)
	c.spooled += int64(bytes)
	c.record.Rows += int64(rows)
	c.record.SegmentRows += int64(rows)
	if i, found := slices.BinarySearch(c.record.Days, day); !found {
		c.record.Days = slices.Insert(c.record.Days, i, day)
	}
}

var errShape = errors.New("columns do not have the shape of the series-window")

func checkColumns(columns [][]float64, statistics, points int) error {
	if len(columns) != statistics {
		return errShape
	}
	for _, c := range columns {
		if len(c) != points {
			return errShape
		}
	}
	return nil
}

// mostRows limits the rows of a segment independently of its size: a day of a
// constant series takes 100 bytes even with a period of one second. Readers of
// Parquet accept at most 2^15 row groups, and ours 64 MB of metadata.
const mostRows = 1 << 28

// seal seals the active segment. The same transaction starts a new one and records the
// intent to publish the sealed one.
func seal(tx *bolt.Tx, r *record.JobRecord, plan record.Plan) error {
	in := record.Intent{Segment: r.Segment, Bytes: r.Spooled}
	for _, day := range r.Days {
		in.Parts = append(in.Parts, record.Part{Name: record.PartName(plan, day, r.Segment), Segment: r.Segment, Date: record.DateOf(day)})
	}
	r.Segment++
	r.Spooled, r.SegmentRows, r.Days = 0, 0, nil
	return record.PutJSON(tx.Bucket(record.BucketIntents), record.SegmentKey(in.Segment), in)
}
