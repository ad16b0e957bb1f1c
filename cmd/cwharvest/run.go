package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"cwharvest/creds"
	"cwharvest/pipeline/config"
	"cwharvest/store"
	"cwharvest/store/record"

	"github.com/spf13/cobra"
)

// now decides what is due, frozen, aged out, tolerated and pruned; tests of many
// nights set it. What signs, logs and measures has the machine's clock.
var now = time.Now

func newRun() *cobra.Command {
	f := &runFlags{}
	c := &cobra.Command{
		Use:   "run",
		Short: "Finish the open job, start the one that is due, or say that none is",
		Long: `Finishes an open job first, then starts what is due, one job after the other; when nothing
is due it says so, calls nothing and exits 0. The same command resumes after a crash, a kill
or an outage. What failed or was denied in the last job, or in those of the --night that is
named, is tried once more.

Flags that set something can be given as variables of the environment too: --max-cost 5
as CWHARVEST_MAX_COST=5. Flags win over variables, variables over the file.`,
		Example: `  cwharvest run -c harvest.yaml
  cwharvest run --role-arn arn:aws:iam::111122223333:role/metrics-reader --external-id x1 \
      --region us-east-1 --metric CPUUtilization --stat Average,Maximum --last 24h --dir ./harvest`,
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := f.configuration(c)
			if err != nil {
				return err
			}
			if f.printConfig {
				return s.Print(c.OutOrStdout())
			}
			return f.run(c, s)
		},
	}
	f.register(c)
	f.log.register(c)
	c.Flags().BoolVar(&f.printConfig, "print-config", false, "print the effective configuration and where each value comes from; do nothing")
	return c
}

// run opens the log and runs.
func (f *runFlags) run(c *cobra.Command, s *config.Config) (err error) {
	r := &runner{config: s, flags: f, out: c.OutOrStdout()}
	if !f.log.quiet {
		r.shown, _ = c.ErrOrStderr().(*progress)
	}
	log, closeLog, err := f.log.open(c.ErrOrStderr(), r.shown)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	r.log = log
	ctx := c.Context()
	defer context.AfterFunc(ctx, func() {
		if by, signalled := context.Cause(ctx).(interruptedError); signalled {
			fmt.Fprintf(c.ErrOrStderr(), "cwharvest: %v: finishing the requests in flight; once more to abort\n", by.signal)
		}
	})()
	return r.monitored(ctx)
}

// runner is one `cwharvest run`.
type runner struct {
	config *config.Config
	flags  *runFlags
	out    io.Writer
	log    *slog.Logger
	shown  *progress // on a terminal; nil elsewhere
	creds  *creds.Manager
	dir    *store.Dir

	getenv func(string) string // the environment before the SDK reads it

	members   map[int][]config.Account            // of entries that stand for many
	expanded  []config.Account                    // what entries found, once
	resolved  []account                           // what accounts found, once
	elsewhere []record.Target                     // of other shards, found then
	jobs      []record.JobInfo                    // of the directory, when the run began
	instances map[record.Target][]record.Instance // what listed read, once

	told summary // what on_finish hears: of the last job worked; empty: of none

	points int64 // estimated datapoints of the largest target, as far as known

	monitor *monitor
}

// monitored is run, shown to who watches it.
func (r *runner) monitored(ctx context.Context) (err error) {
	if r.monitor, err = newMonitor(r.flags, r.config.Dir, r.config.QuotaShare, r.log); err != nil {
		return err
	}
	err = r.run(ctx)
	r.monitor.stop() // when the run did not come to its directory
	r.monitor.finish(exitCode(err))
	return err
}

// run works what there is to do, then tells on_finish of it. By then the
// directory is free: a hook may read it, or export from it.
func (r *runner) run(ctx context.Context) error {
	err := r.harvest(ctx)
	r.told.Exit = exitCode(err)
	r.told.ExitText = exitText(r.told.Exit)
	tell(ctx, r.config.OnFinish, &r.told, r.log)
	return err
}

