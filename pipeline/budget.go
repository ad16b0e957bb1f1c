package pipeline

import "sync"

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
