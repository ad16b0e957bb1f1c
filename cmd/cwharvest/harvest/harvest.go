// Package harvest does the work of one run over a harvest directory. Each phase returns its result to the next one:
//
//	Run         reads the jobs of the directory and chooses the phases
//	earlier     continues the interrupted job, or retries failures of finished ones
//	startDue    creates and works one job after the other until none is due
//	redo        replaces the other two: fetches some targets of a finished job again
//	work        works one job: attempt, pipeline, conclusion
//
// Callers and readers may rely on this:
//
//   - One job is worked at a time, by the goroutine that called Run. The pipeline and the logging of identities have
//     goroutines of their own, and all of them end before Run returns.
//   - A run with nothing to do makes no call to AWS. Accounts are resolved once, when the first phase needs them.
//   - The attempt at an interrupted job begins before its accounts are resolved, so that the status shows a run that
//     waits for credentials.
//   - An error ends the run. A job that finished with failures is no error: the next phase follows, and Outcome reports it.
//   - The package prints nothing. It logs, and reports each job to the functions in Config.
package harvest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/pipeline/config"
	"cwharvest/store"
	"cwharvest/store/record"
)

// Config configures a run. Every field must be set, except where its comment names a default.
type Config struct {
	Settings *config.Config
	Accounts *accounts.Resolver
	Now      func() time.Time // decides what is due, frozen, aged out and tolerated
	Log      *slog.Logger

	Only       accounts.Selection // default: all targets
	Redo       bool               // fetch the selected targets of a finished job again
	Rediscover bool               // list accounts, regions and instances of the open job again
	NoRetry    bool               // do not retry failed or denied parts of a finished job

	CallTimeout, DrainTimeout, WaitForCredentials time.Duration

	// Verdict returns the exit code and the reason that a job records for an attempt that ended with an error, with
	// ErrIncomplete, or with nil.
	Verdict func(error) (exit int, reason string)
	// Follow is called before the pipeline of a job starts, to show its progress; stop is called when it has ended.
	Follow func(context.Context, *store.Job) (stop func())
	// Report is called after stop.
	Report func(JobReport)
}

// ErrIncomplete is the result of a job that finished with failed or denied instances or targets.
var ErrIncomplete = errors.New("finished, with failed or denied instances or targets")

// Outcome lists the work of a run. It is valid even if the run failed.
type Outcome struct {
	Jobs []JobOutcome // in the order of work
	Idle *Idle        // nil if there was work
}

// JobOutcome is the result of one job.
type JobOutcome struct {
	ID         string
	Incomplete bool
}

// Incomplete reports whether any job finished with failures.
func (o *Outcome) Incomplete() bool { return incomplete(o.Jobs) }

// Idle is the reason why a run had nothing to do.
type Idle struct {
	Elsewhere bool // all selected targets belong to other shards

	Finished string    // the range or night that is finished
	Changes  []string  // of the configuration since the latest job; they apply from the next one
	Next     time.Time // when the next job is due; zero: never
}

// run is one call of Run. Its fields do not change.
type run struct {
	Config
	dir *store.Dir

	// resolve finds the accounts once, when the first phase has work for them.
	resolve func() (*accounts.Set, error)
	// listed reads the instance file once, for the targets of the first job.
	listed func([]record.Target) (map[record.Target][]record.Instance, error)
}

// Run works until nothing is due. Interrupted and stopped runs return an error, and Run continues them when called again.
func Run(ctx context.Context, dir *store.Dir, cfg Config) (Outcome, error) {
	ctx, stop := limitDuration(ctx, cfg.Settings.MaxDuration)
	defer stop()
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
	r := &run{Config: cfg, dir: dir}
	r.resolve = sync.OnceValues(func() (*accounts.Set, error) { return resolver.Resolve(ctx) })
	var read sync.Once
	var instances map[record.Target][]record.Instance
	var readErr error
	r.listed = func(targets []record.Target) (map[record.Target][]record.Instance, error) {
		read.Do(func() { instances, readErr = cfg.ReadInstances(targets) })
		return instances, readErr
	}
	return r
}

// selectsElsewhere reports whether the selection leaves nothing for this shard.
func (r *run) selectsElsewhere() (bool, error) {
	if len(r.Only) == 0 || r.Settings.Shard == (record.Shard{}) {
		return false, nil
	}
	set, err := r.resolve()
	return err == nil && set.OnlyElsewhere(r.Only), err
}

// harvest runs the two usual phases.
func (r *run) harvest(ctx context.Context, jobs []record.JobInfo) (Outcome, error) {
	if !r.Settings.Night.IsZero() {
		if _, _, err := r.Due(jobs); err != nil {
			return Outcome{}, err // a night that is not over is refused before any work
		}
	}
	done, err := r.earlier(ctx, jobs)
	if err != nil {
		return Outcome{Jobs: done}, err
	}
	started, next, err := r.startDue(ctx)
	done = append(done, started...)
	if err != nil || len(done) > 0 {
		return Outcome{Jobs: done}, err
	}
	return Outcome{Idle: r.idle(jobs, next)}, nil
}

// openAccounts returns the accounts of the unfinished job.
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

// limitDuration ends the context when the run has taken as long as it may; 0 means no limit.
func limitDuration(ctx context.Context, limit time.Duration) (context.Context, func()) {
	if limit == 0 {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() {
		cancel(&budgetError{fmt.Sprintf("max_duration %v is over", limit), "the same command continues"})
	})
	return ctx, func() { timer.Stop(); cancel(nil) }
}
