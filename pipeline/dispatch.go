package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"cwharvest/pipeline/flat"
	"cwharvest/store"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
)

const (
	poisonAfter   = 5                      // failures of a request while its siblings succeed
	halfPoisoned  = 3                      // of these, what the halves of a poisoned request start with
	firstPause    = 250 * time.Millisecond // doubles with every failure in a row
	longestPause  = 60 * time.Second
	personPause   = 10 * time.Second // credentials that somebody may be mending: asks no service
	controlAfter  = 2                // pauses in a row, before a control call probes the target
	outageAfter   = 3                // pauses in a row, before people are told: the control call failed too
	yieldForPause = 2 * time.Second  // a longer pause gives the dispatcher's place to another target
)

// target is one account and region in this run, and the dispatcher that works
// it. All fields belong to the dispatcher's goroutine but those under mu.
type target struct {
	run    *run
	key    store.Target
	limits *limiter
	log    *slog.Logger

	enumerated bool
	regions    []string     // that the target, a pattern, turned out to stand for
	finished   bool         // nothing is left to do
	pages      *enumeration // nil until connected
	fetcher    *fetcher     // nil until connected
	plan       planner

	// outcomes carries one outcome for each launched call: the call sends,
	// the dispatcher receives, nobody closes. It has room for all calls in
	// flight, so that no call ever waits for the dispatcher.
	outcomes  chan outcome
	flying    int
	repeats   []*request // to be sent again
	head      *request   // the plan's next request, not yet sent
	planned   bool       // the plan is exhausted
	successes int64      // answered calls
	denied    bool

	mu      sync.Mutex
	started bool
	paused  pause
}

// pause is why and until when a target sends nothing, or little: until the
// next success it sends one call at a time.
type pause struct {
	failures int // in a row, counted once per flight
	began    time.Time
	since    time.Time // of this class
	until    time.Time
	class    class
	reason   string
}

// outcome is what became of one launched call.
type outcome struct {
	request *request // nil: a control call
	sent    time.Time
	again   []item
	err     error
}

// work runs the target until it is finished, denied or must pause for long;
// then it says when to come back. It returns with nothing in flight. The error
// is one of the store's, fatal to the run.
func (t *target) work(ctx context.Context) (again time.Time, err error) {
	t.setStarted(true)
	defer func() {
		for t.flying > 0 {
			t.settle(<-t.outcomes)
		}
		t.setStarted(false)
	}()
	for ctx.Err() == nil && !t.denied {
		wait, done, err := t.step(ctx)
		if done || err != nil {
			t.finished = done && !t.run.listing
			return time.Time{}, err
		}
		if wait > yieldForPause && t.flying == 0 {
			return time.Now().Add(wait), nil
		}
		if wait > 0 {
			t.await(ctx, wait)
		}
	}
	return time.Time{}, nil
}

func (t *target) setStarted(started bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.started = started
}

const untilOutcome = time.Hour // a wait that only an outcome ends, since one is in flight

// step does the next thing that can be done now, or says how long to wait.
func (t *target) step(ctx context.Context) (wait time.Duration, done bool, err error) {
	if t.run.listing && t.paused.failures > outageAfter {
		return 0, true, nil // others need not wait for it to know the price
	}
	if wait := time.Until(t.paused.until); wait > 0 {
		return wait, false, nil
	}
	if t.key.IsPattern() {
		return 0, t.resolve(ctx), nil
	}
	if err := t.connect(ctx); err != nil {
		t.listingFailed(err)
		return 0, false, nil
	}
	if !t.enumerated {
		return 0, false, t.enumerate(ctx)
	}
	if t.run.listing {
		return 0, true, nil
	}
	if t.flying >= t.window() {
		return untilOutcome, false, nil
	}
	r, err := t.next()
	if err != nil {
		return 0, false, err
	}
	if r == nil {
		return untilOutcome, t.flying == 0, nil
	}
	if t.paused.failures >= controlAfter {
		t.control(r)
		return 0, false, nil
	}
	now := time.Now()
	if wait := t.limits.wait(now, r); wait > 0 {
		return wait, false, nil
	}
	if now.After(r.window.AskableUntil()) {
		t.remove(r)
		t.ageOut(r.items)
		return 0, false, nil
	}
	if _, worst := r.price(t.run.series); !t.run.budget.reserve(worst) {
		return 0, false, t.run.overspent()
	}
	t.launch(r)
	return 0, false, nil
}

// await waits for an outcome, at most for d.
func (t *target) await(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case o := <-t.outcomes:
		t.settle(o)
	case <-timer.C:
	case <-ctx.Done():
	}
}

// window is how many calls may be in flight.
func (t *target) window() int {
	if t.paused.failures > 0 {
		return 1
	}
	return t.run.Concurrency
}

