package harvest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/pipeline"
	"cwharvest/store/record"
)

// PlanDiffersError reports that the open job was planned with other settings.
type PlanDiffersError struct {
	Job         string
	Differences []string
}

func (e *PlanDiffersError) Error() string {
	return fmt.Sprintf("job %s is open with another plan: %s", e.Job, strings.Join(e.Differences, "; "))
}

// Hint returns what to do next.
func (e *PlanDiffersError) Hint() string {
	return "finish it with the old settings, or use another --dir"
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

// budgetError reports a limit of cost or time.
type budgetError struct{ fact, hint string }

func (e *budgetError) Error() string { return pipeline.ErrBudget.Error() + ": " + e.fact }

// Hint returns what to do next.
func (e *budgetError) Hint() string { return e.hint }

// Unwrap returns the class of the error.
func (e *budgetError) Unwrap() error { return pipeline.ErrBudget }

// limitDuration ends the context when the run has taken as long as it may; 0 means no limit.
func limitDuration(ctx context.Context, limit time.Duration) (context.Context, func()) {
	if limit == 0 {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() {
		cancel(&budgetError{fmt.Sprintf("max_duration %v is over", limit), "the same command continues"})
	})
	return ctx, func() { timer.Stop(); cancel(nil) }
}
