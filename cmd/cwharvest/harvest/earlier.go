package harvest

import (
	"context"
	"slices"
	"strings"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/store"
	"cwharvest/store/record"
)

// earlier continues the interrupted job. Without one it retries failed and denied parts of the last job, or of the
// jobs of the night that the settings name.
func (r *run) earlier(ctx context.Context, jobs []record.JobInfo) ([]JobOutcome, error) {
	for i := range jobs {
		if jobs[i].State == record.Unfinished {
			return r.resume(ctx, &jobs[i])
		}
	}
	last := jobs[max(len(jobs)-1, 0):]
	if night := r.Settings.Night; !night.IsZero() {
		last = slices.DeleteFunc(slices.Clone(jobs), func(j record.JobInfo) bool { return !ofNight(&j, night) })
	}
	var done []JobOutcome
	for i := range last {
		if last[i].State != record.FinishedWithFailures || last[i].Pruned || r.NoRetry {
			continue
		}
		o, err := r.retry(ctx, &last[i])
		done = append(done, o...)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// resume works an unfinished job, which must have been planned with the same settings.
func (r *run) resume(ctx context.Context, info *record.JobInfo) ([]JobOutcome, error) {
	differences, err := r.Settings.Diff(info.Plan.Settings)
	if err != nil {
		return nil, err
	}
	if len(differences) > 0 {
		return nil, &PlanDiffersError{Job: info.Plan.ID, Differences: differences}
	}
	if err := r.checkSelected(info.Targets); err != nil {
		return nil, err
	}
	job, err := r.dir.OpenJob(info.Plan.ID)
	if err != nil {
		return nil, err
	}
	return r.work(ctx, job, false)
}

// retry works the failed and denied parts of a finished job that are still configured. The job keeps its plan.
func (r *run) retry(ctx context.Context, info *record.JobInfo) ([]JobOutcome, error) {
	set, err := r.resolve()
	if err != nil {
		return nil, err
	}
	job, err := r.dir.OpenJob(info.Plan.ID)
	if err != nil {
		return nil, err
	}
	if !retryable(job, set) {
		return nil, job.Discard()
	}
	r.warnOfChanges(info)
	return r.work(ctx, job, true)
}

func retryable(job *store.Job, set *accounts.Set) bool {
	return slices.ContainsFunc(job.Targets(), func(t store.TargetState) bool {
		return (t.Denied != nil || t.Failed > 0 || t.LacksMetric()) && set.Has(t.Target)
	})
}

func (r *run) warnOfChanges(info *record.JobInfo) {
	if differences, err := r.Settings.Diff(info.Plan.Settings); err != nil || len(differences) > 0 {
		r.Log.Warn("the finished job keeps its plan; changed settings apply from the next job", "job", info.Plan.ID, "changed", strings.Join(differences, "; "))
	}
}
