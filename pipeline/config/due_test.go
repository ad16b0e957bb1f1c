package config

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func day(text string) Interval { return Interval{at(text), at(text).Add(24 * time.Hour)} }

// TestFixedRangeOfBrokenPeriodsIsFinished has ranges that are not whole periods, so
// that the job ends a little before its range. Then nothing more is due.
func TestFixedRangeOfBrokenPeriodsIsFinished(t *testing.T) {
	now := at("2026-11-22T02:00")
	for _, c := range []struct {
		period   time.Duration
		from, to string
	}{
		{5 * time.Minute, "2026-08-01T00:30", "2026-08-02T00:30"}, // hourly data
		{time.Minute, "2026-10-20T00:01", "2026-10-20T06:59"},     // five-minute data
		{time.Hour, "2026-11-20T00:10", "2026-11-21T00:50"},
		{7 * time.Minute, "2026-11-20", "2026-11-21"},
	} {
		s := Default()
		s.Period, s.Range = c.period, Range{Kind: Fixed, From: at(c.from), To: at(c.to)}
		due, _, err := s.Due(now, nil)
		if err != nil || due == nil {
			t.Fatalf("%s: %v, %v", s.Range, due, err)
		}
		frozen, err := s.Freeze(*due, now)
		if err != nil {
			t.Fatal(err)
		}
		if again, _, err := s.Due(now, []Interval{{frozen.Start, frozen.End}}); again != nil || err != nil {
			t.Errorf("%s, finished: due %v, %v", s.Range, again, err)
		}
	}
}

func TestFixedRangePartlyHeldIsRefused(t *testing.T) {
	s := Default()
	s.Range = Range{Kind: Fixed, From: at("2026-11-01"), To: at("2026-11-03")}
	_, _, err := s.Due(at("2026-11-22"), []Interval{day("2026-11-02")})
	if !IsError(err) || !strings.Contains(err.Error(), "overlaps 2026-11-02T00:00:00Z to 2026-11-03T00:00:00Z") {
		t.Errorf("%v", err)
	}
}

func TestFixedRangeNotYetSettledSaysWhen(t *testing.T) {
	s := Default()
	s.Range = Range{Kind: Fixed, From: at("2026-11-21"), To: at("2026-11-22")}
	_, _, err := s.Due(at("2026-11-22T00:29"), nil)
	if !IsError(err) || !strings.Contains(message(err), "run again from 2026-11-22T00:30:00Z on") {
		t.Errorf("%v", err)
	}
}

func TestOfYesterdayOnlyTheMissingPartIsDue(t *testing.T) {
	now := at("2026-11-22T02:00")
	for _, c := range []struct {
		name     string
		finished []Interval
		want     *Interval
	}{
		{"morning held", []Interval{{at("2026-11-20"), at("2026-11-21T06:00")}}, &Interval{at("2026-11-21T06:00"), at("2026-11-22")}},
		{"noon held", []Interval{{at("2026-11-21T10:00"), at("2026-11-21T14:00")}}, &Interval{at("2026-11-21"), at("2026-11-21T10:00")}},
		{"two jobs hold it", []Interval{{at("2026-11-21T10:00"), at("2026-11-22T01:00")}, {at("2026-11-20"), at("2026-11-21T10:00")}}, nil},
		{"less than a period missing", []Interval{{at("2026-11-20"), at("2026-11-21T23:57")}}, nil},
	} {
		s := Default()
		due, _, err := s.Due(now, c.finished)
		if err != nil || (due == nil) != (c.want == nil) || due != nil && *due != *c.want {
			t.Errorf("%s: %v, %v; want %v", c.name, due, err, c.want)
		}
	}
}

// TestEveryPartOfADayBecomesDue begins with jobs that cover parts of a day. The jobs
// that become due cover the rest, without an overlap, also for a night named later.
func TestEveryPartOfADayBecomesDue(t *testing.T) {
	now := at("2026-11-22T02:00")
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 6))
		s := Default()
		s.Period = []time.Duration{time.Minute, 5 * time.Minute, time.Hour}[rng.IntN(3)]
		want, at := day("2026-11-21"), now
		if rng.IntN(2) == 0 {
			s.Night, at = want.Start, now.AddDate(0, 0, rng.IntN(10))
		}
		var held []Interval
		for begin := want.Start; begin.Before(want.End); {
			begin = begin.Add(time.Duration(rng.IntN(8)) * time.Hour)
			end := begin.Add(time.Duration(1+rng.IntN(5)) * time.Hour)
			held = append(held, Interval{begin, end})
			begin = end
		}
		for jobs := 0; ; jobs++ {
			due, _, err := s.Due(at, held)
			if err != nil || jobs > 24 {
				t.Fatalf("seed %d, %d jobs, held %v: due %v, %v", seed, jobs, held, due, err)
			}
			if due == nil {
				break
			}
			frozen, err := s.Freeze(*due, at)
			if err != nil {
				t.Fatalf("seed %d, due %v: %v", seed, due, err)
			}
			job := Interval{frozen.Start, frozen.End}
			if err := s.CheckOverlap(job, held); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			held = append(held, job)
		}
		if gaps := s.missing(want, at, held); len(gaps) > 0 {
			t.Errorf("seed %d: %v missing", seed, gaps)
		}
	}
}

