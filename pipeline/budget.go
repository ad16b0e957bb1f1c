package pipeline

import (
	"fmt"
	"sync"
)

// budget is what a job may cost at worst, over all its runs. The zero value has
// no bound. Safe for concurrent use.
type budget struct {
	mu    sync.Mutex
	most  float64 // USD; 0: no bound
	spent float64 // or reserved by calls in flight
}

// reserve takes the price of a call out of the budget, and reports whether that
// much was left.
func (b *budget) reserve(usd float64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.most > 0 && b.spent+usd > b.most*(1+1e-9) {
		return false
	}
	b.spent += usd
	return true
}

// refund gives back what a call has not cost.
func (b *budget) refund(usd float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent -= usd
}

// openBudget begins with what earlier runs of the job have spent.
func (r *run) openBudget() error {
	status, err := r.Job.Status()
	if err != nil {
		return err
	}
	r.budget.most, r.budget.spent = r.MaxCostUSD, status.CostUSD.WorstCase
	return nil
}

// checkPlan holds the bound against what the job costs as far as it is
// enumerated.
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
	if planned > r.MaxCostUSD*(1+1e-9) {
		return fmt.Errorf("%w: the job costs up to $%.4f, and max_cost is $%.4f: raise it, or ask for less", ErrBudget, planned, r.MaxCostUSD)
	}
	return nil
}

func (r *run) overspent() error {
	return fmt.Errorf("%w: max_cost $%.4f is spent: raise it, and the same command goes on", ErrBudget, r.MaxCostUSD)
}
