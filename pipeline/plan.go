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

// AnsweredUntil returns until when CloudWatch answers requests for a window.
// Later ones get no datapoints and no error.
func AnsweredUntil(w record.Window) time.Time {
	return time.Unix(w.Start, 0).UTC().Add(cloudwatch.KeptFor(w.Period))
}

// item is one series-window of one instance. It succeeds or fails as a whole.
type item struct {
	instance   string // record.Instance.Key
	dimensions []record.Dimension
	series     int // index into the plan's series
	window     int // index into the series' windows
}

// request is one GetMetricData call: items with a common window that fit one page.
type request struct {
	window  record.Window
	items   []item
	queries int
	points  int // estimated datapoints, as CloudWatch's quota counts them
	calls   int // HTTP calls that it takes: more than one only of GetMetricStatistics

	sent      int   // how often this request or the one it is a part of was sent
	suspicion int   // failures while other calls of the target succeeded
	successes int64 // of its target when the request last failed
}

func (r *request) add(it item, s *record.Series) {
	r.items = append(r.items, it)
	r.queries += len(s.Statistics)
	r.points += len(s.Statistics) * r.window.Points()
}

// part returns a request for some items of r, with the history of r.
func (r *request) part(items []item, series []record.Series) *request {
	p := &request{window: r.window, calls: r.calls, sent: r.sent, suspicion: r.suspicion, successes: r.successes}
	for _, it := range items {
		p.add(it, &series[it.series])
	}
	return p
}

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
