package harvest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/store"
	"cwharvest/store/record"
)

// redo fetches the selected targets of the latest job, or of the job of a night, again. Their rows are replaced when all
// new ones are there.
func (r *run) redo(ctx context.Context, jobs []record.JobInfo) (Outcome, error) {
	info, err := r.redoable(jobs)
	if err != nil {
		return Outcome{}, err
	}
	job, err := r.dir.Reopen(ctx, info.Plan.ID)
	if err != nil {
		return Outcome{}, err
	}
	continues, err := r.beginRedo(job)
	if err != nil {
		return Outcome{}, errors.Join(err, job.Discard())
	}
	report, err := r.workJob(ctx, job, continues, nil)
	done := JobOutcome{ID: info.Plan.ID}
	if report != nil {
		done.Incomplete = report.Incomplete
		r.Report(*report)
	}
	return Outcome{Jobs: []JobOutcome{done}}, err
}

// beginRedo marks the selected targets of a job. If the job has failures of its own, they are retried with it.
func (r *run) beginRedo(job *store.Job) (retry bool, err error) {
	set, err := r.resolve()
	if err != nil {
		return false, err
	}
	targets, err := r.redoTargets(job, set)
	if err != nil {
		return false, err
	}
	if err := r.checkDetail(job); err != nil {
		return false, err
	}
	if err := r.checkRedoCost(job, targets); err != nil {
		return false, err
	}
	err = job.Redo(targets)
	if errors.Is(err, store.ErrNotFinished) {
		return true, nil
	}
	return false, err
}

// redoTargets returns the selected targets of a job, all of which must still be configured.
func (r *run) redoTargets(job *store.Job, set *accounts.Set) (targets []record.Target, err error) {
	var all []record.Target
	for _, t := range job.Targets() {
		all = append(all, t.Target)
		if !r.Only.Selects(t.Target) {
			continue
		}
		if !set.Has(t.Target) {
			return nil, &accounts.InputError{
				Err:    fmt.Errorf("cannot redo %s of job %s: it is no longer in the configuration", t.Target, job.Plan().ID),
				Advice: "put it back, or name only other targets",
			}
		}
		targets = append(targets, t.Target)
	}
	if len(targets) == 0 {
		return nil, notSelected(r.Only, all)
	}
	return targets, nil
}

// checkRedoCost compares the cost of a redo with max_cost before it begins: a redo that cannot be paid for would keep
// the job open.
func (r *run) checkRedoCost(job *store.Job, targets []record.Target) error {
	status, err := job.Status()
	if err != nil || r.Settings.MaxCost == 0 {
		return err
	}
	cost := status.CostUSD.WorstCase
	for _, t := range job.Targets() {
		if slices.Contains(targets, t.Target) {
			cost += t.WorstPlanned
		}
	}
	if cost > r.Settings.MaxCost {
		return &budgetError{
			fact: fmt.Sprintf("the job with this redo may cost $%.4f, and max_cost is $%.4f; nothing was started", cost, r.Settings.MaxCost),
			hint: "raise max_cost, or name fewer targets",
		}
	}
	return nil
}

// redoable returns the job whose rows are replaced.
func (r *run) redoable(jobs []record.JobInfo) (*record.JobInfo, error) {
	for _, j := range slices.Backward(jobs) {
		if night := r.Settings.Night; !night.IsZero() && !ofNight(&j, night) {
			continue
		}
		if j.State == record.Unfinished {
			return nil, cannotRedo("job "+j.Plan.ID+" is open", "finish it first: the same command without --redo")
		}
		if j.Pruned {
			return nil, cannotRedo("the database of job "+j.Plan.ID+" was pruned, so its rows stay as they are", "to replace them, move its parts away and harvest the day into another --dir")
		}
		return &j, r.checkRetention(&j)
	}
	return nil, cannotRedo("the directory has no such job", "name the day of a finished job with --night")
}

// checkRetention refuses a job with data that CloudWatch no longer keeps: its rows could not be replaced.
func (r *run) checkRetention(j *record.JobInfo) error {
	for _, p := range r.Settings.Replans(&j.Plan, r.Now()) {
		if p.Now.Gone() {
			return cannotRedo(fmt.Sprintf("CloudWatch no longer keeps the data of job %s from %s on; its rows stay as they are",
				j.Plan.ID, time.Unix(p.Window.Start, 0).UTC().Format(time.RFC3339)), "")
		}
	}
	return nil
}

// checkDetail refuses to replace rows by coarser ones, unless a redo that has begun continues.
func (r *run) checkDetail(job *store.Job) error {
	status, err := job.Status()
	if err != nil || len(status.Redo) > 0 {
		return err
	}
	plan := job.Plan()
	replans := r.Settings.Replans(&plan, r.Now())
	if len(replans) == 0 {
		return nil
	}
	w := replans[0]
	return cannotRedo(fmt.Sprintf("CloudWatch keeps the data of job %s from %s on only at a period of %d s instead of %d s; its rows stay as they are",
		plan.ID, time.Unix(w.Window.Start, 0).UTC().Format(time.RFC3339), w.Now.Period, w.Window.Period),
		"to have coarser rows, move its parts away and harvest the day into another --dir")
}

// cannotRedo returns an error of the input: nothing was changed.
func cannotRedo(cause, advice string) error {
	return &accounts.InputError{Err: errors.New("cannot redo: " + cause), Advice: advice}
}
