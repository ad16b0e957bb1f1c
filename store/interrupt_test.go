package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"cwharvest/store/check"
	"cwharvest/store/durable"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// Whichever durable step of a prune fails, before or after it is done, the directory
// stays sound with all its rows, and the next prune does the rest.
func TestPruneIsInterrupted(t *testing.T) {
	template := newSmall(t)
	ids := []string{template.day(0), template.day(1)}
	for nth := 0; ; nth++ {
		for _, after := range []bool{false, true} {
			s := newSmall(t)
			mustSmall(s, os.CopyFS(s.path, os.DirFS(template.path)))
			d := s.open()
			seen := 0
			d.disk.Files.Fault = breakStep(nth, after, &seen)
			_, err := d.prune(context.Background(), time.Now().Add(time.Minute))
			mustSmall(s, d.Close())
			if seen <= nth {
				if err != nil || nth < 3 {
					t.Fatalf("after %d steps: %v", nth, err)
				}
				return
			}
			if !errors.Is(err, errInjected) {
				t.Fatalf("step %d, after %v: %v", nth, after, err)
			}
			s.sound(2, 2*48)
			_, err = Prune(context.Background(), s.path, time.Now().Add(time.Minute), Config{})
			mustSmall(s, err)
			if job, err := record.ReadJob(s.path, ids[0]); err != nil || !job.Pruned {
				t.Fatalf("step %d, after %v: %+v, %v", nth, after, job, err)
			}
			s.sound(2, 2*48)
		}
	}
}

// sound wants a directory with so many jobs and rows, and without problems.
func (s *small) sound(jobs int, rows int64) {
	s.Helper()
	report, err := check.Verify(context.Background(), s.path, nil, true)
	if err != nil || len(report.Problems) > 0 || report.Jobs != jobs || report.Rows != rows {
		s.Fatalf("%+v, %v; want %d jobs, %d rows", report, err, jobs, rows)
	}
}

// The next attempt removes garbage and incomplete files of its own job, and no others.
func TestSweepRemovesOnlyItsOwn(t *testing.T) {
	s := newSmall(t)
	d := s.open()
	job := s.begin(d, 0, testTargets[0])
	s.commit(job, &Batch{Discovered: []Discovery{list(testTargets[0], 1)}})
	id := job.plan.ID
	garbage := "date=2026-11-20/" + id + "-000009.csv"
	mustSmall(s, job.db.Update(func(tx *bolt.Tx) error { return record.AddGarbage(tx, garbage, "date=2026-11-20/gone.csv") }))
	mustSmall(s, errors.Join(job.Close(130, ""), d.Close(), os.MkdirAll(filepath.Join(s.out, "date=2026-11-20"), 0o777)))
	incomplete := durable.Temporary(filepath.Join(s.out, "date=2026-11-20", id+"-000010.csv"))
	foreign := durable.Temporary(filepath.Join(s.out, "date=2026-11-20", "other-abcdef-000010.csv"))
	for path, kept := range map[string]bool{filepath.Join(s.out, garbage): false, incomplete: false, foreign: true, filepath.Join(s.out, "date=2026-11-20", "notes.txt"): true} {
		mustSmall(s, os.WriteFile(path, []byte("x"), 0o666))
		defer func() {
			if _, err := os.Stat(path); (err == nil) != kept {
				t.Errorf("%s kept: %v, want %v", path, err == nil, kept)
			}
		}()
	}
	d = s.open()
	job = s.reopen(d, id)
	names, err := job.db.Garbage()
	if err != nil || len(names) != 0 {
		t.Errorf("garbage %q, %v", names, err)
	}
	mustSmall(s, errors.Join(job.Close(130, ""), d.Close()))
}

