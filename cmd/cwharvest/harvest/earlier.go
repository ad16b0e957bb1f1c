package harvest

import (
	"context"
	"slices"
	"strings"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/store"
	"cwharvest/store/record"
)

// enqueue adds the unfinished jobs, and the last job or those of the night that the settings name, whose failed and
// denied parts are retried. Unfinished jobs without any selected target stay as they are.
func (n *nights) enqueue(jobs []record.JobInfo) error {
	var unselected error
	for i := range jobs {
		if jobs[i].State != record.Unfinished {
			continue
		}
		if err := n.checkSelected(jobs[i].Targets); err != nil {
			unselected = err
			continue
		}
		n.queue = append(n.queue, func(ctx context.Context) (*store.Job, bool, error) {
			job, err := n.dir.Reopen(ctx, jobs[i].Plan.ID)
			return job, false, err
		})
	}
	last := jobs[max(len(jobs)-1, 0):]
	if night := n.Settings.Night; !night.IsZero() {
		last = slices.DeleteFunc(slices.Clone(jobs), func(j record.JobInfo) bool { return !ofNight(&j, night) })
	}
	for i := range last {
		if last[i].State == record.FinishedWithFailures && !last[i].Pruned && !n.NoRetry {
			n.queue = append(n.queue, func(ctx context.Context) (*store.Job, bool, error) { return n.retry(ctx, &last[i]) })
		}
	}
	if unselected != nil && len(n.queue) == 0 {
		plan, _, err := n.Due(jobs)
		if err == nil && plan == nil {
			return unselected
		}
		return err
	}
	return nil
}

// checkPlans refuses settings that plan the range of an open job in another way. Any other open job is finished by its
// own plan, and so is one that was finished before.
func (r *run) checkPlans(jobs []record.JobInfo) error {
	for i := range jobs {
		if jobs[i].State != record.Unfinished || jobs[i].Reopened || !r.asksFor(jobs, i) {
			continue
		}
		differences, err := r.differences(&jobs[i].Plan)
		if err != nil {
			return err
		}
		if len(differences) > 0 {
			return &PlanDiffersError{Job: jobs[i].Plan.ID, Differences: differences}
		}
	}
	return nil
}

// asksFor reports whether the settings ask for the range of the job at index i. A range that follows the clock does only
// while nothing later is due.
func (r *run) asksFor(jobs []record.JobInfo, i int) bool {
	if r.Settings.FollowsClock() {
		if later, _, err := r.Due(jobs); err != nil || later != nil {
			return false
		}
	}
	plan, _, err := r.Due(slices.Delete(slices.Clone(jobs), i, i+1))
	job := &jobs[i].Plan
	return err == nil && plan != nil && plan.Start.Before(job.End) && job.Start.Before(plan.End)
}

// differences describes how the settings differ from those of a job's plan, except for the name of the range: the range
// of the job itself is fixed.
func (r *run) differences(plan *record.Plan) ([]string, error) {
	all, err := r.Settings.Diff(plan.Settings)
	return slices.DeleteFunc(all, func(d string) bool { return strings.HasPrefix(d, "range: ") }), err
}

// retry opens a finished job if it has failed or denied parts that are still configured. The job keeps its plan.
func (r *run) retry(ctx context.Context, info *record.JobInfo) (*store.Job, bool, error) {
	set, err := r.resolve()
	if err != nil {
		return nil, false, err
	}
	job, err := r.dir.Reopen(ctx, info.Plan.ID)
	if err != nil {
		return nil, false, err
	}
	if !retryable(job, set) {
		return nil, false, job.Discard()
	}
	return job, true, nil
}

func retryable(job *store.Job, set *accounts.Set) bool {
	return slices.ContainsFunc(job.Targets(), func(t store.TargetState) bool {
		return (t.Denied != nil || t.Failed > 0 || t.LacksMetric()) && set.Has(t.Target)
	})
}
