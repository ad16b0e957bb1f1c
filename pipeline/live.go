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
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.paused.failures > 0 {
		return record.LiveTarget{
			Waiting: true, Class: t.paused.class.String(), Reason: t.paused.reason,
			Since: t.paused.since.UTC(), RetryAt: t.paused.until.UTC(),
		}, true
	}
	return record.LiveTarget{}, t.started
}

// printable returns the part of an instance key that people recognize: its
// dimensions.
func printable(key string) string {
	return key[strings.LastIndexByte(key, 0)+1:]
}