// Only errors that may pass are repeated, and only until the context ends. The error of
// the last try is reported with the reason of the end.
func TestRetryTransient(t *testing.T) {
	full := fmt.Errorf("write: %w", syscall.ENOSPC)
	for name, c := range map[string]struct {
		err       error
		transient bool
	}{
		"a full disk":        {full, true},
		"a quota":            {syscall.EDQUOT, true},
		"a claim being made": {durable.ErrUnfinished, true},
		"no permission":      {os.ErrPermission, false},
		"no such file":       {os.ErrNotExist, false},
		"another error":      {errInjected, false},
	} {
		stopped := errors.New("stopped")
		ctx, cancel := context.WithCancelCause(context.Background())
		tries, reports := 0, 0
		err := retryTransient(ctx, func(error) { reports++; cancel(stopped) }, func() error { tries++; return c.err })
		if tries != 1 || (reports == 1) != c.transient || !errors.Is(err, c.err) || errors.Is(err, stopped) != c.transient {
			t.Errorf("%s: %d tries, %d reports, %v", name, tries, reports, err)
		}
		cancel(nil)
	}
	if err := retryTransient(context.Background(), nil, func() error { return nil }); err != nil {
		t.Error(err)
	}
}

// Through random batches of results, repeats, failures, denials and retries, the
// committed counts are those of a model that keeps one outcome for each series-window.
func TestCommitsFollowAModel(t *testing.T) {
	for seed := range uint64(4) {
		s, rng := newSmall(t), rand.New(rand.NewPCG(seed, 9))
		d := s.open()
		job := s.begin(d, 0, testTargets[0], testTargets[1])
		const instances = 5
		for _, target := range testTargets[:2] {
			s.commit(job, &Batch{Discovered: []Discovery{list(target, instances)}})
		}
		m := model{outcomes: map[string]string{}, denied: map[record.Target]bool{}}
		for range 30 {
			var b Batch
			for range rng.IntN(4) {
				r := smallResult(testTargets[rng.IntN(2)], rng.IntN(instances), rng.IntN(2))
				if rng.IntN(3) == 0 {
					r = failedResult(r.Target, rng.IntN(instances))
				}
				b.Results = append(b.Results, r)
				m.add(&r)
			}
			if rng.IntN(5) == 0 {
				target := testTargets[rng.IntN(2)]
				b.Denied = []Denial{{Target: target, Failure: record.Failure{Class: "refused", Message: "no"}}}
				m.denied[target] = true
			}
			s.commit(job, &b)
			if rng.IntN(8) == 0 {
				mustSmall(s, job.Retry())
				m.retry()
			}
			for _, state := range job.Targets() {
				got := [3]int64{state.Done, state.Empty, state.Failed}
				if want := m.counts(state.Target, instances); got != want || (state.Denied != nil) != m.denied[state.Target] || state.Planned != instances {
					t.Fatalf("seed %d, %s: done, empty, failed %v, want %v; denied %v, want %v", seed, state.Target, got, want, state.Denied != nil, m.denied[state.Target])
				}
			}
			if job.record.Rows != m.rows || job.record.Repeated != m.repeated {
				t.Fatalf("seed %d: %d rows, %d repeated; want %d, %d", seed, job.record.Rows, job.record.Repeated, m.rows, m.repeated)
			}
		}
		mustSmall(s, errors.Join(job.Close(130, ""), d.Close()))
		s.sound(1, m.rows)
	}
}

// model is the expected committed state of a job.
type model struct {
	outcomes       map[string]string // of a series-window: rows, none or failed
	denied         map[record.Target]bool
	rows, repeated int64
}

func windowName(t record.Target, instance string, series int) string {
	return fmt.Sprint(t, instance, series)
}

// add keeps the first outcome of a series-window.
func (m *model) add(r *Result) {
	name := windowName(r.Target, r.Instance, r.Series)
	switch {
	case m.outcomes[name] != "":
		m.repeated++
	case r.Failure != nil:
		m.outcomes[name] = "failed"
	case r.Columns == nil:
		m.outcomes[name] = "none"
	default:
		m.outcomes[name] = "rows"
		m.rows += 24
	}
}

// retry forgets failures and denials.
func (m *model) retry() {
	for name, outcome := range m.outcomes {
		if outcome == "failed" {
			delete(m.outcomes, name)
		}
	}
	clear(m.denied)
}

// counts returns the numbers of instances that are done, empty and failed.
func (m *model) counts(t record.Target, instances int) (n [3]int64) {
	for i := range instances {
		a, b := m.outcomes[windowName(t, smallInstance(i).Key(), 0)], m.outcomes[windowName(t, smallInstance(i).Key(), 1)]
		switch {
		case a == "" || b == "": // pending
		case a == "failed" || b == "failed":
			n[2]++
		case a == "rows" || b == "rows":
			n[0]++
		default:
			n[1]++
		}
	}
	return n
}