func (r *runner) harvest(ctx context.Context) (err error) {
	limitMemory(r.config.MaxInFlight)
	ctx, stop := r.limitDuration(ctx)
	defer stop()
	if err := r.prepare(); err != nil {
		return err
	}
	r.creds = r.newManager()
	defer r.creds.Close()
	if r.dir, err = store.Open(r.config.Dir, store.Config{Remote: remotes(ctx, r.creds, r.config.S3), SpoolLimit: r.config.SpoolLimit, Log: r.log}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.dir.Close()) }()
	r.monitor.start()
	defer r.monitor.stop()
	jobs, err := r.dir.Jobs()
	if err != nil {
		return err
	}
	if err := r.config.Shard.CheckJobs(r.config.Dir, jobs); err != nil {
		return err
	}
	r.jobs = jobs
	if elsewhere, err := r.selectsElsewhere(ctx); elsewhere || err != nil {
		return err
	}
	if n := len(jobs); n > 0 {
		r.points = jobs[n-1].MostPoints
	}
	if r.flags.redo {
		return r.redo(ctx)
	}
	if !r.config.Night.IsZero() {
		if _, _, err := r.due(); err != nil {
			return err // before any work
		}
	}
	again, err := r.finishEarlier(ctx, jobs)
	if err != nil && exitCode(err) != exitIncomplete {
		return err
	}
	started, dueErr := r.startAllDue(ctx)
	if dueErr != nil && exitCode(dueErr) != exitIncomplete {
		return dueErr
	}
	if !started && !again {
		return r.nothingDue()
	}
	return cmp.Or(err, dueErr)
}

// finishEarlier works the open job, or tries once more what the last job left
// failed or denied. It reports whether there was anything to do.
func (r *runner) finishEarlier(ctx context.Context, jobs []record.JobInfo) (bool, error) {
	for _, j := range jobs {
		if j.State != record.Unfinished {
			continue
		}
		differences, err := r.config.Diff(j.Plan.Settings)
		if err != nil {
			return false, err
		}
		if len(differences) > 0 {
			return false, &planDiffersError{job: j.Plan.ID, differences: differences}
		}
		if err := r.checkSelected(j.Targets); err != nil {
			return false, err
		}
		job, err := r.dir.OpenJob(j.Plan.ID)
		if err != nil {
			return false, err
		}
		return true, r.work(ctx, job, false)
	}
	return r.tryAllAgain(ctx, jobs)
}

// tryAllAgain tries once more what the last job has left failed or denied, or
// those of the night that is named.
func (r *runner) tryAllAgain(ctx context.Context, jobs []record.JobInfo) (tried bool, err error) {
	last := jobs[max(len(jobs)-1, 0):]
	if night := r.config.Night; !night.IsZero() {
		last = slices.DeleteFunc(slices.Clone(jobs), func(j record.JobInfo) bool {
			return !j.Plan.Start.Before(night.Add(24*time.Hour)) || !night.Before(j.Plan.End)
		})
	}
	for i := range last {
		if last[i].State != record.FinishedWithFailures || last[i].Pruned || r.flags.noRetry {
			continue
		}
		again, workErr := r.tryAgain(ctx, &last[i])
		if workErr != nil && exitCode(workErr) != exitIncomplete {
			return again, workErr
		}
		tried, err = tried || again, cmp.Or(err, workErr)
	}
	return tried, err
}

// tryAgain works what a finished job has left failed or denied, as far as the
// specification still has it. The job keeps its plan.
func (r *runner) tryAgain(ctx context.Context, info *record.JobInfo) (bool, error) {
	accounts, err := r.accounts(ctx)
	if err != nil {
		return false, err
	}
	job, err := r.dir.OpenJob(info.Plan.ID)
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc(job.Targets(), func(t store.TargetState) bool {
		return (t.Denied != nil || t.Failed > 0) && configured(accounts, t.Target)
	}) {
		return false, job.Discard()
	}
	if differences, err := r.config.Diff(info.Plan.Settings); err != nil || len(differences) > 0 {
		r.log.Warn("the finished job keeps its plan; what changed counts from the next one", "job", info.Plan.ID, "changed", strings.Join(differences, "; "))
	}
	return true, r.work(ctx, job, true)
}

func rangesOf(jobs []record.JobInfo) (ranges []config.Interval) {
	for _, j := range jobs {
		ranges = append(ranges, config.Interval{Start: j.Plan.Start, End: j.Plan.End})
	}
	return ranges
}

