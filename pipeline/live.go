package pipeline

import (
	"strings"

	"cwharvest/store/record"
)

// live returns the state of the running process for the status.
func (r *run) live() record.Live {
	l := record.Live{LimitUSD: r.MaxCostUSD, InFlight: int(r.inFlight.Load()), Targets: map[record.Target]record.LiveTarget{}}
	if r.Sessions != nil {
		l.Sessions = r.Sessions()
	}
	for _, t := range r.all() {
		if at, started := t.live(); started {
			l.Targets[t.key] = at
		}
	}
	return l
}

func (t *target) live() (at record.LiveTarget, started bool) {
	p := t.gate.pause()
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.failures > 0 && !t.over {
		return record.LiveTarget{Waiting: true, Class: p.class.String(), Reason: p.reason, Hint: hint(p.err), Since: p.since.UTC(), RetryAt: p.until.UTC()}, true
	}
	return record.LiveTarget{}, t.started
}

// printable returns the part of an instance key that people recognize: its
// dimensions.
func printable(key string) string {
	return key[strings.LastIndexByte(key, 0)+1:]
}
