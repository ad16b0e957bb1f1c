package store

import (
	"time"
)

// The time left goes by what the running attempt did in the last minutes, so that
// an outage is soon forgotten and the listing before the first datapoint never
// counts.
const (
	paceEvery  = 5 * time.Second
	paceWindow = 5 * time.Minute
)

// pace remembers what an attempt had done at some of its commits, and at the last.
// Between two of them it goes on as before: an answer holds up to 100,800
// datapoints, which come all at once. Its zero value is ready.
type pace struct {
	marks []mark
	last  mark
}

type mark struct {
	at   time.Time
	done int64 // estimated datapoints, of this attempt
}

// add takes what a commit has done.
func (p *pace) add(at time.Time, done int64) {
	if done <= 0 {
		return
	}
	p.last = mark{at, p.last.done + done}
	if n := len(p.marks); n == 0 || at.Sub(p.marks[n-1].at) >= paceEvery {
		p.marks = append(p.marks, p.last)
	}
}

// left is how many seconds so many datapoints take yet; false: nobody knows.
func (p *pace) left(now time.Time, datapoints float64) (seconds float64, known bool) {
	for len(p.marks) > 1 && now.Sub(p.marks[1].at) >= paceWindow {
		p.marks = p.marks[1:]
	}
	if len(p.marks) == 0 {
		return 0, false
	}
	since := min(now.Sub(p.last.at), paceEvery) // what follows may be on its way for so long
	rate := float64(p.last.done-p.marks[0].done) / now.Add(-since).Sub(p.marks[0].at).Seconds()
	if now.Sub(p.marks[0].at) < time.Second || !(rate > 0) {
		return 0, false
	}
	return max(datapoints/rate-since.Seconds(), 0), true
}
