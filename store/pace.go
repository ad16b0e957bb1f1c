package store

import "time"

// The time left goes by what the running attempt did in the last minutes, so that
// an outage is soon forgotten and the listing before the first datapoint never
// counts.
const (
	paceEvery  = 5 * time.Second
	paceWindow = 5 * time.Minute
)

// pace remembers what an attempt had done, and when. Its zero value is ready.
type pace struct{ marks []mark }

type mark struct {
	at   time.Time
	done int64 // estimated datapoints
}

// rate takes what is done now and returns datapoints a second; 0: unknown.
func (p *pace) rate(at time.Time, done int64) float64 {
	if n := len(p.marks); n == 0 || at.Sub(p.marks[n-1].at) >= paceEvery {
		p.marks = append(p.marks, mark{at, done})
	}
	for len(p.marks) > 1 && at.Sub(p.marks[1].at) >= paceWindow {
		p.marks = p.marks[1:]
	}
	seconds := at.Sub(p.marks[0].at).Seconds()
	if seconds < 1 {
		return 0
	}
	return float64(done-p.marks[0].done) / seconds
}
