package check

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strings"
	"time"

	"cwharvest/store/encode"
	"cwharvest/store/place"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// deep reads every row of every part, date by date over all jobs. It checks that
// parts are sorted, that each row lies in its date and in its job's range, that no
// row is there twice, and that each instance has the committed number of rows.
type deep struct {
	ctx    context.Context
	report *Report
	seed   maphash.Seed
	dates  map[string][]deepPart
	jobs   []*deepJob
	seen   map[int64]struct{} // timestamps of the current series
	away   error              // the place of output cannot be reached any more
}

// deepJob counts the rows of one job.
type deepJob struct {
	plan *record.Plan
	rows map[uint64]int64 // by the hash of the instance's name
}

type deepPart struct {
	job   *deepJob
	place place.Place
	part  record.Part
}

func newDeep(ctx context.Context, report *Report) *deep {
	return &deep{ctx: ctx, report: report, seed: maphash.MakeSeed(), dates: map[string][]deepPart{}, seen: map[int64]struct{}{}}
}

// add adds the parts of a job that match the manifest.
func (d *deep) add(plan *record.Plan, at place.Place, parts []record.Part) *deepJob {
	job := &deepJob{plan: plan, rows: map[uint64]int64{}}
	for _, p := range parts {
		d.dates[p.Date] = append(d.dates[p.Date], deepPart{job, at, p})
	}
	d.jobs = append(d.jobs, job)
	return job
}

func (d *deep) run() error {
	dates := make([]string, 0, len(d.dates))
	for date := range d.dates {
		dates = append(dates, date)
	}
	slices.Sort(dates)
	for _, date := range dates {
		if err := d.date(d.dates[date]); err != nil {
			return err
		}
	}
	return nil
}

// date reads the parts of one date in the order of their series.
func (d *deep) date(parts []deepPart) (err error) {
	var readers partHeap
	defer func() {
		for _, r := range readers {
			err = errors.Join(err, r.close())
		}
	}()
	for _, p := range parts {
		r, err := d.open(p)
		if err != nil {
			d.unreadable(p.place.String()+"/"+p.part.Name, err)
			continue
		}
		readers = append(readers, r)
	}
	readers = slices.DeleteFunc(readers, func(r *partReader) bool { return !d.next(r) })
	heap.Init(&readers)
	last := ""
	for len(readers) > 0 && d.away == nil {
		if err := d.ctx.Err(); err != nil {
			return err
		}
		r := readers[0]
		if r.series != last {
			clear(d.seen)
			last = r.series
		}
		d.check(r)
		if d.next(r) {
			heap.Fix(&readers, 0)
		} else {
			heap.Pop(&readers)
		}
	}
	return d.away
}

// unreadable reports a part that cannot be read. An outage is no finding.
func (d *deep) unreadable(name string, err error) {
	if place.IsUnavailable(err) {
		d.away = err
		return
	}
	d.report.problem(NoRemedy, "cannot read %s: %v", name, err)
}

// check checks the rows of one run.
func (d *deep) check(r *partReader) {
	run, plan := &r.run, r.job.plan
	for i := range run.Points {
		if !run.HasRow(i) {
			continue
		}
		at := run.Start + int64(i)*run.Period
		r.rows++
		r.job.rows[maphash.String(d.seed, r.instance)]++
		if _, twice := d.seen[at]; twice {
			d.report.problem(NoRemedy, "%s: %s is there twice", r.name(), describeRow(run, at))
		}
		d.seen[at] = struct{}{}
		if t := time.Unix(at, 0).UTC(); t.Format(time.DateOnly) != r.part.Date || t.Before(plan.Start) || !t.Before(plan.End) {
			d.report.problem(NoRemedy, "%s: %s does not belong there", r.name(), describeRow(run, at))
		}
	}
}

func describeRow(run *encode.Run, at int64) string {
	return fmt.Sprintf("%s/%s %s %s at %s", run.Account, run.Region, run.Dimensions, run.Metric, time.Unix(at, 0).UTC().Format(time.RFC3339))
}

// partReader is a part being read, and its current run.
type partReader struct {
	deepPart
	object place.Object
	reader encode.Reader

	run              encode.Run
	instance, series string // names for the run, in the order of parts
	rows             int64
}

