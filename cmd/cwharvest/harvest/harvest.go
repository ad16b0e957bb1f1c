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
	"log/slog"
	"slices"
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
	// WaitForRoles is how long AWS may refuse a role before its targets are denied, unless it is tolerated or was denied in the
	// last job.
	WaitForRoles time.Duration

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
func (o *Outcome) Incomplete() bool {
	return slices.ContainsFunc(o.Jobs, func(j JobOutcome) bool { return j.Incomplete })
}

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

	denials denials // of earlier jobs

	// resolve finds the accounts once, when the first phase has work for them.
	resolve func() (*accounts.Set, error)
	// listed reads the instance file once, for the targets of the first job.
	listed func([]record.Target) (map[record.Target][]record.Instance, error)
}
