package store

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cwharvest/store/check"
	"cwharvest/store/record"
)

// change gives the target of a finished job other datapoints.
func (f *fixture) change(again record.Target) {
	for name := range f.want {
		if strings.HasPrefix(name, again.Account+" "+again.Region+" ") {
			delete(f.want, name)
		}
	}
	for i := range f.results {
		r := &f.results[i]
		if r.Target != again {
			continue
		}
		if r.Columns = nil; f.rng.IntN(5) > 0 {
			series := f.plan.Series[r.Series]
			r.Columns = f.columns(series.Windows[r.Window].Points(), len(series.Statistics))
		}
		f.expect(r)
	}
}

// beginRedo does the first step of `run --redo --only`.
func (f *fixture) beginRedo(again record.Target) (err error) {
	d, err := f.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	jobs, err := d.Jobs()
	if err != nil {
		return err
	}
	job, err := d.OpenJob(jobs[0].Plan.ID)
	if err != nil {
		return err
	}
	return errors.Join(job.Redo([]record.Target{again}), job.Discard())
}

// A redo replaces the rows of its target: until its end the old ones are there,
// whatever step breaks, and then the new ones, each once.
func TestRedo(t *testing.T) {
	t.Parallel()
	for nth := 0; ; nth++ {
		for _, after := range waysToBreak(nth) {
			f := newFixture(t, 6)
			if err := f.attempt(false); err != nil {
				t.Fatal(err)
			}
			if err := f.beginRedo(testTargets[1]); err != nil {
				t.Fatal(err)
			}
			old := maps.Clone(f.want)
			f.change(testTargets[1])
			seen := 0
			f.fault = breakStep(nth, after, &seen)
			err := f.attempt(false)
			if seen <= nth {
				if err != nil || nth < 30 {
					t.Fatalf("%d durable steps, %v", nth, err)
				}
				f.check()
				t.Logf("%d steps broken", nth)
				return
			}
			f.fault = nil
			if err != nil && !errors.Is(err, errInjected) { // a failed sweep is only logged
				t.Fatalf("step %d: %v", nth, err)
			}
			f.checkRedoing(old)
			if err := f.attempt(false); err != nil {
				t.Fatalf("step %d (after %v), second attempt: %v", nth, after, err)
			}
			f.check()
		}
	}
}

// checkRedoing wants verify to agree in the midst of a redo, and all old rows
// published until the redo is committed.
func (f *fixture) checkRedoing(old map[string]string) {
	f.Helper()
	report, err := check.Verify(context.Background(), f.path, nil, false)
	if err != nil || len(report.Problems) > 0 {
		f.Fatalf("verify in mid-redo: %v, %+v", err, report)
	}
	var rows int64
	for _, p := range f.manifest().Parts {
		rows += p.Rows
	}
	if rows != int64(len(old)) && rows != int64(len(f.want)) {
		f.Fatalf("%d rows published, want %d or %d", rows, len(old), len(f.want))
	}
}

// A redo that cannot have everything leaves the old rows.
func TestRedoOfADeniedTarget(t *testing.T) {
	f := newFixture(t, 7)
	if err := f.attempt(false); err != nil {
		t.Fatal(err)
	}
	if err := f.beginRedo(testTargets[1]); err != nil {
		t.Fatal(err)
	}
	d, err := f.open()
	if err != nil {
		t.Fatal(err)
	}
	job, err := d.OpenJob(strings.TrimSuffix(filepath.Base(f.database()), ".db"))
	if err != nil {
		t.Fatal(err)
	}
	err = job.Begin(context.Background())
	if err == nil {
		err = job.Commit(context.Background(), &Batch{Denied: []Denial{{Target: testTargets[1], Failure: record.Failure{Class: "refused", Message: "no"}}}})
	}
	if err == nil {
		err = job.Finish(context.Background())
	}
	if err := errors.Join(err, job.Close(3, ""), d.Close()); err != nil {
		t.Fatal(err)
	}
	var rows int64
	for _, p := range f.manifest().Parts {
		rows += p.Rows
	}
	s, err := record.ReadStatus(f.path)
	if err != nil || s.State != "finished_with_failures" || len(s.Redo) != 1 || rows != int64(len(f.want)) {
		t.Fatalf("%v, %+v, %d rows of %d", err, s, rows, len(f.want))
	}
	report, err := check.Verify(context.Background(), f.path, nil, true)
	if err != nil || len(report.Problems) > 0 {
		t.Fatalf("%v, %+v", err, report)
	}
}

func TestPrune(t *testing.T) {
	f := newFixture(t, 8)
	if err := f.attempt(false); err != nil {
		t.Fatal(err)
	}
	first := f.database()
	d, err := f.open()
	if err != nil {
		t.Fatal(err)
	}
	next := f.plan
	next.Start = f.plan.Start.Add(72 * time.Hour)
	job, err := d.Create(context.Background(), next, nil)
	if err == nil {
		err = errors.Join(job.Begin(context.Background()), job.Finish(context.Background()), job.Close(0, ""))
	}
	if err := errors.Join(err, d.Close()); err != nil {
		t.Fatal(err)
	}
	if pruned, err := Prune(context.Background(), f.path, time.Now().Add(-time.Hour), Config{}); err != nil || len(pruned) != 0 {
		t.Fatalf("young jobs: %+v, %v", pruned, err)
	}
	pruned, err := Prune(context.Background(), f.path, time.Now().Add(time.Hour), Config{})
	if err != nil || len(pruned) != 1 {
		t.Fatalf("%+v, %v", pruned, err)
	}
	if _, err := os.Stat(first); err == nil {
		t.Fatal("the database is there still")
	}
	jobs, err := record.ReadJobs(f.path)
	if err != nil || len(jobs) != 2 || !jobs[0].Pruned || jobs[0].State != record.Finished || jobs[1].Pruned {
		t.Fatalf("%+v, %v", jobs, err)
	}
	report, err := check.Verify(context.Background(), f.path, nil, true)
	if err != nil || len(report.Problems) > 0 || report.Rows != int64(len(f.want)) {
		t.Fatalf("%+v, %v", report, err)
	}
	if repaired, err := check.Repair(context.Background(), f.path, nil, false); err != nil || !repaired[0].Sound {
		t.Fatalf("repair of a pruned job: %+v, %v", repaired, err)
	}
}
