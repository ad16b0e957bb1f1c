package pipeline

import (
	"time"

	"cwharvest/pipeline/cloudwatch"
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

// price returns the cost of a request that CloudWatch answers.
func (r *request) price(series []record.Series) (cost, worst float64) {
	for _, it := range r.items {
		s := &series[it.series]
		cost += s.CostUSD / float64(len(s.Windows))
		worst += s.WorstUSD / float64(len(s.Windows))
	}
	return cost, worst
}
