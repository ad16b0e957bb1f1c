package pipeline

import (
	"fmt"
	"strings"
	"time"

	"cwharvest/store"
	"cwharvest/store/record"
)

const (
	poisonAfter  = 5 // failures of a request while other calls succeed
	halfPoisoned = 3 // failures that the halves of a poisoned request start with
)

// handle decides the next step after an outcome.
func (t *target) handle(o outcome) {
	t.inFlight--
	if o.err == nil || o.request != nil && len(o.again) < len(o.request.items) {
		t.succeed()
	}
	if o.err == nil {
		return
	}
	r := o.request
	if r != nil && len(o.again) < len(r.items) {
		r = r.part(o.again, t.run.series)
	}
	c := classify(o.err)
	t.log.Debug("call failed", "class", c.String(), "error", describe(o.err))
	switch c {
	case cancelled: // the request stays pending
	case refused:
		t.deny(failure(c, o.err))
	case invalid:
		t.split(r, 0, o.err)
	case throttled:
		t.run.meter.throttled.Add(1)
		t.limits.throttled(o.sent, time.Now())
		t.repeat(r)
		t.stall(o, r, c)
	case transient:
		t.suspect(o, r)
	case expired, person:
		t.repeat(r)
		t.pause(o.sent, c, o.err)
	}
	t.giveUp()
}

func (t *target) repeat(r *request) {
	if r != nil {
		t.repeats = append(t.repeats, r)
	}
}

// suspect distinguishes poison from an outage. A failure counts against a request
// only if another call succeeded since the request last failed. If nothing
// succeeds, it is an outage of the target.
func (t *target) suspect(o outcome, r *request) {
	if r != nil && t.successes > r.successes {
		r.suspicion++
		r.successes = t.successes
		if r.suspicion >= poisonAfter {
			t.split(r, halfPoisoned, o.err)
			return
		}
		t.repeat(r)
		return
	}
	t.repeat(r)
	t.pause(o.sent, transient, o.err)
}

// stall pauses the target if a call was throttled and no other has succeeded since
// it last failed. Otherwise it is enough that the limiter slows down.
func (t *target) stall(o outcome, r *request, c class) {
	if r == nil || t.successes <= r.successes {
		t.pause(o.sent, c, o.err)
		return
	}
	r.successes = t.successes
}

// split bisects a request that AWS cannot answer. A request of a single
// series-window fails.
func (t *target) split(r *request, suspicion int, err error) {
	if r == nil {
		// AWS refused the form of the control call. That is an answer, so the
		// target works.
		t.succeed()
		return
	}
	if len(r.items) == 1 {
		t.fail(r.items[0], suspicion > 0, err)
		return
	}
	middle := len(r.items) / 2
	for _, items := range [][]item{r.items[:middle], r.items[middle:]} {
		half := r.part(items, t.run.series)
		half.suspicion = suspicion
		if len(items) == 1 {
			half.suspicion = 0 // a single series-window fails only by failures of its own
		}
		t.repeat(half)
	}
}

func (t *target) fail(it item, poison bool, err error) {
	f := failure(invalid, err)
	if poison {
		f.Class = "poison"
	}
	t.log.Warn("instance fails", "instance", printable(it.instance), "class", f.Class, "error", f.Message)
	t.run.out <- entry{results: []store.Result{{
		Target: t.key, Instance: it.instance, Series: it.series, Window: it.window, Failure: &f,
	}}}
}

func (t *target) deny(f record.Failure) {
	if t.denied {
		return
	}
	t.denied = true
	t.warn("target denied", f.Class, f.Message)
	tolerated := t.run.Tolerated != nil && t.run.Tolerated(t.key)
	t.run.out <- entry{denial: &store.Denial{Target: t.key, Failure: f, Tolerated: tolerated}}
}

// warn logs the trouble of a target. The log has a reason once for each account and cause, whatever the region.
func (t *target) warn(message, class, reason string) {
	cause := [3]string{t.key.Account, message, strings.ReplaceAll(reason, t.key.Region, "")}
	if _, known := t.run.logged.LoadOrStore(cause, true); known {
		t.log.Warn(message, "class", class, "error", "as in other regions of the account")
		return
	}
	t.log.Warn(message, "class", class, "error", reason)
}

func (t *target) succeed() {
	t.successes++
	if p := t.gate.reopen(); p.failures >= outageAfter {
		t.log.Info("target continues", "after", time.Since(p.since).Round(time.Millisecond))
	}
}

// pause stops the target, in all jobs, for a while: with exponential backoff and full jitter.
func (t *target) pause(sent time.Time, c class, err error) {
	p, before, counted := t.gate.close(sent, c, err)
	if counted && (p.failures == outageAfter || p.failures > outageAfter && p.reason != before) {
		t.warn("target waits", c.String(), p.reason)
	}
}

// giveUp denies a target whose outage has lasted too long.
func (t *target) giveUp() {
	p, most := t.gate.pause(), t.run.GiveUpAfter
	if most > 0 && p.failures > outageAfter && time.Since(p.began) > most {
		t.deny(record.Failure{Class: "gave_up", Message: fmt.Sprintf("out for %v, longer than give_up_after: %s", time.Since(p.began).Round(time.Second), p.reason)})
	}
}

// ageOut fails items of windows that CloudWatch no longer keeps at their period. It
// would return nothing for them, and no error.
func (t *target) ageOut(items []item) {
	for _, it := range items {
		w := t.run.series[it.series].Windows[it.window]
		f := record.Failure{Class: "retention_passed", Message: fmt.Sprintf("CloudWatch no longer keeps datapoints at a period of %ds from %s",
			w.Period, time.Unix(w.Start, 0).UTC().Format(time.RFC3339))}
		t.run.out <- entry{results: []store.Result{{
			Target: t.key, Instance: it.instance, Series: it.series, Window: it.window, Failure: &f,
		}}}
	}
}
