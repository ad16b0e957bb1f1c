// Package harvest does the work of one run over a harvest directory.
//
//	Run      reads the jobs of the directory and refuses what cannot be harvested
//	enqueue  lists the jobs of earlier runs: unfinished ones, and finished ones with failures
//	nights   starts these and then the jobs that are due, the next one when no other can continue
//	workJob  works one job in a goroutine of its own: attempt, pipeline, conclusion
//	redo     replaces enqueue and nights: fetches some targets of a finished job again
//
// Callers and readers may rely on this:
//
//   - The next job starts when all earlier ones have ended or are held up: every target that they have left waits for the
//     end of an outage or for a person. A job that is held up has published its data, goes on probing its targets, and
//     continues beside the later ones. While one waits, the run starts each further night when it is due.
//   - Jobs that are worked side by side have disjoint ranges. They share the quota of each target, the calls in flight,
//     the limit of the spool and the credentials.
//   - The goroutine that called Run starts the jobs, collects and reports them. All goroutines end before Run
//     returns.
//   - The plan of a job decides what is fetched and how it is written, and the settings of today decide about access,
//     speed and budgets. An unfinished job whose range the settings ask for must have been planned with the same settings.
//   - A run with nothing to do by the local clock makes no call to AWS. AWS's clock, if STS answers, confirms what is
//     due before a job is planned. Accounts are resolved when the first job needs them, and again
//     for each night that becomes due while the run waits.
//   - The attempt at an interrupted job begins before its accounts are resolved, so that the status shows a run that
//     waits for credentials.
//   - An error of one job does not stop the others. The run ends with it when none of them can continue. If a job cannot
//     be started, the run ends at once. A job that finished with failures is no error: Outcome reports it.
//   - The package prints nothing. It logs, and reports each job to the functions in Config.
package harvest

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/pipeline"
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
	Rediscover bool               // list accounts, regions and instances of the open jobs again
	NoRetry    bool               // do not retry failed or denied parts of a finished job

	CallTimeout, DrainTimeout, WaitForCredentials time.Duration
	// WaitForRoles is how long AWS may refuse a role before its targets are denied, unless it is tolerated or was denied in the
	// last job.
	WaitForRoles time.Duration

	// Verdict returns the exit code and the reason that a job records for an attempt that ended with an error, with
	// ErrIncomplete, or with nil.
	Verdict func(error) (exit int, reason string)
	// Follow is called before the pipeline of a job starts, to show its progress; stop is called when it has ended. The
	// goroutines of several jobs may call both at the same time.
	Follow func(context.Context, *store.Job) (stop func())
	// Report is called after stop, by the goroutine that called Run.
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

// run is one call of Run. Its fields do not change, except for resolver.
type run struct {
	Config
	dir    *store.Dir
	shared *pipeline.Shared
	clock  *awsClock // behind Now

	denials denials // of earlier jobs

	resolver atomic.Pointer[func() (*accounts.Set, error)] // called by resolve; renew replaces it
	// introduce logs the principals once, when the first job runs. The group ends when everything is logged.
	introduce func() *sync.WaitGroup
	// listed reads the instance file once, for the targets of the first job.
	listed func([]record.Target) (map[record.Target][]record.Instance, error)
}

// awsClock is the local clock, corrected by AWS's once that is known to differ.
type awsClock struct {
	local  func() time.Time
	once   sync.Once
	offset atomic.Int64 // a time.Duration
}

func (c *awsClock) now() time.Time { return c.local().Add(time.Duration(c.offset.Load())) }
