package harvest

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"cwharvest/pipeline"
	"cwharvest/store"
)

// nights works the jobs of one run. The goroutine of Run owns all fields. It starts the next job when every job that
// is being worked has ended or is held up.
type nights struct {
	*run
	begin  time.Time // data that had settled then are due in this run
	queue  []start   // jobs of earlier runs, oldest first
	active []*worker // in the order in which they were started

	jobs    []JobOutcome
	created int
	next    time.Time // when another job is due; zero: unknown, or never
	check   time.Time // when to look for one again

	failed error // of jobs, joined
	fatal  bool  // no other job is started

	// change carries a signal after a worker was held up, continues or has ended: the workers send, await receives, and
	// it is never closed. A signal that is not received yet stands for the next ones too.
	change chan struct{}
}

// start opens a job that may be worked now; nil if there is nothing to work.
type start func(context.Context) (job *store.Job, retry bool, err error)

// worker is one job and its goroutine.
type worker struct {
	id     string
	held   atomic.Int32 // a pipeline.Held
	result chan result  // the goroutine sends once; collect receives
}

type result struct {
	report *JobReport // nil: the job failed before its pipeline
	err    error
}

// pollDue limits the wait for the time at which a night is due, because timers stop while a machine is suspended.
const pollDue = time.Minute

// work works the queue and the jobs that become due. An error of one job does not stop the others, but the run then ends
// when none of them can continue, so that the error shows.
func (n *nights) work(ctx context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	for {
		n.collect()
		if n.isHeldUp() && ctx.Err() == nil && n.startNext(ctx, end) {
			continue
		}
		if len(n.active) == 0 {
			return n.failed
		}
		if n.isHeldUp() {
			n.giveUp(end)
		}
		n.await(ctx)
	}
}

// isHeldUp reports whether no job that is being worked can continue.
func (n *nights) isHeldUp() bool {
	return !slices.ContainsFunc(n.active, func(w *worker) bool { return pipeline.Held(w.held.Load()) == pipeline.NotHeld })
}

// startNext starts the next job and reports whether it did. A job that cannot be created ends the run.
func (n *nights) startNext(ctx context.Context, end context.CancelCauseFunc) bool {
	for len(n.queue) > 0 && !n.fatal {
		open := n.queue[0]
		n.queue = n.queue[1:]
		if n.tryStart(ctx, end, open) {
			return true
		}
	}
	if n.fatal || n.Now().Before(n.check) {
		return false
	}
	return n.tryStart(ctx, end, n.create)
}

func (n *nights) tryStart(ctx context.Context, end context.CancelCauseFunc, open start) bool {
	job, retry, err := open(ctx)
	if err != nil {
		n.fail(err)
		n.fatal = true
		end(endedError{err})
		return false
	}
	if job == nil {
		return false
	}
	w := &worker{id: job.Plan().ID, result: make(chan result, 1)}
	n.active = append(n.active, w)
	n.jobs = append(n.jobs, JobOutcome{ID: w.id})
	go func() {
		report, err := n.workJob(ctx, job, retry, func(h pipeline.Held) {
			n.noteDenials(job)
			w.held.Store(int32(h))
			n.signal()
		})
		w.result <- result{report, err}
		n.signal()
	}()
	return true
}

func (n *nights) signal() {
	select {
	case n.change <- struct{}{}:
	default:
	}
}

// collect takes back the jobs that have ended, and reports them.
func (n *nights) collect() {
	n.active = slices.DeleteFunc(n.active, func(w *worker) bool {
		select {
		case r := <-w.result:
			n.ended(w, r)
			return true
		default:
			return false
		}
	})
}

func (n *nights) ended(w *worker, r result) {
	if r.report != nil {
		i := slices.IndexFunc(n.jobs, func(j JobOutcome) bool { return j.ID == w.id })
		n.jobs[i].Incomplete = r.report.Incomplete
		n.Report(*r.report)
	}
	n.fail(r.err)
	n.fatal = n.fatal || errors.As(r.err, new(resolveError))
}

// fail records an error of the run, unless it is known. Jobs that end together have the same reason.
func (n *nights) fail(err error) {
	switch {
	case err == nil, errors.As(err, new(endedError)):
	case n.failed == nil:
		n.failed = err
	case n.failed.Error() == err.Error(), errors.Is(n.failed, pipeline.ErrCredentials) && errors.Is(err, pipeline.ErrCredentials):
	default:
		n.failed = errors.Join(n.failed, err)
	}
}

// giveUp ends the jobs that are held up, if waiting is of no use: another job has failed, or each needs a person.
func (n *nights) giveUp(end context.CancelCauseFunc) {
	switch {
	case n.failed != nil:
		end(endedError{n.failed})
	case !slices.ContainsFunc(n.active, func(w *worker) bool { return pipeline.Held(w.held.Load()) != pipeline.HeldByPerson }):
		n.shared.Dismiss()
	}
}

// await returns when a job has changed. If all are held up, it also returns when another one may be due.
func (n *nights) await(ctx context.Context) {
	wait := pollDue
	if n.isHeldUp() && ctx.Err() == nil {
		wait = min(max(n.check.Sub(n.Now()), time.Millisecond), pollDue)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-n.change:
	case <-timer.C:
	}
}

// endedError ends the jobs that are held up when another job has failed.
type endedError struct{ error }

func (e endedError) Error() string { return "the run ended because of another job: " + e.error.Error() }

func (e endedError) Unwrap() error { return e.error }

// resolveError is the reason why the accounts are unknown. No job can be worked without them.
type resolveError struct{ error }

func (e resolveError) Unwrap() error { return e.error }