// TestSinceLastStartsBehindTheLastJob has data that have become coarser since the
// last job. Rounding the start of the next job down would overlap that job, so the
// next job starts one coarse period later.
func TestSinceLastStartsBehindTheLastJob(t *testing.T) {
	s := Default()
	s.Period, s.Range = time.Minute, Range{Kind: SinceLast}
	now := at("2026-11-22T02:00")
	held := []Interval{{at("2026-10-20"), at("2026-10-21T01:31")}}
	due, _, err := s.Due(now, held)
	if err != nil || due == nil || !due.Start.Equal(at("2026-10-21T01:35")) {
		t.Fatalf("due %v, %v", due, err)
	}
	frozen, err := s.Freeze(*due, now)
	if err != nil || !frozen.Start.Equal(due.Start) {
		t.Errorf("frozen from %v, %v", frozen.Start, err)
	}
}

func TestNextIsWhenSomethingIsDue(t *testing.T) {
	for _, c := range []struct {
		r    Range
		held Interval
		next string
	}{
		{Range{Kind: Yesterday}, day("2026-11-21"), "2026-11-23T00:30"},
		{Range{Kind: SinceLast}, Interval{at("2026-11-21"), at("2026-11-22T01:00")}, "2026-11-22T02:30"},
		{Range{Kind: Last, Last: 90 * time.Minute}, Interval{at("2026-11-21"), at("2026-11-22T01:00")}, "2026-11-22T02:30"},
	} {
		s := Default()
		s.Period, s.Range = time.Hour, c.r
		due, next, err := s.Due(at("2026-11-22T01:45"), []Interval{c.held})
		if due != nil || err != nil || !next.Equal(at(c.next)) {
			t.Errorf("%s: due %v, next %v, %v; want %s", c.r, due, next, err, c.next)
			continue
		}
		if due, _, err := s.Due(next.Add(-time.Second), []Interval{c.held}); due != nil || err != nil {
			t.Errorf("%s: a second before: %v, %v", c.r, due, err)
		}
		if due, _, err := s.Due(next, []Interval{c.held}); due == nil || err != nil {
			t.Errorf("%s: at next: %v, %v", c.r, due, err)
		}
	}
}

// TestLastLeavesNothingOut runs "last: 24h" at varying times. There is no gap between
// the jobs, and a longer range fetches only the missing part.
func TestLastLeavesNothingOut(t *testing.T) {
	s := Default()
	s.Period, s.Range = 5*time.Minute, Range{Kind: Last, Last: 24 * time.Hour}
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 5))
		now, held := at("2026-11-01T02:00"), []Interval{}
		for range 20 {
			due, _, err := s.Due(now, held)
			if err != nil || due == nil {
				t.Fatalf("seed %d at %v: %v, %v", seed, now, due, err)
			}
			if n := len(held); n > 0 && !due.Start.Equal(held[n-1].End) {
				t.Fatalf("seed %d at %v: %v after %v", seed, now, due, held[n-1])
			}
			held = append(held, *due)
			if again, _, err := s.Due(now.Add(10*time.Hour), held); again != nil || err != nil {
				t.Fatalf("seed %d, ten hours later: %v, %v", seed, again, err)
			}
			now = now.Add(24*time.Hour + time.Duration(rng.Int64N(int64(10*time.Hour))-int64(5*time.Hour)))
		}
	}
	s.Range.Last = 7 * 24 * time.Hour
	due, _, err := s.Due(at("2026-11-24T02:30"), []Interval{day("2026-11-20"), day("2026-11-21"), day("2026-11-23")})
	if want := (Interval{at("2026-11-17T02:00"), at("2026-11-20")}); err != nil || due == nil || *due != want {
		t.Errorf("widened: %v, %v; want %v", due, err, want)
	}
}

// TestNightsNeverOverlap runs many irregular nights with changing ranges. No job
// overlaps an earlier one, and a run with range yesterday completes that day.
func TestNightsNeverOverlap(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 4))
		s := Default()
		now := at("2025-06-01")
		var held []Interval
		for range 30 {
			now = now.Add(time.Duration(rng.Int64N(int64(100 * time.Hour)))).Truncate(time.Second)
			if rng.IntN(10) == 0 {
				now = now.Add(time.Duration(rng.IntN(80)) * 24 * time.Hour)
			}
			s.Range = []Range{{Kind: Yesterday}, {Kind: SinceLast}, {Kind: Last, Last: 25*time.Hour + 7*time.Minute}}[rng.IntN(3)]
			s.Period = []time.Duration{time.Minute, 5 * time.Minute, 7 * time.Minute, time.Hour}[rng.IntN(4)]
			due, _, err := s.Due(now, held)
			if err != nil {
				t.Fatalf("seed %d at %v: %v", seed, now, err)
			}
			if due == nil {
				continue
			}
			frozen, err := s.Freeze(*due, now)
			if err != nil {
				t.Fatalf("seed %d at %v, %s, due %v, held %v: %v", seed, now, s.Range, due, held, err)
			}
			job := Interval{frozen.Start, frozen.End}
			if err := s.CheckOverlap(job, held); err != nil {
				t.Fatalf("seed %d at %v, %s by %v: %v", seed, now, s.Range, s.Period, err)
			}
			held = append(held, job)
		}
	}
}
