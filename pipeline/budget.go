package pipeline

import (
	"fmt"
	"sync"
)

// budget bounds the worst-case cost of a job over all its runs. The zero value
// has no bound. It is safe for concurrent use.
type budget struct {
	mu    sync.Mutex
	most  float64 // USD; 0: no bound
	spent float64 // by answered calls, and reserved by calls in flight
}

// rounding is the part by which sums of prices may exceed a bound.
const rounding = 1e-9

// reserve takes the price of a call out of the budget and reports whether enough
// was left.
func (b *budget) reserve(usd float64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.most > 0 && b.spent+usd > b.most*(1+rounding) {
		return false
	}
	b.spent += usd
	return true
}

// refund returns the price of a call that CloudWatch did not answer.
func (b *budget) refund(usd float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent -= usd
}

// openBudget starts the budget with the cost of the job's earlier runs.
func (r *run) openBudget() error {
	status, err := r.Job.Status()
	if err != nil {
		return err
	}
	r.budget.most, r.budget.spent = r.MaxCostUSD, status.CostUSD.WorstCase
	return nil
}

// checkPlan returns an error if the job, as far as its targets are enumerated,
// can cost more than the bound.
func (r *run) checkPlan() error {
	if r.MaxCostUSD == 0 {
		return nil
	}
	planned := 0.0
	for _, t := range r.Job.Targets() {
		if t.Denied == nil {
			planned += t.WorstUSD
		}
	}
	if planned > r.MaxCostUSD*(1+rounding) {
		return hintedError{
			fmt.Errorf("%w: the job costs up to $%.4f, and max_cost is $%.4f", ErrBudget, planned, r.MaxCostUSD),
			"raise it, or ask for less",
		}
	}
	return nil
}

func (r *run) overspent() error {
	return hintedError{fmt.Errorf("%w: max_cost $%.4f is spent", ErrBudget, r.MaxCostUSD), "raise it and run the same command, which continues the job"}
}
