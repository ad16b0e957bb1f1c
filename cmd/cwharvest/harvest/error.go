package harvest

import (
	"fmt"
	"strings"

	"cwharvest/pipeline"
)

// PlanDiffersError reports that the open job was planned with other settings.
type PlanDiffersError struct {
	Job         string
	Differences []string
}

func (e *PlanDiffersError) Error() string {
	return fmt.Sprintf("job %s is open with another plan: %s", e.Job, strings.Join(e.Differences, "; "))
}

// Hint returns the next step.
func (e *PlanDiffersError) Hint() string {
	return "finish it with the old settings, or use another --dir"
}

// budgetError reports a limit of cost or time.
type budgetError struct{ fact, hint string }

func (e *budgetError) Error() string { return pipeline.ErrBudget.Error() + ": " + e.fact }

// Hint returns the next step.
func (e *budgetError) Hint() string { return e.hint }

// Unwrap returns the class of the error.
func (e *budgetError) Unwrap() error { return pipeline.ErrBudget }
