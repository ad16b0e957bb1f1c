package record

import (
	"testing"
	"time"
)

// Targets that are not listed yet count as average ones; denied ones do not count.
func TestProgressOfAJobThatIsHalfListed(t *testing.T) {
	var s Status
	for region, r := range map[string]TargetRecord{
		"done":     {Enumerated: true, Planned: 10, Done: 10, PointsPlanned: 1000, PointsDone: 1000},
		"active":   {Enumerated: true, Planned: 10, Done: 5, PointsPlanned: 1000, PointsDone: 500},
		"denied":   {Enumerated: true, Planned: 10, PointsPlanned: 1000, Denied: &Failure{}},
		"unlisted": {},
		"refused":  {Denied: &Failure{}},
	} {
		s.addTarget(Target{"111122223333", region}, &r, LiveTarget{}, false)
	}
	now := time.Unix(1000, 0)
	at100 := func(_ time.Time, datapoints float64) (float64, bool) { return datapoints / 100, true }
	s.Written = now
	s.setProgress(at100)
	if want := 1500.0 / 4000; s.Progress != want {
		t.Errorf("progress %v, want %v", s.Progress, want)
	}
	if s.ETASeconds == nil || *s.ETASeconds != 15 {
		t.Errorf("time left %v, want 15", s.ETASeconds)
	}
	unknown := func(time.Time, float64) (float64, bool) { return 0, false }
	for _, p := range []timeLeft{nil, unknown} {
		if s.setProgress(p); s.ETASeconds != nil {
			t.Errorf("time left %v at no pace", *s.ETASeconds)
		}
	}
	s = Status{Written: now}
	s.addTarget(Target{"111122223333", "unlisted"}, &TargetRecord{}, LiveTarget{}, true)
	if s.setProgress(at100); s.ETASeconds != nil || s.Progress != 0 {
		t.Errorf("nothing is listed: progress %v, time left %v", s.Progress, s.ETASeconds)
	}
}
