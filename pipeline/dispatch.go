package pipeline

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"cwharvest/store/record"
)

const (
	controlAfter  = 2               // pauses in a row before a control call tests the target
	yieldForPause = 2 * time.Second // a target that pauses for longer gives its place to another
)

// target is one account and region in this run, with its dispatcher. The
// dispatcher's goroutine owns all fields except those under mu.
type target struct {
	run    *run
	key    record.Target
	gate   *gate // shared with the same target of other jobs
	limits *limiter
	log    *slog.Logger

	enumerated bool
	found      []record.Target // that the target stands for, if it is a pattern
	finished   bool            // nothing is left to do
	pages      *enumeration    // nil until connected
	fetcher    *fetcher        // nil until connected
	plan       planner

	// outcomes carries one outcome for each call: the call sends, the dispatcher
	// receives, and the channel is never closed. It has room for all calls in
	// flight, so that no call waits for the dispatcher.
	outcomes  chan outcome
	inFlight  int
	repeats   []*request // to be sent again
	head      *request   // the plan's next request, not yet sent
	planned   bool       // the plan is exhausted
	successes int64      // calls that were answered
	answered  bool       // CloudWatch has answered a request for data
	foreign   int        // responses of a server with another protocol, before that
	denied    bool

	roleUntil time.Time // until then the refusal of the role is no denial; zero: it was not refused yet

	examination examination
	refused     refusals // of earlier runs

	mu      sync.Mutex
	started bool
	over    bool // finished or denied
}

// outcome is the result of one call.
type outcome struct {
	request *request // nil: a control call or an examination
	verdict *verdict // of an examination
	sent    time.Time
	again   []item
	err     error

	forbidden []item // results that CloudWatch forbids
	forbids   error
}

// work runs the target until it is finished, is denied or must pause for long.
// In the last case it returns the time to continue. No calls are in flight when it
// returns. An error comes from the store and ends the run.
func (t *target) work(ctx context.Context) (again time.Time, err error) {
	t.setStarted(true)
	defer func() {
		for t.inFlight > 0 {
			t.handle(<-t.outcomes)
		}
		t.gate.leave(t)
		t.setStarted(!again.IsZero()) // a target that waits for its quota is active
	}()
	for ctx.Err() == nil && !t.denied {
		wait, done, err := t.step(ctx)
		if done || err != nil {
			t.finished = done && !t.run.listing
			return time.Time{}, err
		}
		if wait > yieldForPause && t.inFlight == 0 {
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
	t.over = t.finished || t.denied
}

const untilOutcome = time.Hour // longer than any call: the wait ends with an outcome

// step does the next thing that is possible now, or returns how long to wait.
func (t *target) step(ctx context.Context) (wait time.Duration, done bool, err error) {
	if t.run.listing && t.gate.pause().failures > outageAfter {
		return 0, true, nil // the price of the others can be known without it
	}
	if wait := t.gate.enter(t, time.Now()); wait > 0 {
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
	if t.inFlight >= t.window() {
		return untilOutcome, false, nil
	}
	if t.examineNext() {
		return 0, false, nil
	}
	r, err := t.next()
	if err != nil {
		return 0, false, err
	}
	if r == nil {
		return untilOutcome, t.inFlight == 0, nil
	}
	if stripped := t.strip(r); stripped != r {
		t.remove(r)
		t.repeat(stripped)
		return 0, false, nil
	}
	if t.gate.pause().failures >= controlAfter {
		t.control(r)
		return 0, false, nil
	}
	if wait := t.limits.wait(time.Now(), r); wait > 0 {
		return wait, false, nil
	}
	if t.run.Now().After(AnsweredUntil(r.window)) {
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
		t.handle(o)
	case <-timer.C:
	case <-ctx.Done():
	}
}

// window returns how many calls may be in flight.
func (t *target) window() int {
	if t.gate.pause().failures > 0 {
		return 1
	}
	return t.run.Concurrency
}

// next returns the request to send next, without removing it: first those to be
// repeated, then those of the plan.
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

// remove removes the request that next has returned.
func (t *target) remove(*request) {
	if len(t.repeats) > 0 {
		t.repeats = t.repeats[1:]
	} else {
		t.head = nil
	}
}

// launch sends the request that next has returned.
func (t *target) launch(r *request) {
	t.remove(r)
	if r.sent == 0 {
		r.successes = t.successes
	} else {
		t.run.meter.repeated.Add(1)
	}
	r.sent++
	r.verdicts = t.examination.verdicts
	t.limits.take(time.Now(), r)
	t.send(func(ctx context.Context) outcome {
		a := t.fetcher.fetch(ctx, r)
		if cost, worst := r.price(t.run.series); a.calls > 0 {
			t.run.meter.charge(cost, worst)
		} else {
			t.run.budget.refund(worst)
		}
		if a.buffer != nil {
			t.run.out <- entry{results: a.results, buffer: a.buffer}
		}
		return outcome{request: r, again: a.again, err: a.err, forbidden: a.forbidden, forbids: a.forbids}
	})
}

// control sends the smallest possible call for the window of a request. Its
// success shows that the target works and the request is at fault.
func (t *target) control(r *request) {
	t.send(func(ctx context.Context) outcome {
		err := t.fetcher.control(ctx, r)
		if err == nil {
			t.run.meter.charge(t.run.controlPrice())
		}
		return outcome{err: err}
	})
}

// controlPrice returns the cost of a control call, which asks for one statistic.
func (r *run) controlPrice() (usd, worst float64) {
	if r.Statistics {
		usd = r.Prices.MetricStatistics(1)
		return usd, usd
	}
	return r.Prices.MetricData(1)
}

// send runs one call in the pool. It blocks while the pool is full.
func (t *target) send(call func(context.Context) outcome) {
	t.inFlight++
	t.run.sending.Add(1)
	t.run.Shared.pool.Go(func() error {
		defer t.run.sending.Done()
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
		client: NewCloudWatch(cfg, t.run.Protocol), target: t.key, series: t.run.series, statistics: t.run.Statistics,
	}
	t.fetcher.refused.Store(&t.refused)
	return nil
}