// next returns the request to send next without removing it: what must be
// repeated first, then the plan.
func (t *target) next() (*request, error) {
	if len(t.repeats) > 0 {
		return t.repeats[0], nil
	}
	if t.head == nil && !t.planned {
		r, err := t.plan.next()
		if err != nil {
			return nil, err
		}
		t.head, t.planned = r, r == nil
		t.ageOut(t.plan.gone)
		t.plan.gone = nil
	}
	return t.head, nil
}

// remove takes r, which next has returned, off what is to be sent.
func (t *target) remove(*request) {
	if len(t.repeats) > 0 {
		t.repeats = t.repeats[1:]
	} else {
		t.head = nil
	}
}

// launch sends r, which next has returned, through the pool.
func (t *target) launch(r *request) {
	t.remove(r)
	if r.sent == 0 {
		r.successes = t.successes
	} else {
		t.run.meter.repeated.Add(1)
	}
	r.sent++
	t.limits.take(time.Now(), r)
	t.fly(func(ctx context.Context) outcome {
		a := t.fetcher.fetch(ctx, r)
		if cost, worst := r.price(t.run.series); a.calls > 0 {
			t.run.meter.charge(cost, worst)
		} else {
			t.run.budget.refund(worst)
		}
		if a.buffer != nil {
			t.run.out <- entry{results: a.results, buffer: a.buffer}
		}
		return outcome{request: r, again: a.again, err: a.err}
	})
}

// control sends the smallest possible call, in the shape of r: whether it
// succeeds tells an outage of the target from trouble with a request.
func (t *target) control(r *request) {
	t.fly(func(ctx context.Context) outcome {
		err := t.fetcher.control(ctx, r)
		if err == nil {
			t.run.meter.charge(t.run.ControlUSD, t.run.ControlUSD)
		}
		return outcome{err: err}
	})
}

// fly runs one call in the pool, and blocks while the pool is full.
func (t *target) fly(call func(context.Context) outcome) {
	t.flying++
	t.run.pool.Go(func() error {
		t.run.meter.sent.Add(1)
		t.run.inFlight.Add(1)
		defer t.run.inFlight.Add(-1)
		ctx, cancel := context.WithTimeout(t.run.calls, t.run.CallTimeout)
		defer cancel()
		sent := time.Now()
		o := call(ctx)
		o.sent = sent
		t.outcomes <- o
		return nil
	})
}

