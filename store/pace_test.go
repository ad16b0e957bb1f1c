package store

import (
	"math"
	"testing"
	"time"
)

// TestPaceForgetsAnOutage proves that after an hour of waiting, a target that
// resumes at 1,000 datapoints a second soon has an estimate near that pace.
func TestPaceForgetsAnOutage(t *testing.T) {
	var p pace
	at := time.Unix(0, 0)
	step := func(d time.Duration, perSecond int64) (left float64, known bool) {
		for end := at.Add(d); at.Before(end); {
			at = at.Add(time.Second)
			p.add(at, perSecond)
			left, known = p.left(at, 60_000)
		}
		return left, known
	}
	if left, known := step(time.Second, 1000); known {
		t.Errorf("%v after one commit, which tells nothing", left)
	}
	if left, _ := step(10*time.Minute, 1000); math.Abs(left-60) > 0.1 {
		t.Errorf("%v s, want 60", left)
	}
	if left, known := step(time.Hour, 0); known {
		t.Errorf("%v s during an outage", left)
	}
	if left, _ := step(paceWindow+paceEvery, 1000); math.Abs(left-60) > 0.1 {
		t.Errorf("%v s five minutes after an outage, want 60", left)
	}
	if n := len(p.marks); n > int(paceWindow/paceEvery)+2 {
		t.Errorf("%d marks", n)
	}
}

// TestPaceBetweenAnswers proves that the time left falls steadily when responses
// arrive together every three seconds.
func TestPaceBetweenAnswers(t *testing.T) {
	var p pace
	began := time.Unix(0, 0)
	const total, answer = 3_000_000, 100_000
	for tick := range 2 * 84 {
		at := began.Add(time.Duration(tick) * time.Second / 2)
		if tick%6 == 0 {
			p.add(at, answer)
		}
		left, known := p.left(at, float64(total-p.last.done))
		if want := 87 - at.Sub(began).Seconds(); tick >= 7 && (!known || math.Abs(left-want) > 0.1) {
			t.Errorf("after %v: %.1f s left, want %.1f", at.Sub(began), left, want)
		}
	}
}