func (r *partReader) name() string { return r.place.String() + "/" + r.part.Name }

func (r *partReader) close() error {
	if r.object == nil {
		return nil
	}
	err := errors.Join(r.reader.Close(), r.object.Close())
	r.object = nil
	return err
}

func (d *deep) open(p deepPart) (*partReader, error) {
	object, err := p.place.Open(d.ctx, p.part.Name)
	if err != nil {
		return nil, err
	}
	reader, err := p.job.plan.OutputFormat().NewReader(object, object.Size())
	if err != nil {
		return nil, errors.Join(err, object.Close())
	}
	return &partReader{deepPart: p, object: object, reader: reader}, nil
}

// next reads the next run of a part; false at its end, or if reading fails.
func (d *deep) next(r *partReader) bool {
	err := r.reader.Next(&r.run)
	if err == nil {
		was := r.series
		if err = r.identify(); err == nil && r.series < was {
			err = fmt.Errorf("it is not sorted at %s", describeRow(&r.run, r.run.Start))
		}
	}
	if err == nil {
		return true
	}
	if !errors.Is(err, io.EOF) {
		d.unreadable(r.name(), err)
	} else if r.rows != r.part.Rows {
		d.report.problem(NoRemedy, "%s has %d rows, but %d in the manifest", r.name(), r.rows, r.part.Rows)
	}
	if err := r.close(); err != nil {
		d.report.problem(NoRemedy, "%s: %v", r.name(), err)
	}
	return false
}

// identify sets the names of the run's instance and series.
func (r *partReader) identify() error {
	run := &r.run
	i := r.job.plan.SeriesOf(run.Namespace, run.Metric, run.Dimensions)
	if i < 0 {
		return fmt.Errorf("%s is not in the job's plan", describeRow(run, run.Start))
	}
	r.instance = strings.Join([]string{run.Account, run.Region, r.job.plan.Series[i].Group(), run.Dimensions}, "\x00")
	r.series = r.instance + "\x00" + run.Metric
	return nil
}

// partHeap orders readers by the series of their runs.
type partHeap []*partReader

func (h partHeap) Len() int { return len(h) }

func (h partHeap) Less(i, j int) bool { return h[i].series < h[j].series }

func (h partHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *partHeap) Push(x any) { *h = append(*h, x.(*partReader)) }

func (h *partHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// compare compares the rows of each instance with the committed number.
func (d *deep) compare(db *record.Database, job *deepJob) error {
	shapes := record.NewShapes(job.plan.Series)
	return db.View(func(tx *bolt.Tx) error {
		if err := d.addSpool(tx, job); err != nil {
			return err
		}
		again, err := record.RedoOf(tx)
		if err != nil {
			return err
		}
		progress := tx.Bucket(record.BucketProgress)
		return progress.ForEachBucket(func(target []byte) error {
			account, region, _ := strings.Cut(string(target), "/")
			if again != nil && (len(again.Targets) == 0 || again.Has(account, region)) {
				return nil // its old rows are published or lost, but its new ones are not published yet
			}
			return progress.Bucket(target).ForEach(func(key, value []byte) error {
				sh := shapes[record.GroupOf(key)]
				if sh == nil {
					return fmt.Errorf("instance %q is not in the plan", key)
				}
				p, err := record.DecodeProgress(value, len(sh.Bits))
				if err != nil {
					return err
				}
				name := account + "\x00" + region + "\x00" + string(key)
				if rows := job.rows[maphash.String(d.seed, name)]; rows != int64(p.Rows) {
					d.report.problem(RepairJob, "job %s: %s of %s has %d rows, but %d were committed", job.plan.ID, key[strings.LastIndexByte(string(key), 0)+1:], target, rows, p.Rows)
				}
				return nil
			})
		})
	})
}

// addSpool adds the rows that are not published yet.
func (d *deep) addSpool(tx *bolt.Tx, job *deepJob) error {
	return record.EachSpooled(tx, func(key []byte, g *record.Grid) error {
		n, err := record.ParseSpoolKey(key)
		if err != nil {
			return err
		}
		s := &job.plan.Series[n.Series]
		name := strings.Join([]string{n.Account, n.Region, s.Group(), n.Dimensions}, "\x00")
		job.rows[maphash.String(d.seed, name)] += int64(g.Rows())
		return nil
	})
}
