package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cwharvest/store/check"
	"cwharvest/store/durable"
	"cwharvest/store/record"
)

func TestEveryRowOnceWhateverTheAttempts(t *testing.T) {
	for seed := range uint64(12) {
		f := newFixture(t, seed)
		for range 6 {
			if err := f.attempt(true); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		if err := f.attempt(false); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		f.check()
		s, err := record.ReadStatus(f.path)
		if err != nil || s.State != "finished" || s.Rows != int64(len(f.want)) || s.Instances.Pending != 0 {
			t.Fatalf("seed %d: status %+v, %v", seed, s, err)
		}
	}
}

var errInjected = errors.New("injected")

// breakStep returns a fault that breaks one durable step, before or after it is done, and counts the steps in seen.
func breakStep(nth int, after bool, seen *int) func(durable.Step, bool) error {
	return func(_ durable.Step, now bool) error {
		if now != after {
			return nil
		}
		if *seen++; *seen == nth+1 {
			return errInjected
		}
		return nil
	}
}

// Every durable step is broken both ways: it fails, or it is done and reported
// as failed. A later attempt brings every row, once. Short mode takes one of the
// ways for each step, by turns.
func TestEveryRowOnceWhateverStepBreaks(t *testing.T) {
	t.Parallel()
	broken := 0
	for nth := 0; ; nth++ {
		for _, after := range waysToBreak(nth) {
			f := newFixture(t, 5)
			seen := 0
			f.fault = breakStep(nth, after, &seen)
			err := f.attempt(false)
			if seen <= nth {
				if nth < 20 {
					t.Fatalf("only %d durable steps", nth)
				}
				t.Logf("steps broken %d times", broken)
				return
			}
			broken++
			if err != nil && !errors.Is(err, errInjected) {
				t.Fatalf("step %d: %v", nth, err)
			}
			f.fault = nil
			if err := f.attempt(false); err != nil {
				t.Fatalf("step %d (after %v), second attempt: %v", nth, after, err)
			}
			f.check()
		}
	}
}

// waysToBreak are the ways in which the nth step is broken: before it is done, and
// after.
func waysToBreak(nth int) []bool {
	if testing.Short() {
		return []bool{nth%2 == 1}
	}
	return []bool{false, true}
}

// A series-window that failed before its target was denied is tried again with
// it: its reason is forgotten, too.
func TestFailedOfADeniedTargetAreTriedAgain(t *testing.T) {
	f := newFixture(t, 7)
	job := f.begin()
	target := f.results[0].Target
	i := slices.Index(testTargets, target)
	failed := f.results[0]
	failed.Columns, failed.Failure = nil, &record.Failure{Class: "poison"}
	err := job.Commit(context.Background(), &Batch{
		Discovered: []Discovery{{Target: target, Instances: f.instances[4*i : 4*i+4], Complete: true}},
		Results:    []Result{failed}, Denied: []Denial{{Target: target, Failure: record.Failure{Class: "refused"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := job.Retry(); err != nil {
		t.Fatal(err)
	}
	for _, r := range f.pending(job) {
		if r.Instance == failed.Instance && r.Series == failed.Series && r.Window == failed.Window && job.targets[target].PointsDone == 0 {
			return
		}
	}
	t.Errorf("it is not pending: %+v", job.targets[target])
}

// A segment ends at its size, or at as many rows as readers take of a file.
func TestSegmentsAreBoundByRows(t *testing.T) {
	f := newFixture(t, 5)
	f.plan.PartSize = 1 << 30
	job := f.begin()
	if err := job.Commit(context.Background(), &Batch{Results: f.results[:4]}); err != nil {
		t.Fatal(err)
	}
	if r := job.record; r.Segment != 1 || r.Rows == 0 || r.SegmentRows != r.Rows {
		t.Errorf("segment %d has %d rows of %d", r.Segment, r.SegmentRows, r.Rows)
	}
	if err := job.changeRecord(func(r *record.JobRecord) { r.SegmentRows = mostRows - 1 }); err != nil {
		t.Fatal(err)
	}
	if err := job.Commit(context.Background(), &Batch{Results: f.results[4:8]}); err != nil {
		t.Fatal(err)
	}
	if r := job.record; r.Segment != 2 || r.SegmentRows != 0 {
		t.Errorf("segment %d has %d rows", r.Segment, r.SegmentRows)
	}
}

func TestVerifyFindsWhatWasDoneToParts(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"is missing":          os.Remove,
		"has .* bytes":        func(p string) error { return os.Truncate(p, 10) },
		"was altered":         func(p string) error { return flip(p) },
		"not in the manifest": func(p string) error { return os.Link(p, strings.Replace(p, "-000001.", "-000099.", 1)) },
	} {
		f := newFixture(t, 1)
		if err := f.attempt(false); err != nil {
			t.Fatal(err)
		}
		paths, err := filepath.Glob(filepath.Join(f.plan.Out, "date=*", "*-000001.jsonl"))
		if err != nil || len(paths) == 0 {
			t.Fatal("no parts", err)
		}
		if err := harm(paths[0]); err != nil {
			t.Fatal(err)
		}
		report, err := check.Verify(context.Background(), f.path, nil, true)
		if err != nil || len(report.Problems) == 0 || !strings.Contains(report.Problems[0].Fact, filepath.Dir(paths[0])) {
			t.Errorf("%s: %v, %+v", name, err, report)
		}
	}
}

func flip(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[len(data)/2] ^= 1
	return os.WriteFile(path, data, 0o666)
}

func TestFailedAndDeniedAreCountedAndTriedAgain(t *testing.T) {
	f := newFixture(t, 2)
	d, err := f.open()
	if err != nil {
		t.Fatal(err)
	}
	job, err := d.Create(context.Background(), f.plan, testTargets)
	if err != nil {
		t.Fatal(err)
	}
	if err := job.Begin(context.Background()); err != nil {
		t.Fatal(err)
	}
	b := Batch{Denied: []Denial{{Target: testTargets[1], Failure: record.Failure{Class: "refused", Message: "no"}}}}
	for i, target := range testTargets {
		b.Discovered = append(b.Discovered, Discovery{Target: target, Instances: f.instances[4*i : 4*i+4], Complete: true})
	}
	failed := f.results[0]
	for _, r := range f.results {
		if r.Target == testTargets[1] {
			continue
		}
		if r.Target == testTargets[0] && r.Instance == f.instances[0].Key() && r.Series == 1 && r.Window == 0 {
			r.Columns, r.Failure = nil, &record.Failure{Class: "poison", Message: "500"}
			failed = r
		}
		b.Results = append(b.Results, r)
	}
	if err := job.Commit(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	if err := job.Finish(context.Background()); err != nil {
		t.Fatal(err)
	}
	s, err := job.Status()
	if err != nil {
		t.Fatal(err)
	}
	c := s.Instances
	if s.State != "finished_with_failures" || c.Planned != 12 || c.Failed != 1 || c.Denied != 4 ||
		c.Planned != c.Done+c.Empty+c.Failed+c.Denied+c.Pending || s.Targets.Denied != 1 {
		t.Errorf("state %s, counts %+v, targets %+v", s.State, c, s.Targets)
	}
	if err := job.Retry(); err != nil {
		t.Fatal(err)
	}
	page, err := job.Pending(failed.Target, "", 10)
	if err != nil || len(page) != 1 || len(page[0].Missing) != 1 || page[0].Missing[0] != (record.SeriesWindow{Series: 1, Window: 0}) {
		t.Errorf("pending after retry: %+v, %v", page, err)
	}
	if err := errors.Join(job.Close(0, ""), d.Close()); err != nil {
		t.Fatal(err)
	}
	f.plan.ID = "" // the directory holds the job already
	if err := f.attempt(false); err != nil {
		t.Fatal(err)
	}
	f.check()
}

func TestLockNamesTheOwner(t *testing.T) {
	path := t.TempDir()
	d, err := Open(path, Config{})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err = Open(path, Config{})
	var locked *record.LockedError
	if !errors.As(err, &locked) || locked.Owner.PID != os.Getpid() {
		t.Fatalf("second open: %v", err)
	}
	if waited := time.Since(began); waited < 2*time.Second {
		t.Errorf("waited %v for the lock", waited)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = Open(path, Config{}); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
