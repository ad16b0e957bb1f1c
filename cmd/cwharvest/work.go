package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"cwharvest/pipeline"
	"cwharvest/pipeline/cloudwatch"
	"cwharvest/pipeline/config"
	"cwharvest/store"
	"cwharvest/store/record"
)

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
		r.remember(job.Plan().ID, reason)
	}()
	if retry {
		if err := job.Retry(); err != nil {
			return err
		}
	}
	if err := r.replan(job); err != nil {
		return err
	}
	if err := job.Begin(ctx); err != nil {
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
	var targets []record.Target
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
	cfg := r.pipelineConfig(entries, listed)
	cfg.Job, cfg.Sessions = job, r.sessions
	f := follower{job: job, shown: r.shown, log: r.log, stats: r.flags.log.stats, quota: cloudwatch.DatapointsPerSecond(time.Since(job.Plan().Start)) * r.config.QuotaShare}
	f.start()
	runErr := pipeline.Run(ctx, cfg)
	f.stop()
	introduced.Wait() // so that the last line is the last
	return r.conclude(job, started, runErr)
}

// remember keeps what on_finish is told of a job that was worked.
func (r *runner) remember(id, reason string) {
	if len(r.config.OnFinish) == 0 {
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
	s := job.Plan()
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
	} else if status.State == string(record.FinishedWithFailures) {
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

func withoutInstances(s *record.Status) (n int) {
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
func (r *runner) pipelineConfig(entries []account, listed map[record.Target][]record.Instance) pipeline.Config {
	s := r.config
	at := now()
	return pipeline.Config{
		Discovery:   r.discovery(listed),
		Connect:     r.connector(entries),
		Protocol:    pipeline.Protocol(s.Protocol),
		Statistics:  s.API == config.MetricStatistics,
		Only:        r.flags.selects(),
		Shard:       s.Shard,
		Tolerated:   func(t record.Target) bool { return s.Tolerated(t, at) },
		Concurrency: s.Concurrency, MaxInFlight: s.MaxInFlight, QuotaShare: s.QuotaShare,
		MaxCostUSD: s.MaxCost, Prices: s.Prices, GiveUpAfter: s.GiveUpAfter,
		CallTimeout: r.flags.callTimeout, DrainTimeout: r.flags.drainTimeout, WaitForCredentials: r.flags.waitForCredentials,
		Now: now, Log: r.log,
	}
}

// limitDuration ends the context when the run has taken as long as it may.
func (r *runner) limitDuration(ctx context.Context) (context.Context, func()) {
	if r.config.MaxDuration == 0 {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(r.config.MaxDuration, func() {
		cancel(fmt.Errorf("%w: max_duration %v is over; the same command goes on", pipeline.ErrBudget, r.config.MaxDuration))
	})
	return ctx, func() { timer.Stop(); cancel(nil) }
}

// replan asks for what CloudWatch has made coarser while the job lay still as it
// is kept now.
func (r *runner) replan(job *store.Job) error {
	frozen := job.Plan()
	replans := r.config.Replans(&frozen, now())
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

func (r *runner) discovery(listed map[record.Target][]record.Instance) pipeline.Discovery {
	in := &r.config.Instances
	d := pipeline.Discovery{States: in.States, Tags: in.Tags, Monitoring: in.Monitoring, Listed: listed}
	for i := range r.config.Metrics {
		m := &r.config.Metrics[i]
		d.EC2 = d.EC2 || r.config.Uses("ec2", m)
		if r.config.Uses("cloudwatch", m) {
			d.CloudWatch = append(d.CloudWatch, pipeline.Listing{Namespace: m.Namespace, Dimensions: m.DimensionNames(), Metrics: m.Names})
		}
	}
	return d
}

// listed reads the instance file, if there is one.
func (r *runner) listed(targets []record.Target) (map[record.Target][]record.Instance, error) {
	path := r.config.Instances.File
	if path == "" || r.instances != nil {
		return r.instances, nil
	}
	file := os.Stdin
	if path != "-" {
		var err error
		if file, err = os.Open(path); err != nil {
			return nil, usageError{error: fmt.Errorf("read instances: %w", err)}
		}
		defer file.Close()
	}
	var err error
	r.instances, err = r.config.ReadInstances(path, file, targets)
	return r.instances, err
}
