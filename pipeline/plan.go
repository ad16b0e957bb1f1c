package pipeline

import (
	"fmt"
	"sync"

	"cwharvest/store"
)

// planner makes the requests for the pending series-windows of one target, in the
// order of the instances. It reads one page of instances at a time, so its memory
// does not grow with the target.
type planner struct {
	pending func(after string, limit int) ([]store.Pending, error)
	pack    packer

	ready []*request
	gone  []item // of windows that CloudWatch no longer answers
	after string // the last instance read
	read  bool   // all instances have been read
}

const planPage = 512 // instances per read of the store

// next returns the next request, nil after the last one. It adds items of windows
// that CloudWatch no longer answers to gone.
func (p *planner) next() (*request, error) {
	for len(p.ready) == 0 {
		if p.read {
			return p.pack.flush(), nil
		}
		if err := p.readPage(); err != nil {
			return nil, err
		}
	}
	r := p.ready[0]
	p.ready = p.ready[1:]
	return r, nil
}

func (p *planner) readPage() error {
	page, err := p.pending(p.after, planPage)
	if err != nil {
		return fmt.Errorf("read pending instances: %w", err)
	}
	for _, in := range page {
		p.after = in.Instance.Key()
		for _, m := range in.Missing {
			it := item{instance: p.after, dimensions: in.Instance.Dimensions, series: m.Series, window: m.Window}
			if p.pack.window(it).Gone() {
				p.gone = append(p.gone, it)
				continue
			}
			if full := p.pack.add(it); full != nil {
				p.ready = append(p.ready, full)
			}
		}
	}
	p.read = len(page) < planPage
	return nil
}

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