// due returns the frozen specification of the job that is due, nil when none
// is; then next is when one will be.
func (r *runner) due() (frozen *record.Plan, next time.Time, err error) {
	jobs, err := r.dir.Jobs()
	if err != nil {
		return nil, next, err
	}
	return r.dueAfter(rangesOf(jobs))
}

// dueAfter is due when these ranges are held.
func (r *runner) dueAfter(finished []config.Interval) (frozen *record.Plan, next time.Time, err error) {
	at := now()
	interval, next, err := r.config.Due(at, finished)
	if err != nil || interval == nil {
		return nil, next, err
	}
	s, err := r.config.Freeze(*interval, at)
	if err != nil {
		return nil, next, err
	}
	return &s, next, r.config.CheckOverlap(config.Interval{Start: s.Start, End: s.End}, finished)
}

// startAllDue works one job after the other until none is due. Tomorrow's
// yesterday is another day: what of this one is still missing (another job holds
// its middle), or ended while a job ran on, is due now or never. Ranges that
// follow the clock get no job for what ended after this began.
func (r *runner) startAllDue(ctx context.Context) (started bool, err error) {
	begin := now().Add(-r.config.Settle)
	for {
		frozen, _, dueErr := r.due()
		if dueErr != nil || frozen == nil {
			return started, cmp.Or(dueErr, err)
		}
		if started && (ctx.Err() != nil || r.config.FollowsClock() && frozen.End.After(begin)) {
			return true, cmp.Or(err, context.Cause(ctx))
		}
		started = true
		workErr := r.start(ctx, frozen)
		if workErr != nil && exitCode(workErr) != exitIncomplete {
			return true, workErr
		}
		err = cmp.Or(err, workErr)
	}
}

// start creates a job and works it.
func (r *runner) start(ctx context.Context, frozen *record.Plan) error {
	entries, err := r.accounts(ctx)
	if err != nil {
		return err
	}
	targets := targetsOf(entries)
	if err := r.checkSelected(targets); err != nil {
		return err
	}
	if _, err := r.listed(targets); err != nil {
		return err
	}
	job, err := r.dir.Create(ctx, *frozen, targets)
	if err != nil {
		return err
	}
	return r.work(ctx, job, false)
}

// checkSelected refuses an --only that names nothing: it would do nothing, and
// look like success.
func (r *runner) checkSelected(targets []record.Target) error {
	if only := r.flags.selects(); only != nil && !slices.ContainsFunc(targets, only) {
		return usageError{error: fmt.Errorf("--only %s: no target of the job is that; name some of %s", strings.Join(r.flags.only, ","), few(targets))}
	}
	return nil
}

// few are the first targets, for people.
func few(targets []record.Target) string {
	const most = 3
	var names []string
	for _, t := range targets[:min(len(targets), most)] {
		names = append(names, t.String())
	}
	if len(targets) > most {
		names = append(names, "...")
	}
	return strings.Join(names, ", ")
}

func (r *runner) nothingDue() error {
	_, next, err := r.due()
	if err != nil {
		return err
	}
	what := r.config.Range.String()
	if !r.config.Night.IsZero() {
		what = "the night " + r.config.Night.Format(time.DateOnly)
	}
	text := "nothing due: " + what + " is finished"
	if changed := r.changedSince(); changed != "" {
		text += ", by another plan (" + changed + "), which counts from the next job on; another --dir begins now"
	}
	if !next.IsZero() {
		text += "; next at " + next.UTC().Format("2006-01-02 15:04 UTC")
	}
	fmt.Fprintln(r.out, text)
	newNotifier().ready()
	return nil
}

// changedSince says how the specification differs from the latest job.
func (r *runner) changedSince() string {
	n := len(r.jobs)
	if n == 0 {
		return ""
	}
	changes, err := r.config.Diff(r.jobs[n-1].Plan.Settings)
	if err != nil {
		return ""
	}
	for _, e := range r.config.Entries() {
		for _, t := range e.Targets() {
			if t.Account != "" && !t.IsPattern() && r.config.Shard.Holds(t) && !slices.Contains(r.jobs[n-1].Targets, t) {
				changes = append(changes, "target "+t.String()+" is new")
			}
		}
	}
	return strings.Join(changes, "; ")
}
