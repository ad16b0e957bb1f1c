package harvest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/pipeline/config"
	"cwharvest/store"
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

// dueByAWS is Due, confirmed by AWS's clock: a job for a day that has not ended would hold it for ever. Nothing is
// called unless a job is due by the local clock.
func (n *nights) dueByAWS(ctx context.Context, jobs []record.JobInfo) (*record.Plan, time.Time, error) {
	plan, next, err := n.Due(jobs)
	if err != nil || plan == nil {
		return plan, next, err
	}
	n.readClock(ctx)
	return n.Due(jobs)
}

// create creates the job that is due, and nil if none is. A day may take several jobs, where another job already holds
// its middle. The selection and the instance file are checked before, because a job that exists must be finished or
// given up.
func (n *nights) create(ctx context.Context) (*store.Job, bool, error) {
	jobs, err := n.dir.Jobs()
	if err != nil {
		return nil, false, err
	}
	plan, next, err := n.dueByAWS(ctx, jobs)
	n.next, n.check = next, next
	if now := n.Now(); !next.After(now) {
		n.check = now.Add(pollDue)
	}
	if err != nil || plan == nil || n.leaves(plan, jobs) {
		return nil, false, err
	}
	if len(n.active) > 0 && plan.End.After(n.begin) {
		n.renew(ctx)
	}
	set, err := n.resolve()
	if err != nil {
		return nil, false, err
	}
	targets := set.Targets()
	if err := n.checkSelected(targets); err != nil {
		return nil, false, err
	}
	if _, err := n.listed(targets); err != nil {
		return nil, false, err
	}
	job, err := n.dir.Create(ctx, *plan, targets)
	if err != nil {
		return nil, false, err
	}
	n.created, n.check = n.created+1, time.Time{}
	for _, w := range Coarser(plan, n.Settings.Period) {
		n.Log.Warn("CloudWatch keeps a part of the range only at a coarser period", "from", time.Unix(w.Start, 0).UTC().Format(time.RFC3339),
			"to", time.Unix(w.End, 0).UTC().Format(time.RFC3339), "asked", n.Settings.Period, "kept", time.Duration(w.Period)*time.Second)
	}
	return job, false, nil
}

// leaves reports whether a job that is due is left to a later run. A range that follows the clock gets no job for data
// that settled after this run began, so that a run ends. While the run waits for an earlier night, it gets one when
// such a job is as long as the latest one: then the next run would start, and find the directory in use.
func (n *nights) leaves(plan *record.Plan, jobs []record.JobInfo) bool {
	if n.created == 0 || !n.Settings.FollowsClock() || !plan.End.After(n.begin) {
		return false
	}
	const shortest, longest = time.Hour, 24 * time.Hour
	latest := &jobs[len(jobs)-1].Plan
	enough := min(max(latest.End.Sub(latest.Start), shortest), longest)
	return len(n.active) == 0 || plan.End.Sub(plan.Start) < enough
}

// isLeft reports whether an interrupted run has left a job that is due or was not continued.
func (n *nights) isLeft() bool {
	jobs, err := n.dir.Jobs()
	if err != nil {
		return true
	}
	plan, _, err := n.Due(jobs)
	return len(n.queue) > 0 || err != nil || plan != nil && !n.leaves(plan, jobs)
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
