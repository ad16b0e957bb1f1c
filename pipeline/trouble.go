package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"cwharvest/store"
	"cwharvest/store/record"
)

const (
	mostForeign  = 5 // responses in another protocol while none is right
	poisonAfter  = 5 // failures of a request while other calls succeed
	halfPoisoned = 3 // failures that the halves of a poisoned request start with
)

// handle decides the next step after an outcome.
func (t *target) handle(o outcome) {
	t.inFlight--
	if o.verdict != nil {
		t.examination.busy = false
		if o.err == nil || classify(o.err) == invalid { // without a code, nothing is known of the series
			t.judge(o.verdict)
		}
	}
	if o.err == nil && len(o.forbidden) == 0 || o.request != nil && len(o.again)+len(o.forbidden) < len(o.request.items) {
		t.answered = true
		t.succeed()
	}
	if isWrong(o.err) {
		t.answered = true
		t.succeed()
	}
	t.forbid(&o)
	if o.err == nil {
		return
	}
	r := o.request
	if r != nil && len(o.again) < len(r.items) {
		r = r.part(o.again, t.run.series)
	}
	if isForeign(o.err) && !t.answered {
		t.repeat(r)
		if t.distrust(o.sent, o.err) {
			t.deny(foreignFailure(o.err))
		}
		return
	}
	c := classify(o.err)
	t.log.Debug("call failed", "class", c.String(), "error", describe(o.err))
	switch c {
	case cancelled: // the request stays pending
	case refused:
		if t.waitForRole(o.sent, o.err) {
			t.repeat(r)
			break
		}
		t.deny(failure(c, o.err))
	case invalid:
		t.refuse(r, o.err)
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

// distrust pauses the target after a response of a server that may not be AWS. It
// reports true if there were enough of them to deny the target.
func (t *target) distrust(sent time.Time, err error) bool {
	if _, _, counted := t.gate.close(sent, transient, err); counted {
		t.foreign++
	}
	return t.foreign >= mostForeign
}

func foreignFailure(err error) record.Failure {
	return record.Failure{Class: "wrong_protocol", Message: describe(err)}
}

// forbid fails the items whose results CloudWatch forbids. If it has never returned
// another result, the target is denied.
func (t *target) forbid(o *outcome) {
	if len(o.forbidden) == 0 {
		return
	}
	if !t.answered {
		t.deny(failure(refused, o.forbids))
		return
	}
	for _, it := range o.forbidden {
		t.fail(it, refused, o.forbids)
	}
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
		switch {
		case r.suspicion >= poisonAfter && isWrong(o.err):
			for _, it := range r.items {
				t.fail(it, poison, o.err)
			}
			return
		case r.suspicion >= poisonAfter:
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

// refuse finds out which part of a request CloudWatch refuses.
func (t *target) refuse(r *request, err error) {
	if r != nil {
		r.refusal = err
	}
	if r == nil || !isValidation(err) || !t.examine(r) {
		t.split(r, 0, err)
	}
}

// examination is the state of a target's examination of series. The dispatcher owns
// all fields.
type examination struct {
	accepted map[int]bool // series that need no examination, at least in part accepted or known to be refused
	queue    []int        // series to examine
	busy     bool         // a call is in flight
	parked   []*request   // refused requests, which wait for the result
	verdicts int          // series with a refused statistic so far
}

// verdict is the result of examining one series.
type verdict struct {
	series  int
	refused map[int]record.Failure // by statistic
}

// examine parks a refused request until its series are examined. It returns false if
// they have been: then an instance is at fault.
func (t *target) examine(r *request) bool {
	x := &t.examination
	var unknown []int
	for _, it := range r.items {
		if !x.accepted[it.series] && !slices.Contains(unknown, it.series) {
			unknown = append(unknown, it.series)
		}
	}
	if len(unknown) == 0 && r.verdicts == x.verdicts {
		return false
	}
	for _, series := range unknown {
		if !slices.Contains(x.queue, series) {
			x.queue = append(x.queue, series)
		}
	}
	x.parked = append(x.parked, r)
	return true
}

// examineNext sends the call for the next series to examine. When all are examined,
// it releases the parked requests. It reports whether there was anything to do.
func (t *target) examineNext() bool {
	x := &t.examination
	if x.busy || len(x.parked) == 0 {
		return false
	}
	if len(x.queue) == 0 {
		parked := x.parked
		x.parked = nil
		for _, r := range parked {
			if r.verdicts == x.verdicts {
				t.split(r, 0, r.refusal)
			} else {
				t.repeat(r)
			}
		}
		return true
	}
	x.busy = true
	series, window := x.queue[0], x.parked[0].window
	t.send(func(ctx context.Context) outcome {
		refused, err := t.fetcher.examine(ctx, &t.run.series[series], window, func() { t.run.meter.charge(t.run.controlPrice()) })
		return outcome{verdict: &verdict{series: series, refused: refused}, err: err}
	})
	return true
}

// judge applies the result of examining a series.
func (t *target) judge(v *verdict) {
	x := &t.examination
	x.queue = slices.DeleteFunc(x.queue, func(series int) bool { return series == v.series })
	if x.accepted == nil {
		x.accepted = map[int]bool{}
	}
	x.accepted[v.series] = true
	if len(v.refused) == 0 {
		return
	}
	x.verdicts++
	t.fetcher.refused.Store(new(t.fetcher.refusals().with(v.series, v.refused)))
	s := &t.run.series[v.series]
	m := record.MetricFailure{Namespace: s.Namespace, Metric: s.Metric, Dimensions: s.Dimensions}
	if len(v.refused) == len(s.Statistics) {
		m.Failure = v.refused[0]
		t.limit(m)
		return
	}
	for i, name := range s.Statistics {
		if f, refused := v.refused[i]; refused {
			m.Statistic, m.Failure = name, f
			t.limit(m)
		}
	}
}

// limit records that the target lacks a metric or a statistic.
func (t *target) limit(m record.MetricFailure) {
	t.warn("metric or statistic refused; the others go on", m.Class, m.Name()+": "+m.Message)
	t.run.out <- entry{limitation: &store.Limitation{Target: t.key, Metric: m}}
}

// strip fails the items of series that are refused as a whole, and returns a request
// for the others, nil if there are none.
func (t *target) strip(r *request) *request {
	refused := t.fetcher.refusals()
	var left []item
	for _, it := range r.items {
		if f, whole := refused.whole(it.series, &t.run.series[it.series]); whole {
			t.record(it, f)
		} else {
			left = append(left, it)
		}
	}
	switch len(left) {
	case len(r.items):
		return r
	case 0:
		return nil
	}
	return r.part(left, t.run.series)
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
		c := invalid
		if suspicion > 0 {
			c = poison
		}
		t.fail(r.items[0], c, err)
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

func (t *target) fail(it item, c class, err error) {
	f := failure(c, err)
	t.log.Warn("instance fails", "instance", printable(it.instance), "class", f.Class, "error", f.Message)
	t.record(it, f)
}

// record commits the failure of a series-window.
func (t *target) record(it item, f record.Failure) {
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
	denial := &store.Denial{Target: t.key, Failure: f, Tolerated: tolerated}
	if t.run.AccessBy != nil {
		denial.By = t.run.AccessBy(t.key)
	}
	t.run.out <- entry{denial: denial}
}

// waitForRole pauses the target if AWS refused a role that may be new, while it may be. It returns false if the target must be
// denied.
func (t *target) waitForRole(sent time.Time, err error) bool {
	if t.run.WaitForRole == nil {
		return false
	}
	begin := t.roleUntil.IsZero()
	if begin {
		t.roleUntil = time.Now().Add(t.run.WaitForRole(t.key))
	}
	e, may := asNewRole(err, t.roleUntil)
	if !may || !time.Now().Before(t.roleUntil) {
		return false
	}
	if begin {
		t.warn("role refused; waiting, in case it is new", refused.String(), describe(e))
	}
	t.pause(sent, refused, e)
	return true
}

// warnOfWait logs the reason of a pause. The log has the failure of a principal once, however many targets depend on it.
func (t *target) warnOfWait(c class, err error, reason string) {
	if errors.As(err, new(*newRoleError)) { // logged when the wait began
		return
	}
	if fact := sharedFact(err); fact != "" {
		if _, known := t.run.logged.LoadOrStore([3]string{"", "", fact}, true); known {
			t.log.Debug("target waits", "class", c.String(), "error", reason)
			return
		}
	}
	t.warn("target waits", c.String(), reason)
}

// sharedFact returns the fact that all targets on one principal have in common while its credentials do not work, "" if an
// error concerns a target alone.
func sharedFact(err error) string {
	var shared interface{ Shared() string }
	if errors.As(err, &shared) {
		return shared.Shared()
	}
	return ""
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
		level := slog.LevelInfo
		if sharedFact(p.err) != "" { // the credential manager has logged it
			level = slog.LevelDebug
		}
		t.log.Log(context.Background(), level, "target continues", "after", time.Since(p.since).Round(time.Millisecond))
	}
}

// pause stops the target, in all jobs, for a while: with exponential backoff and full jitter.
func (t *target) pause(sent time.Time, c class, err error) {
	p, before, counted := t.gate.close(sent, c, err)
	first := outageAfter
	if errors.Is(err, context.DeadlineExceeded) {
		first = 1 // the log would have nothing for minutes
	}
	if counted && (p.failures == first || p.failures > first && p.reason != before) {
		t.warnOfWait(c, err, p.reason)
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
		t.record(it, f)
	}
}
