package store

import (
	"time"
)

// The time left is estimated from the last minutes of the attempt. An outage affects
// it for a short time only, and the listing before the first datapoint not at all.
const (
	paceEvery  = 5 * time.Second
	paceWindow = 5 * time.Minute
)

// pace records the progress of an attempt at some of its commits and at the last one.
// Between two commits it assumes the same rate, because one response holds up to
// 100,800 datapoints. The zero value is ready to use.
type pace struct {
	marks []mark
	last  mark
}

type mark struct {
	at   time.Time
	done int64 // estimated datapoints, of this attempt
}

// add records a commit of so many datapoints.
func (p *pace) add(at time.Time, done int64) {
	if done <= 0 {
		return
	}
	p.last = mark{at, p.last.done + done}
	if n := len(p.marks); n == 0 || at.Sub(p.marks[n-1].at) >= paceEvery {
		p.marks = append(p.marks, p.last)
	}
}

// left estimates the seconds until so many datapoints are fetched; false if unknown.
func (p *pace) left(now time.Time, datapoints float64) (seconds float64, known bool) {
	for len(p.marks) > 1 && now.Sub(p.marks[1].at) >= paceWindow {
		p.marks = p.marks[1:]
	}
	if len(p.marks) == 0 {
		return 0, false
	}
	since := min(now.Sub(p.last.at), paceEvery) // the next commit may take so long
	rate := float64(p.last.done-p.marks[0].done) / now.Add(-since).Sub(p.marks[0].at).Seconds()
	if now.Sub(p.marks[0].at) < time.Second || !(rate > 0) {
		return 0, false
	}
	return max(datapoints/rate-since.Seconds(), 0), true
}
