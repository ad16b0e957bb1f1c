package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"cwharvest/creds"
	"cwharvest/pipeline"
	"cwharvest/pipeline/spec"
	"cwharvest/store"

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
			s, err := f.specification(c)
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
func (f *runFlags) run(c *cobra.Command, s *spec.Spec) (err error) {
	r := &runner{spec: s, flags: f, out: c.OutOrStdout()}
	if !f.log.quiet {
		r.shown = newProgress(c.ErrOrStderr())
	}
	log, closeLog, err := f.log.open(c.ErrOrStderr(), r.shown)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	r.log = log
	return r.monitored(c.Context())
}

// runner is one `cwharvest run`.
type runner struct {
	spec  *spec.Spec
	flags *runFlags
	out   io.Writer
	log   *slog.Logger
	shown *progress // on a terminal; nil elsewhere
	creds *creds.Manager
	dir   *store.Dir

	members   map[int][]spec.Account            // of entries that stand for many
	expanded  []spec.Account                    // what entries found, once
	resolved  []account                         // what accounts found, once
	jobs      []store.JobInfo                   // of the directory, when the run began
	instances map[store.Target][]store.Instance // what listed read, once

	told summary // what on_finish hears: of the last job worked; empty: of none

	points int64 // estimated datapoints of the largest target, as far as known

	monitor *monitor
}

