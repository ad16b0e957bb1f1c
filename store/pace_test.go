package store

import (
	"math"
	"testing"
	"time"
)

// A target that waits for an hour and then goes on at 1,000 datapoints a second is
// soon taken by its word.
func TestPaceForgetsAnOutage(t *testing.T) {
	var p pace
	at, done := time.Unix(0, 0), int64(0)
	step := func(d time.Duration, perSecond int64) (rate float64) {
		for end := at.Add(d); at.Before(end); {
			at, done = at.Add(time.Second), done+perSecond
			rate = p.rate(at, done)
		}
		return rate
	}
	if rate := step(time.Second, 1000); rate != 0 {
		t.Errorf("%v after one second, which tells nothing", rate)
	}
	if rate := step(10*time.Minute, 1000); math.Abs(rate-1000) > 1 {
		t.Errorf("%v of a steady 1000", rate)
	}
	if rate := step(time.Hour, 0); rate != 0 {
		t.Errorf("%v during an outage", rate)
	}
	if rate := step(paceWindow+paceEvery, 1000); math.Abs(rate-1000) > 1 {
		t.Errorf("%v of 1000 five minutes after an outage", rate)
	}
	if n := len(p.marks); n > int(paceWindow/paceEvery)+2 {
		t.Errorf("%d marks", n)
	}
}

// What is not listed yet is taken for average; what is denied is not waited for.
func TestProgressOfAJobThatIsHalfListed(t *testing.T) {
	var s Status
	for region, r := range map[string]targetRecord{
		"done":     {Enumerated: true, Planned: 10, Done: 10, PointsPlanned: 1000, PointsDone: 1000},
		"active":   {Enumerated: true, Planned: 10, Done: 5, PointsPlanned: 1000, PointsDone: 500},
		"denied":   {Enumerated: true, Planned: 10, PointsPlanned: 1000, Denied: &Failure{}},
		"unlisted": {},
		"refused":  {Denied: &Failure{}},
	} {
		s.addTarget(Target{"111122223333", region}, &r, LiveTarget{}, false)
	}
	s.Attempts = []Attempt{{}}
	s.setProgress(100)
	if want := 1500.0 / 4000; s.Progress != want {
		t.Errorf("progress %v, want %v", s.Progress, want)
	}
	if s.ETASeconds == nil || *s.ETASeconds != 15 {
		t.Errorf("time left %v, want 15", s.ETASeconds)
	}
	for _, rate := range []float64{0, -1} {
		if s.setProgress(rate); s.ETASeconds != nil {
			t.Errorf("time left %v at the rate %v", *s.ETASeconds, rate)
		}
	}
	if s = (Status{Attempts: []Attempt{{}}}); true {
		s.addTarget(Target{"111122223333", "unlisted"}, &targetRecord{}, LiveTarget{}, true)
		if s.setProgress(100); s.ETASeconds != nil || s.Progress != 0 {
			t.Errorf("nothing is listed: progress %v, time left %v", s.Progress, s.ETASeconds)
		}
	}
}
