package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cwharvest/pipeline"
	"cwharvest/store"
	"cwharvest/store/record"
)

// redo fetches what --only names of the latest job, or of that of --night, once
// more. Its rows are replaced when all are there.
func (r *runner) redo(ctx context.Context) error {
	info, err := r.redoable()
	if err != nil {
		return usageError{error: err}
	}
	if differences, err := r.config.Diff(info.Plan.Settings); err != nil || len(differences) > 0 {
		r.log.Warn("the finished job keeps its plan; what changed counts from the next one", "job", info.Plan.ID, "changed", strings.Join(differences, "; "))
	}
	for _, p := range r.config.Replans(&info.Plan, now()) {
		if p.Now.Gone() {
			return usageError{error: fmt.Errorf("redo of job %s: CloudWatch no longer keeps its data from %s on; its rows stay as they are",
				info.Plan.ID, time.Unix(p.Window.Start, 0).UTC().Format(time.RFC3339))}
		}
	}
	job, err := r.dir.OpenJob(info.Plan.ID)
	if err != nil {
		return err
	}
	accounts, err := r.accounts(ctx)
	if err != nil {
		return errors.Join(err, job.Discard())
	}
	var targets []record.Target
	for _, t := range job.Targets() {
		if !r.flags.selects()(t.Target) {
			continue
		}
		if !configured(accounts, t.Target) {
			return errors.Join(usageError{error: fmt.Errorf("--redo: %s of job %s is not in the specification any more, and could not be fetched: put it back, or name only others", t.Target, info.Plan.ID)}, job.Discard())
		}
		targets = append(targets, t.Target)
	}
	if len(targets) == 0 {
		return errors.Join(usageError{error: fmt.Errorf("--only %s: job %s has no such target; its targets: cwharvest status --json", strings.Join(r.flags.only, ","), info.Plan.ID)}, job.Discard())
	}
	if err := r.affords(job, targets); err != nil {
		return errors.Join(err, job.Discard())
	}
	err = job.Redo(targets)
	if err != nil && !errors.Is(err, store.ErrNotFinished) {
		return errors.Join(err, job.Discard())
	}
	return r.work(ctx, job, err != nil)
}

// affords holds what a redo costs against max_cost before it is begun: one that
// cannot be paid for would keep the job open.
func (r *runner) affords(job *store.Job, targets []record.Target) error {
	status, err := job.Status()
	if err != nil || r.config.MaxCost == 0 {
		return err
	}
	cost := status.CostUSD.WorstCase
	for _, t := range job.Targets() {
		if slices.Contains(targets, t.Target) {
			cost += t.WorstUSD
		}
	}
	if cost > r.config.MaxCost {
		return fmt.Errorf("%w: the job and this redo may cost $%.4f, and max_cost is $%.4f; nothing was begun", pipeline.ErrBudget, cost, r.config.MaxCost)
	}
	return nil
}

// redoable returns the job whose rows are to be replaced.
func (r *runner) redoable() (*record.JobInfo, error) {
	if i := slices.IndexFunc(r.jobs, func(j record.JobInfo) bool { return j.State == record.Unfinished }); i >= 0 {
		return nil, fmt.Errorf("redo: job %s is open; finish it first: the same command without --redo", r.jobs[i].Plan.ID)
	}
	night := r.config.Night
	for _, j := range slices.Backward(r.jobs) {
		if !night.IsZero() && (!j.Plan.Start.Before(night.Add(24*time.Hour)) || !j.Plan.End.After(night)) {
			continue
		}
		if j.Pruned {
			return nil, fmt.Errorf("redo: the database of job %s was pruned; its rows stay as they are, or move its parts away and harvest the day into another --dir", j.Plan.ID)
		}
		return &j, nil
	}
	return nil, errors.New("redo: the directory holds no such job; see what it holds: cwharvest status, and name the day with --night")
}
