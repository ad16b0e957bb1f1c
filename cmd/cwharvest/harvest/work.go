package harvest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/pipeline"
	"cwharvest/store"
	"cwharvest/store/record"
)

// JobReport is the state of a job after its pipeline has ended.
type JobReport struct {
	Status     *record.Status
	Took       time.Duration
	Err        error // of the pipeline
	Incomplete bool
}

// workJob runs one job to its end, and closes it on every path, also after a failure or an interrupt. Closing ends the
// attempt with the exit code and the reason that the status shows. A job that was opened and not worked is discarded by
// its caller instead, which leaves no attempt. The report is nil if the job failed before its pipeline.
func (r *run) workJob(ctx context.Context, job *store.Job, retry bool, held func(pipeline.Held)) (*JobReport, error) {
	report, err := r.attempt(ctx, job, retry, held)
	ended := err
	if report != nil && report.Incomplete {
		ended = ErrIncomplete
	}
	return report, errors.Join(err, job.Close(r.Verdict(ended)))
}

// attempt begins the job, runs its pipeline, and reports how it ended. Retry and replan change the database, so they come
// before Begin, which starts the goroutines that publish the status and build parts.
func (r *run) attempt(ctx context.Context, job *store.Job, retry bool, held func(pipeline.Held)) (*JobReport, error) {
	started := time.Now()
	if retry {
		if err := job.Retry(); err != nil {
			return nil, err
		}
	}
	if err := r.replan(ctx, job); err != nil {
		return nil, err
	}
	if err := job.Begin(ctx); err != nil {
		return nil, err
	}
	set, err := r.resolve()
	if err != nil {
		return nil, err
	}
	if r.Rediscover {
		if err := job.Rediscover(set.Targets()); err != nil {
			return nil, err
		}
	}
	cfg, err := r.pipeline(job, set, retry || r.Redo)
	if err != nil {
		return nil, err
	}
	cfg.Held = held
	r.announce(job, retry)
	stop := r.Follow(ctx, job)
	introduced := r.introduce()
	runErr := pipeline.Run(ctx, cfg)
	stop()
	introduced.Wait() // so that the report comes last
	return r.conclude(job, time.Since(started), runErr)
}

// pipeline returns the configuration of the job's pipeline: the frozen plan decides what is fetched, and the settings of
// today how. The instance file is checked against the targets of the job.
func (r *run) pipeline(job *store.Job, set *accounts.Set, again bool) (cfg pipeline.Config, err error) {
	plan := job.Plan()
	differences, err := r.differences(&plan)
	if err != nil {
		return cfg, err
	}
	frozen := r.Config
	if len(differences) > 0 {
		state := "open"
		if again {
			state = "finished"
		}
		r.Log.Warn("the "+state+" job keeps its plan; changed settings apply from the next job", "job", plan.ID, "changed", strings.Join(differences, "; "))
		if frozen.Settings, err = r.Settings.Frozen(&plan); err != nil {
			return cfg, err
		}
	}
	var listed map[record.Target][]record.Instance
	if frozen.Settings.Instances.File != "" {
		var targets []record.Target
		for _, t := range job.Targets() {
			targets = append(targets, t.Target)
		}
		if listed, err = r.listed(targets); err != nil {
			return cfg, err
		}
	}
	cfg = frozen.Pipeline(set, listed)
	cfg.Job, cfg.Shared, cfg.Sessions = job, r.shared, r.sessions
	cfg.AccessBy = set.AccessBy
	cfg.WaitForRole = func(t record.Target) time.Duration {
		if cfg.Tolerated(t) || r.denials.has(t.Account, set.AccessBy(t)) {
			return 0
		}
		return r.WaitForRoles
	}
	return cfg, nil
}

// denials knows the accounts that were denied in the last job and in this run, and by which credentials. It is safe for
// concurrent use.
type denials struct {
	mu sync.Mutex
	by map[string]map[string]bool // by account; "": unknown credentials
}

func (d *denials) add(t record.Target, by string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.by[t.Account] == nil {
		d.by[t.Account] = map[string]bool{}
	}
	d.by[t.Account][by] = true
}

// has reports whether an account was denied by these credentials.
func (d *denials) has(account, by string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.by[account][by] || d.by[account][""]
}

// noteDenials remembers the denied targets of a job.
func (r *run) noteDenials(job *store.Job) {
	for _, t := range job.Targets() {
		if t.Denied != nil {
			r.denials.add(t.Target, t.DeniedBy)
		}
	}
}

// lastOf returns the last of some jobs, or the zero value without any.
func lastOf(jobs []record.JobInfo) (last record.JobInfo) {
	if n := len(jobs); n > 0 {
		last = jobs[n-1]
	}
	return last
}

// announce logs whether the job starts, resumes or is retried.
func (r *run) announce(job *store.Job, retry bool) {
	s := job.Plan()
	verb := "starts"
	status, err := job.Status()
	switch {
	case retry:
		verb = "retries failed and denied parts"
	case err == nil && len(status.Attempts) > 1:
		verb = fmt.Sprintf("resumes: %d of %d instances done", status.Instances.Done+status.Instances.Empty, status.Instances.Planned)
	}
	r.Log.Info("job "+verb, "job", s.ID, "from", s.Start.Format(time.RFC3339), "to", s.End.Format(time.RFC3339), "targets", len(job.Targets()))
}

// conclude describes the end of the job.
func (r *run) conclude(job *store.Job, took time.Duration, runErr error) (*JobReport, error) {
	status, err := job.Status()
	if err != nil {
		return nil, errors.Join(runErr, err)
	}
	if n := withoutInstances(status); n > 0 {
		r.Log.Warn("targets without any matching instance", "targets", n)
	}
	for _, metric := range status.EmptyMetrics {
		r.Log.Warn("a metric has no datapoint anywhere: check its name and dimensions, and whether anything publishes it", "metric", metric)
	}
	r.noteDenials(job)
	incomplete := runErr == nil && status.State == string(record.FinishedWithFailures)
	return &JobReport{Status: status, Took: took, Err: runErr, Incomplete: incomplete}, runErr
}

// withoutInstances counts the targets in which no instance matches the configuration.
func withoutInstances(s *record.Status) (n int) {
	for _, d := range s.TargetDetails {
		if d.State == "done" && d.Instances != nil && d.Instances.Planned == 0 {
			n++
		}
	}
	return n
}

// replan replaces windows that CloudWatch keeps only coarser since the job was planned.
func (r *run) replan(ctx context.Context, job *store.Job) error {
	frozen := job.Plan()
	if len(r.Settings.Replans(&frozen, r.Now())) == 0 {
		return nil
	}
	r.readClock(ctx)
	replans := r.Settings.Replans(&frozen, r.Now())
	if len(replans) == 0 { // by AWS's clock
		return nil
	}
	for _, p := range replans {
		start := time.Unix(p.Window.Start, 0).UTC().Format(time.RFC3339)
		if p.Now.Gone() {
			r.Log.Warn("CloudWatch no longer keeps a window; its pending instances fail", "from", start, "period", p.Window.Period)
			continue
		}
		r.Log.Warn("CloudWatch now keeps a window only at a coarser period", "from", start, "period", p.Window.Period, "now", p.Now.Period)
	}
	return job.Replan(replans)
}

// sessions returns the state of the credential manager.
func (r *run) sessions() record.StatusSessions {
	return record.StatusSessions(r.Accounts.Manager.Stats())
}
