package harvest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/pipeline"
	"cwharvest/store"
	"cwharvest/store/record"
)

// Run works until nothing is due. Interrupted and stopped runs return an error, and Run continues them when called again.
func Run(ctx context.Context, dir *store.Dir, cfg Config) (Outcome, error) {
	jobs, err := dir.Jobs()
	if err != nil {
		return Outcome{}, err
	}
	if err := cfg.Settings.Shard.CheckJobs(cfg.Settings.Dir, jobs); err != nil {
		return Outcome{}, err
	}
	r := newRun(ctx, dir, cfg, jobs)
	elsewhere, err := r.selectsElsewhere()
	switch {
	case err != nil:
		return Outcome{}, err
	case elsewhere:
		return Outcome{Idle: &Idle{Elsewhere: true}}, nil
	case cfg.Redo:
		return r.redo(ctx, jobs)
	}
	return r.harvest(ctx, jobs)
}

// newRun adds to the resolver the facts that it takes from the jobs of the directory.
func newRun(ctx context.Context, dir *store.Dir, cfg Config, jobs []record.JobInfo) *run {
	resolver := *cfg.Accounts
	resolver.OpenJob = openAccounts(jobs)
	if n := len(jobs); n > 0 {
		resolver.Points = jobs[n-1].MostPoints
	}
	cfg.Accounts = &resolver
	clock := &awsClock{local: cfg.Now}
	cfg.Now = clock.now
	r := &run{Config: cfg, clock: clock, dir: dir, shared: pipeline.NewShared(cfg.Settings.MaxInFlight, cfg.Settings.QuotaShare)}
	r.denials.by = map[string]map[string]bool{}
	for t, by := range lastOf(jobs).Denied {
		r.denials.add(t, by)
	}
	r.resolver.Store(onceResolved(ctx, &resolver))
	r.introduce = sync.OnceValue(func() *sync.WaitGroup {
		set, err := r.resolve()
		if err != nil {
			return new(sync.WaitGroup) // the job reports it
		}
		return resolver.Introduce(ctx, set)
	})
	var read sync.Once
	var instances map[record.Target][]record.Instance
	var readErr error
	r.listed = func(targets []record.Target) (map[record.Target][]record.Instance, error) {
		read.Do(func() { instances, readErr = cfg.ReadInstances(targets) })
		return instances, readErr
	}
	return r
}

// onceResolved returns a function that resolves the accounts when it is called first.
func onceResolved(ctx context.Context, resolver *accounts.Resolver) *func() (*accounts.Set, error) {
	once := sync.OnceValues(func() (*accounts.Set, error) {
		set, err := resolver.Resolve(ctx)
		if err != nil {
			err = resolveError{err}
		}
		return set, err
	})
	return &once
}

// resolve returns the accounts, which it finds when the first job needs them.
func (r *run) resolve() (*accounts.Set, error) { return (*r.resolver.Load())() }

const (
	tolerable    = time.Minute      // a smaller difference decides nothing, and Date has whole seconds
	clockTimeout = 10 * time.Second // for the answer that has AWS's time; without one the local clock decides
)

// readClock corrects the clock of the run, once, by the Date of STS's answer to GetCallerIdentity. Only an answer to a
// signed call counts: a proxy's page has a Date, too. Introduce logs the difference.
func (r *run) readClock(ctx context.Context) {
	set, err := r.resolve()
	if err != nil {
		return // the job reports it
	}
	r.clock.once.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, clockTimeout)
		defer cancel()
		for _, principal := range set.Principals() {
			p, err := r.Accounts.Manager.Principal(ctx, principal)
			if err != nil {
				continue // keys that do not work say nothing about the time
			}
			if p.Offset.Abs() > tolerable {
				r.clock.offset.Store(int64(p.Offset))
				r.introduce().Wait() // in case no job follows
			}
			return
		}
	})
}

// renew finds the accounts again, for a night that becomes due while the run waits for an earlier one. Without an answer
// the night gets the accounts that are known.
func (r *run) renew(ctx context.Context) {
	again := onceResolved(ctx, r.Accounts)
	if _, err := (*again)(); err != nil {
		r.Log.Warn("cannot list the accounts again; the next night gets those of the last one", "error", err)
		return
	}
	r.resolver.Store(again)
}

// selectsElsewhere reports whether the selection leaves nothing for this shard.
func (r *run) selectsElsewhere() (bool, error) {
	if len(r.Only) == 0 || r.Settings.Shard == (record.Shard{}) {
		return false, nil
	}
	set, err := r.resolve()
	return err == nil && set.OnlyElsewhere(r.Only), err
}

// harvest works the jobs of earlier runs and those that are due. A range that cannot be harvested, and another plan for
// the range of an open job, are refused before any work.
func (r *run) harvest(ctx context.Context, jobs []record.JobInfo) (Outcome, error) {
	if err := r.checkPlans(jobs); err != nil {
		return Outcome{}, err
	}
	if _, _, err := r.Due(jobs); err != nil {
		return Outcome{}, err
	}
	n := &nights{run: r, begin: r.Now().Add(-r.Settings.Settle), change: make(chan struct{}, 1)}
	if err := n.enqueue(jobs); err != nil {
		return Outcome{}, err
	}
	err := n.work(ctx)
	out := Outcome{Jobs: n.jobs}
	switch {
	case err == nil && ctx.Err() != nil && !out.Incomplete() && n.isLeft():
		err = context.Cause(ctx)
	case err == nil && len(n.jobs) == 0:
		out.Idle = r.idle(jobs, n.next)
	}
	return out, err
}

// openAccounts returns the accounts of the unfinished jobs.
func openAccounts(jobs []record.JobInfo) (ids []string) {
	seen := map[string]bool{}
	for _, j := range jobs {
		if j.State != record.Unfinished {
			continue
		}
		for _, t := range j.Targets {
			if !seen[t.Account] {
				seen[t.Account] = true
				ids = append(ids, t.Account)
			}
		}
	}
	return ids
}

// LimitDuration ends the context with pipeline.ErrBudget when the run has taken as long as it may; 0 means no limit. Call it before
// the directory is opened, which may wait for S3.
func LimitDuration(ctx context.Context, limit time.Duration) (context.Context, func()) {
	if limit == 0 {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() {
		cancel(&budgetError{fmt.Sprintf("max_duration %v is over", limit), "the same command continues"})
	})
	return ctx, func() { timer.Stop(); cancel(nil) }
}
