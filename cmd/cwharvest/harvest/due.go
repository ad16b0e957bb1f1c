package harvest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/pipeline/config"
	"cwharvest/store/record"
)

// Due returns the frozen plan of the next job, or nil when none is due beside these jobs; then next is when one will be.
func (c *Config) Due(jobs []record.JobInfo) (plan *record.Plan, next time.Time, err error) {
	var finished []config.Interval
	for _, j := range jobs {
		finished = append(finished, config.Interval{Start: j.Plan.Start, End: j.Plan.End})
	}
	now := c.Now()
	interval, next, err := c.Settings.Due(now, finished)
	if err != nil || interval == nil {
		return nil, next, err
	}
	frozen, err := c.Settings.Freeze(*interval, now)
	if err != nil {
		return nil, next, err
	}
	return &frozen, next, c.Settings.CheckOverlap(config.Interval{Start: frozen.Start, End: frozen.End}, finished)
}

// startDue works one job after the other until none is due, and returns when the next one will be. A day may take
// several jobs, where another job already holds its middle. A range that follows the clock gets no job for data that
// settled after this call began, so that a run ends.
func (r *run) startDue(ctx context.Context) (done []JobOutcome, next time.Time, err error) {
	begin := r.Now().Add(-r.Settings.Settle)
	for {
		jobs, err := r.dir.Jobs()
		if err != nil {
			return done, next, err
		}
		plan, next, err := r.Due(jobs)
		if err != nil || plan == nil {
			return done, next, err
		}
		if len(done) > 0 && (ctx.Err() != nil || r.Settings.FollowsClock() && plan.End.After(begin)) {
			if slices.ContainsFunc(done, func(j JobOutcome) bool { return j.Incomplete }) {
				return done, next, nil
			}
			return done, next, context.Cause(ctx)
		}
		o, err := r.start(ctx, plan)
		done = append(done, o...)
		if err != nil {
			return done, next, err
		}
	}
}

// start creates a job and works it. The selection and the instance file are checked before, because a job that exists
// must be finished or given up.
func (r *run) start(ctx context.Context, plan *record.Plan) ([]JobOutcome, error) {
	set, err := r.resolve()
	if err != nil {
		return nil, err
	}
	targets := set.Targets()
	if err := r.checkSelected(targets); err != nil {
		return nil, err
	}
	if _, err := r.listed(targets); err != nil {
		return nil, err
	}
	job, err := r.dir.Create(ctx, *plan, targets)
	if err != nil {
		return nil, err
	}
	for _, w := range Coarser(plan, r.Settings.Period) {
		r.Log.Warn("CloudWatch keeps a part of the range only at a coarser period", "from", time.Unix(w.Start, 0).UTC().Format(time.RFC3339),
			"to", time.Unix(w.End, 0).UTC().Format(time.RFC3339), "asked", r.Settings.Period, "kept", time.Duration(w.Period)*time.Second)
	}
	return r.work(ctx, job, false)
}

// Coarser returns the parts of a plan that CloudWatch keeps only at a coarser period than the one asked for.
func Coarser(plan *record.Plan, period time.Duration) (parts []record.Window) {
	if len(plan.Series) == 0 {
		return nil
	}
	for _, w := range plan.Series[0].Windows { // all series have the same range and period
		n := len(parts)
		switch {
		case time.Duration(w.Period)*time.Second == period:
		case n > 0 && parts[n-1].End == w.Start && parts[n-1].Period == w.Period:
			parts[n-1].End = w.End
		default:
			parts = append(parts, w)
		}
	}
	return parts
}

// checkSelected refuses a selection without any target, which would do nothing and look like success.
func (r *run) checkSelected(targets []record.Target) error {
	if len(r.Only) == 0 || slices.ContainsFunc(targets, r.Only.Selects) {
		return nil
	}
	return notSelected(r.Only, targets)
}

// notSelected reports a selection that fits none of a job's targets.
func notSelected(only accounts.Selection, targets []record.Target) error {
	const most = 3
	var names []string
	for _, t := range targets[:min(len(targets), most)] {
		names = append(names, t.String())
	}
	if len(targets) > most {
		names = append(names, "...")
	}
	return &accounts.InputError{
		Err:    fmt.Errorf("--only %s: the job has no such target", only),
		Advice: "name some of " + strings.Join(names, ", "),
	}
}

// idle returns the reason why nothing is due.
func (r *run) idle(jobs []record.JobInfo, next time.Time) *Idle {
	i := &Idle{Finished: r.Settings.Range.String(), Next: next}
	if night := r.Settings.Night; !night.IsZero() {
		i.Finished = "the night " + night.Format(time.DateOnly)
	}
	if n := len(jobs); n > 0 {
		i.Changes = r.ChangesSince(&jobs[n-1])
	}
	return i
}

// ChangesSince describes how the configuration differs from a job's plan and targets.
func (c *Config) ChangesSince(job *record.JobInfo) []string {
	changes, err := c.Settings.Diff(job.Plan.Settings)
	if err != nil || len(job.Targets) == 0 { // targets that were not read
		return changes
	}
	return append(changes, c.Accounts.Changes(job.Targets)...)
}

// ofNight reports whether a job holds any part of a UTC day.
func ofNight(j *record.JobInfo, night time.Time) bool {
	return j.Plan.Start.Before(night.Add(24*time.Hour)) && night.Before(j.Plan.End)
}
