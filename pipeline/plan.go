package pipeline

import (
	"cwharvest/store"
	"fmt"
)

// Limits of one GetMetricData request (CloudWatch quotas; API reference of
// GetMetricData). Every statistic of a metric is a query of its own.
const (
	maxQueries    = 500
	maxDatapoints = 100_800
)

// item is one series-window of one instance: what a request asks for and what
// succeeds or fails as a whole.
type item struct {
	instance   string // store.Instance.Key
	dimensions []store.Dimension
	series     int // index into the plan's series
	window     int // index into the series' windows
}

// request is one GetMetricData call: items that share a window and fit the
// API's limits in one page.
type request struct {
	window  store.Window
	items   []item
	queries int
	points  int // estimated datapoints, as CloudWatch's quota counts them

	sent      int   // times this request or the one it was cut from was sent
	suspicion int   // failures while siblings succeeded
	successes int64 // of its target, when the request last failed
}

func (r *request) add(it item, s *store.Series) {
	r.items = append(r.items, it)
	r.queries += len(s.Statistics)
	r.points += len(s.Statistics) * r.window.Points()
}

func (r *request) fits(s *store.Series) bool {
	n := len(s.Statistics)
	return r.queries+n <= maxQueries && r.points+n*r.window.Points() <= maxDatapoints
}

// part returns a request for some of r's items, with r's history.
func (r *request) part(items []item, series []store.Series) *request {
	p := &request{window: r.window, sent: r.sent, suspicion: r.suspicion, successes: r.successes}
	for _, it := range items {
		p.add(it, &series[it.series])
	}
	return p
}

// packer fills requests with items in the order they come, one open request
// for each window. It is pure: equal items give equal requests.
type packer struct {
	series []store.Series
	open   []*request // by first use, so that flushing keeps the order
}

// add packs an item and returns a request that it filled, if any.
func (p *packer) add(it item) *request {
	s := &p.series[it.series]
	w := s.Windows[it.window]
	for i, r := range p.open {
		if r.window != w {
			continue
		}
		if r.fits(s) {
			r.add(it, s)
			return nil
		}
		p.open[i] = &request{window: w}
		p.open[i].add(it, s)
		return r
	}
	r := &request{window: w}
	r.add(it, s)
	p.open = append(p.open, r)
	return nil
}

// flush returns the oldest request not yet full, nil when there is none.
func (p *packer) flush() *request {
	if len(p.open) == 0 {
		return nil
	}
	r := p.open[0]
	p.open = p.open[1:]
	return r
}

// planner yields the requests for all that is pending in one target, in
// instance order, reading instances a page at a time: its memory does not
// grow with the target.
type planner struct {
	pending func(after string, limit int) ([]store.Pending, error)
	pack    packer

	ready []*request
	after string // the last instance read
	read  bool   // all instances have been read
}

const planPage = 512 // instances per read of the store

// next returns the next request, nil after the last one.
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
			if full := p.pack.add(it); full != nil {
				p.ready = append(p.ready, full)
			}
		}
	}
	p.read = len(page) < planPage
	return nil
}