// settle decides what follows from an outcome.
func (t *target) settle(o outcome) {
	t.flying--
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
	t.log.Debug("call failed", "class", c.String(), "error", shortError(o.err))
	switch c {
	case cancelled: // it stays pending
	case refused:
		t.deny(failure(c, o.err))
	case unfit:
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

// suspect tells an outage from poison. A failure counts against a request
// only when a sibling succeeded since the request last failed; when nothing
// succeeds, the target is out and nobody is to blame.
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

// stall pauses the target when a call was throttled and nothing has succeeded
// since it last failed; otherwise slowing down is enough.
func (t *target) stall(o outcome, r *request, c class) {
	if r == nil || t.successes <= r.successes {
		t.pause(o.sent, c, o.err)
		return
	}
	r.successes = t.successes
}

// split bisects a request that cannot be answered; a single series-window is
// the culprit and fails, with its class.
func (t *target) split(r *request, suspicion int, err error) {
	if r == nil {
		// The control call itself does not fit the API: it proves that the
		// target answers, which is all it was for.
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
			half.suspicion = 0 // the last verdict wants evidence of its own
		}
		t.repeat(half)
	}
}

func (t *target) fail(it item, poison bool, err error) {
	f := failure(unfit, err)
	if poison {
		f.Class = "poison"
	}
	t.log.Warn("instance fails", "instance", printable(it.instance), "class", f.Class, "error", f.Message)
	t.run.out <- entry{results: []store.Result{{
		Target: t.key, Instance: it.instance, Series: it.series, Window: it.window, Failure: &f,
	}}}
}

func (t *target) deny(f store.Failure) {
	if t.denied {
		return
	}
	t.denied = true
	t.log.Warn("target denied", "class", f.Class, "error", f.Message)
	tolerated := t.run.Tolerated != nil && t.run.Tolerated(t.key)
	t.run.out <- entry{denial: &store.Denial{Target: t.key, Failure: f, Tolerated: tolerated}}
}

func (t *target) succeed() {
	t.successes++
	if t.paused.failures == 0 {
		return
	}
	if t.paused.failures >= outageAfter {
		t.log.Info("target goes on", "after", time.Since(t.paused.since).Round(time.Millisecond))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.paused = pause{}
}

// pause holds the target back, with exponential backoff and full jitter. Of
// the calls in flight together, only the first counts.
func (t *target) pause(sent time.Time, c class, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &t.paused
	if p.failures > 0 && sent.Before(p.until) {
		return
	}
	now := time.Now()
	if p.failures == 0 {
		p.began = now
	}
	if p.failures == 0 || p.class != c {
		p.since, p.class = now, c
	}
	most := longestPause
	if c == person {
		most = personPause
	}
	longest := min(firstPause<<min(p.failures, 16), most)
	p.failures++
	p.until = now.Add(time.Duration(rand.Int64N(int64(longest))))
	if reason := shortError(err); p.failures == outageAfter || p.failures > outageAfter && reason != p.reason {
		t.log.Warn("target waits", "class", c.String(), "error", reason)
	}
	p.reason = shortError(err)
}

// giveUp denies a target that has been out for too long.
func (t *target) giveUp() {
	p, most := t.pausedFor(), t.run.GiveUpAfter
	if most > 0 && p.failures > outageAfter && time.Since(p.began) > most {
		t.deny(store.Failure{Class: "gave_up", Message: fmt.Sprintf("out for %v, longer than --give-up-after: %s", time.Since(p.began).Round(time.Second), p.reason)})
	}
}

// ageOut fails items of windows that CloudWatch no longer keeps at their period:
// it would answer with nothing, and no error.
func (t *target) ageOut(items []item) {
	for _, it := range items {
		w := t.run.series[it.series].Windows[it.window]
		f := store.Failure{Class: "retention_passed", Message: fmt.Sprintf("CloudWatch keeps no datapoints by %ds from %s any more",
			w.Period, time.Unix(w.Start, 0).UTC().Format(time.RFC3339))}
		t.run.out <- entry{results: []store.Result{{
			Target: t.key, Instance: it.instance, Series: it.series, Window: it.window, Failure: &f,
		}}}
	}
}

func (t *target) pausedFor() pause {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.paused
}

// enumerate lists the target's instances, hands them on page by page, and
// counts the target as enumerated only when every page is durable.
func (t *target) enumerate(ctx context.Context) error {
	for ctx.Err() == nil {
		page, last, err := t.list()
		if err != nil {
			t.listingFailed(err)
			return nil
		}
		t.succeed()
		durable := make(chan struct{})
		t.run.out <- entry{
			discovery: &store.Discovery{Target: t.key, Instances: page, Complete: last},
			committed: durable,
		}
		select {
		case <-durable:
			t.enumerated = last
		case <-ctx.Done():
		}
		if last {
			return t.checkPlan()
		}
	}
	return nil
}

// checkPlan holds the budget against what is known now, once paying has begun.
func (t *target) checkPlan() error {
	if t.run.listing {
		return nil
	}
	return t.run.checkPlan()
}

// resolve asks what a pattern stands for, and reports whether that is durable:
// then the target's work is done by those it stands for.
func (t *target) resolve(ctx context.Context) bool {
	regions, err := t.askRegions()
	switch {
	case err != nil:
		t.listingFailed(err)
		return false
	case len(regions) == 0:
		t.deny(store.Failure{Class: "no_region", Message: "none of the account's enabled regions is " + t.key.Region})
		return false
	}
	t.succeed()
	durable := make(chan struct{})
	t.run.out <- entry{resolution: &store.Resolution{Target: t.key, Regions: regions}, committed: durable}
	select {
	case <-durable:
		t.regions, t.finished = regions, true
		return true
	case <-ctx.Done():
		return false
	}
}

func (t *target) askRegions() ([]string, error) {
	ctx, cancel := context.WithTimeout(t.run.calls, t.run.CallTimeout)
	defer cancel()
	cfg, err := t.run.Connect(ctx, t.key)
	if err != nil {
		return nil, err
	}
	return EnabledRegions(ctx, cfg, t.key, &t.run.Discovery)
}

func (t *target) list() ([]store.Instance, bool, error) {
	ctx, cancel := context.WithTimeout(t.run.calls, t.run.CallTimeout)
	defer cancel()
	return t.pages.next(ctx)
}

func (t *target) listingFailed(err error) {
	switch c := classify(err); c {
	case cancelled:
	case refused:
		t.deny(failure(c, err))
	case unfit:
		if t.pages.restart() {
			t.log.Warn("listing starts again", "error", shortError(err))
			return
		}
		t.deny(failure(c, err))
	case throttled:
		t.run.meter.throttled.Add(1)
		t.pause(time.Now(), c, err)
	default:
		t.pause(time.Now(), c, err)
	}
	t.giveUp()
}

// connect makes the target's clients, once.
func (t *target) connect(ctx context.Context) error {
	if t.fetcher != nil {
		return nil
	}
	cfg, err := t.run.Connect(ctx, t.key)
	if err != nil {
		return err
	}
	t.pages = t.run.enumeration(t.key, cfg)
	t.fetcher = &fetcher{
		client: cloudwatch.NewFromConfig(cfg, flat.Use), target: t.key, series: t.run.series, statistics: t.run.Statistics,
	}
	return nil
}
