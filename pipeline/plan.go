package pipeline

import (
	"fmt"
	"time"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store"
	"cwharvest/store/record"
)

// maxBytes bounds the size of a request, which CloudWatch does not document.
const maxBytes = 768 << 10

// AnsweredUntil returns when CloudWatch stops to answer requests for a window:
// later ones get no datapoints and no error.
func AnsweredUntil(w record.Window) time.Time {
	return time.Unix(w.Start, 0).UTC().Add(cloudwatch.KeptFor(w.Period))
}

// item is one series-window of one instance: what a request asks for and what
// succeeds or fails as a whole.
type item struct {
	instance   string // record.Instance.Key
	dimensions []record.Dimension
	series     int // index into the plan's series
	window     int // index into the series' windows
}

// request is one GetMetricData call: items that share a window and fit the
// API's limits in one page.
type request struct {
	window  record.Window
	items   []item
	queries int
	points  int // estimated datapoints, as CloudWatch's quota counts them
	calls   int // that answer it: more than one only of GetMetricStatistics

	sent      int   // times this request or the one it was cut from was sent
	suspicion int   // failures while siblings succeeded
	successes int64 // of its target, when the request last failed
}

func (r *request) add(it item, s *record.Series) {
	r.items = append(r.items, it)
	r.queries += len(s.Statistics)
	r.points += len(s.Statistics) * r.window.Points()
}

// part returns a request for some of r's items, with r's history.
func (r *request) part(items []item, series []record.Series) *request {
	p := &request{window: r.window, calls: r.calls, sent: r.sent, suspicion: r.suspicion, successes: r.successes}
	for _, it := range items {
		p.add(it, &series[it.series])
	}
	return p
}

// planner yields the requests for all that is pending in one target, in
// instance order, reading instances a page at a time: its memory does not
// grow with the target.
type planner struct {
	pending func(after string, limit int) ([]store.Pending, error)
	pack    packer

	ready []*request
	gone  []item // of windows that CloudWatch does not answer any more
	after string // the last instance read
	read  bool   // all instances have been read
}

const planPage = 512 // instances per read of the store

// next returns the next request, nil after the last one. Items that cannot be
// asked for any more are added to gone.
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