// monitored is run, shown to who watches it.
func (r *runner) monitored(ctx context.Context) (err error) {
	if r.monitor, err = newMonitor(r.flags, r.spec.Dir, r.spec.QuotaShare, r.log); err != nil {
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
	tell(ctx, r.spec.OnFinish, &r.told, r.log)
	return err
}

func (r *runner) harvest(ctx context.Context) (err error) {
	limitMemory(r.spec.MaxInFlight)
	ctx, stop := r.limitDuration(ctx)
	defer stop()
	if err := r.prepare(); err != nil {
		return err
	}
	r.creds = creds.NewManager(creds.Config{EndpointURL: r.flags.endpointURL, Log: r.log})
	defer r.creds.Close()
	if r.dir, err = store.Open(r.spec.Dir, store.Config{Remote: remotes(ctx, r.creds, r.spec.S3), SpoolLimit: r.spec.SpoolLimit, Log: r.log}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.dir.Close()) }()
	r.monitor.start()
	defer r.monitor.stop()
	jobs, err := r.dir.Jobs()
	if err != nil {
		return err
	}
	r.jobs = jobs
	if n := len(jobs); n > 0 {
		r.points = jobs[n-1].MostPoints
	}
	if r.flags.redo {
		return r.redo(ctx)
	}
	if !r.spec.Night.IsZero() {
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
func (r *runner) finishEarlier(ctx context.Context, jobs []store.JobInfo) (bool, error) {
	for _, j := range jobs {
		if j.State != store.Unfinished {
			continue
		}
		differences, err := r.spec.Diff(j.Spec.Plan)
		if err != nil {
			return false, err
		}
		if len(differences) > 0 {
			return false, &planDiffersError{job: j.Spec.ID, differences: differences}
		}
		if err := r.checkSelected(j.Targets); err != nil {
			return false, err
		}
		job, err := r.dir.OpenJob(j.Spec.ID)
		if err != nil {
			return false, err
		}
		return true, r.work(ctx, job, false)
	}
	return r.tryAllAgain(ctx, jobs)
}

// tryAllAgain tries once more what the last job has left failed or denied, or
// those of the night that is named.
func (r *runner) tryAllAgain(ctx context.Context, jobs []store.JobInfo) (tried bool, err error) {
	last := jobs[max(len(jobs)-1, 0):]
	if night := r.spec.Night; !night.IsZero() {
		last = slices.DeleteFunc(slices.Clone(jobs), func(j store.JobInfo) bool {
			return !j.Spec.Start.Before(night.Add(24*time.Hour)) || !night.Before(j.Spec.End)
		})
	}
	for i := range last {
		if last[i].State != store.FinishedWithFailures || last[i].Pruned || r.flags.noRetry {
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
func (r *runner) tryAgain(ctx context.Context, info *store.JobInfo) (bool, error) {
	accounts, err := r.accounts(ctx)
	if err != nil {
		return false, err
	}
	job, err := r.dir.OpenJob(info.Spec.ID)
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc(job.Targets(), func(t store.TargetState) bool {
		return (t.Denied != nil || t.Failed > 0) && configured(accounts, t.Target)
	}) {
		return false, job.Discard()
	}
	if differences, err := r.spec.Diff(info.Spec.Plan); err != nil || len(differences) > 0 {
		r.log.Warn("the finished job keeps its plan; what changed counts from the next one", "job", info.Spec.ID, "changed", strings.Join(differences, "; "))
	}
	return true, r.work(ctx, job, true)
}

func rangesOf(jobs []store.JobInfo) (ranges []spec.Interval) {
	for _, j := range jobs {
		ranges = append(ranges, spec.Interval{Start: j.Spec.Start, End: j.Spec.End})
	}
	return ranges
}

// due returns the frozen specification of the job that is due, nil when none
// is; then next is when one will be.
func (r *runner) due() (frozen *store.Spec, next time.Time, err error) {
	jobs, err := r.dir.Jobs()
	if err != nil {
		return nil, next, err
	}
	return r.dueAfter(rangesOf(jobs))
}

// dueAfter is due when these ranges are held.
func (r *runner) dueAfter(finished []spec.Interval) (frozen *store.Spec, next time.Time, err error) {
	at := now()
	interval, next, err := r.spec.Due(at, finished)
	if err != nil || interval == nil {
		return nil, next, err
	}
	s, err := r.spec.Freeze(*interval, at)
	if err != nil {
		return nil, next, err
	}
	return &s, next, r.spec.Beside(spec.Interval{Start: s.Start, End: s.End}, finished)
}

// startAllDue works one job after the other until none is due. Tomorrow's
// yesterday is another day: what of this one is still missing (another job holds
// its middle), or ended while a job ran on, is due now or never. Ranges that
// follow the clock get no job for what ended after this began.
func (r *runner) startAllDue(ctx context.Context) (started bool, err error) {
	begin := now().Add(-r.spec.Settle)
	for {
		frozen, _, dueErr := r.due()
		if dueErr != nil || frozen == nil {
			return started, cmp.Or(dueErr, err)
		}
		if started && (ctx.Err() != nil || r.spec.FollowsClock() && frozen.End.After(begin)) {
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
func (r *runner) start(ctx context.Context, frozen *store.Spec) error {
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
func (r *runner) checkSelected(targets []store.Target) error {
	if only := r.flags.selects(); only != nil && !slices.ContainsFunc(targets, only) {
		return usageError{fmt.Errorf("--only %s: no account and region of the job is that", strings.Join(r.flags.only, ","))}
	}
	return nil
}

func (r *runner) nothingDue() error {
	_, next, err := r.due()
	if err != nil {
		return err
	}
	what := r.spec.Range.String()
	if !r.spec.Night.IsZero() {
		what = "the night " + r.spec.Night.Format(time.DateOnly)
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
	changes, err := r.spec.Diff(r.jobs[n-1].Spec.Plan)
	if err != nil {
		return ""
	}
	for _, e := range r.spec.Entries() {
		for _, t := range e.Targets() {
			if t.Account != "" && !t.IsPattern() && !slices.Contains(r.jobs[n-1].Targets, t) {
				changes = append(changes, "target "+t.String()+" is new")
			}
		}
	}
	return strings.Join(changes, "; ")
}

// work runs one job to its end, and closes it with what came of it.
func (r *runner) work(ctx context.Context, job *store.Job, retry bool) (err error) {
	started := time.Now()
	r.told = summary{}
	reason := ""
	defer func() {
		if reason == "" && err != nil {
			reason = err.Error()
		}
		err = errors.Join(err, job.Close(exitCode(err), reason))
		r.remember(job.Spec().ID, reason)
	}()
	if retry {
		if err := job.Retry(); err != nil {
			return err
		}
	}
	if err := r.replan(job); err != nil {
		return err
	}
	if err := job.Begin(); err != nil {
		return err
	}
	entries, err := r.accounts(ctx)
	if err != nil {
		return err
	}
	if r.flags.rediscover {
		if err := job.Rediscover(targetsOf(entries)); err != nil {
			return err
		}
	}
	var targets []store.Target
	for _, t := range job.Targets() {
		targets = append(targets, t.Target)
	}
	listed, err := r.listed(targets)
	if err != nil {
		return err
	}
	r.announce(job, retry)
	defer newNotifier().follow(ctx, job.Status, 2*r.flags.callTimeout)()
	introduced := r.introduce(ctx, entries)
	defer introduced.Wait()
	cfg := r.pipelineConfig(entries, listed)
	cfg.Job, cfg.Sessions = job, r.sessions
	f := follower{job: job, shown: r.shown, log: r.log, stats: r.flags.log.stats, quota: pipeline.Quota(job.Spec().Start, time.Now()) * r.spec.QuotaShare}
	f.start()
	runErr := pipeline.Run(ctx, cfg)
	f.stop()
	return r.conclude(job, started, runErr)
}

// remember keeps what on_finish is told of a job that was worked.
func (r *runner) remember(id, reason string) {
	if len(r.spec.OnFinish) == 0 {
		return
	}
	var err error
	if r.told.Status, err = r.dir.Status(id); err != nil {
		r.log.Warn("on_finish: nobody is told", "error", err)
	}
	if r.told.LastLine == "" { // it never came to it
		r.told.LastLine = reason
	}
}

func (r *runner) announce(job *store.Job, retry bool) {
	s := job.Spec()
	verb := "starts"
	status, err := job.Status()
	switch {
	case retry:
		verb = "tries once more what failed or was denied"
	case err == nil && len(status.Attempts) > 1:
		verb = fmt.Sprintf("resumes: %d of %d instances done", status.Instances.Done+status.Instances.Empty, status.Instances.Planned)
	}
	r.log.Info("job "+verb, "job", s.ID, "from", s.Start.Format(time.RFC3339), "to", s.End.Format(time.RFC3339), "targets", len(job.Targets()))
}

// conclude prints the last line and turns what the job came to into an error.
func (r *runner) conclude(job *store.Job, started time.Time, runErr error) error {
	status, err := job.Status()
	if err != nil {
		return errors.Join(runErr, err)
	}
	code := exitComplete
	if runErr != nil {
		code = exitCode(runErr)
	} else if status.State == string(store.FinishedWithFailures) {
		code = exitIncomplete
	}
	if n := withoutInstances(status); n > 0 {
		r.log.Warn("targets without any instance that fits", "targets", n)
	}
	for _, metric := range status.EmptyMetrics {
		r.log.Warn("a metric is empty everywhere: check its name, its dimensions, and whether anything publishes it", "metric", metric)
	}
	r.told.LastLine = lastLine(status, time.Since(started), code)
	fmt.Fprintln(r.out, r.told.LastLine)
	switch {
	case runErr != nil:
		return runErr
	case code == exitIncomplete:
		return &outcomeError{code: exitIncomplete}
	}
	return nil
}

func withoutInstances(s *store.Status) (n int) {
	for _, d := range s.TargetDetails {
		if d.State == "done" && d.Instances != nil && d.Instances.Planned == 0 {
			n++
		}
	}
	return n
}

// sessions adapts the manager's counts to the pipeline's.
func (r *runner) sessions() pipeline.Sessions {
	s := r.creds.Stats()
	return pipeline.Sessions{
		Open: s.Open, NextRefresh: s.NextRefresh, Assumed: s.Assumed, RefusedExpired: s.RefusedExpired, Waits: s.Waits,
		Switches: s.Switches, Fallbacks: s.Fallbacks,
	}
}

// pipelineConfig is what a run and a survey have in common.
func (r *runner) pipelineConfig(entries []account, listed map[store.Target][]store.Instance) pipeline.Config {
	s := r.spec
	control := s.Prices.GetMetricData
	if s.API == spec.MetricStatistics {
		control = s.Prices.GetMetricStatistics
	}
	at := now()
	return pipeline.Config{
		Discovery:   r.discovery(listed),
		Connect:     r.connector(entries),
		Statistics:  s.API == spec.MetricStatistics,
		Only:        r.flags.selects(),
		Tolerated:   func(t store.Target) bool { return s.Tolerated(t, at) },
		Concurrency: s.Concurrency, MaxInFlight: s.MaxInFlight, QuotaShare: s.QuotaShare,
		MaxCostUSD: s.MaxCost, CallUSD: s.Prices.ListMetrics / 1000, ControlUSD: control / 1000, GiveUpAfter: s.GiveUpAfter,
		CallTimeout: r.flags.callTimeout, DrainTimeout: r.flags.drainTimeout, WaitForCredentials: r.flags.waitForCredentials,
		Log: r.log,
	}
}

// limitDuration ends the context when the run has taken as long as it may.
func (r *runner) limitDuration(ctx context.Context) (context.Context, func()) {
	if r.spec.MaxDuration == 0 {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(r.spec.MaxDuration, func() {
		cancel(fmt.Errorf("%w: max_duration %v is over; the same command goes on", pipeline.ErrBudget, r.spec.MaxDuration))
	})
	return ctx, func() { timer.Stop(); cancel(nil) }
}

// replan asks for what CloudWatch has made coarser while the job lay still as it
// is kept now.
func (r *runner) replan(job *store.Job) error {
	frozen := job.Spec()
	replans := r.spec.Replans(&frozen, now())
	if len(replans) == 0 {
		return nil
	}
	for _, p := range replans {
		start := time.Unix(p.Window.Start, 0).UTC().Format(time.RFC3339)
		if p.Now.Gone() {
			r.log.Warn("CloudWatch no longer keeps a window; what is pending of it fails", "from", start, "period", p.Window.Period)
			continue
		}
		r.log.Warn("CloudWatch keeps a window coarser by now", "from", start, "period", p.Window.Period, "now", p.Now.Period)
	}
	return job.Replan(replans)
}

func (r *runner) discovery(listed map[store.Target][]store.Instance) pipeline.Discovery {
	in := &r.spec.Instances
	d := pipeline.Discovery{States: in.States, Tags: in.Tags, Monitoring: in.Monitoring, Listed: listed}
	for i := range r.spec.Metrics {
		m := &r.spec.Metrics[i]
		d.EC2 = d.EC2 || r.spec.Uses("ec2", m)
		if r.spec.Uses("cloudwatch", m) {
			d.CloudWatch = append(d.CloudWatch, pipeline.Listing{Namespace: m.Namespace, Dimensions: m.By(), Metrics: m.Names})
		}
	}
	return d
}

// listed reads the instance file, if there is one.
func (r *runner) listed(targets []store.Target) (map[store.Target][]store.Instance, error) {
	path := r.spec.Instances.File
	if path == "" || r.instances != nil {
		return r.instances, nil
	}
	file := os.Stdin
	if path != "-" {
		var err error
		if file, err = os.Open(path); err != nil {
			return nil, usageError{fmt.Errorf("read instances: %w", err)}
		}
		defer file.Close()
	}
	var err error
	if r.instances, err = r.spec.ReadInstances(path, file, targets); err == nil && len(r.instances) == 0 {
		err = usageError{fmt.Errorf("%s names no instance: what makes the list may be broken", path)}
	}
	return r.instances, err
}
