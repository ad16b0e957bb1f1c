package pipeline

import (
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
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
	verdicts  int   // of its target's examination when the request was sent
	refusal   error // why CloudWatch refused the request last
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

// refusals holds the statistics that CloudWatch does not accept in a target, by
// series and index. It is never changed: calls in flight read it.
type refusals map[int]map[int]record.Failure

// has reports whether a statistic is refused.
func (r refusals) has(series, statistic int) bool {
	_, refused := r[series][statistic]
	return refused
}

// whole reports whether all statistics of a series are refused, and the first reason.
func (r refusals) whole(index int, s *record.Series) (record.Failure, bool) {
	return r[index][0], len(r[index]) == len(s.Statistics)
}

// with returns the refusals with those of another series.
func (r refusals) with(series int, refused map[int]record.Failure) refusals {
	all := refusals{series: refused}
	for s, of := range r {
		if s != series {
			all[s] = of
		}
	}
	return all
}

// refusalsOf returns the refusals that earlier runs of the job recorded.
func refusalsOf(series []record.Series, failed []record.MetricFailure) refusals {
	all := refusals{}
	for i := range series {
		s := &series[i]
		for _, m := range failed {
			if m.Listing || m.Namespace != s.Namespace || m.Metric != s.Metric || !slices.Equal(m.Dimensions, s.Dimensions) {
				continue
			}
			if all[i] == nil {
				all[i] = map[int]record.Failure{}
			}
			for at, name := range s.Statistics {
				if m.Statistic == "" || m.Statistic == name {
					all[i][at] = m.Failure
				}
			}
		}
	}
	return all
}

// errPages reports a response without a last page. It is transient.
var errPages = errors.New("response does not end")

// The most pages of one response. A request is planned for one page, and each page
// may cost as much as the first. A listing can have millions of instances.
const (
	mostPages        = 1000
	mostListingPages = 100_000
)

var tokenSeed = maphash.MakeSeed()

// tokens holds hashes of the page tokens of one response. The zero value is ready to
// use.
type tokens struct{ seen map[uint64]bool }

// add adds a token. It returns an error if the token has occurred before or if there
// are too many.
func (t *tokens) add(token string, most int) error {
	if token == "" {
		return nil
	}
	if t.seen == nil {
		t.seen = map[uint64]bool{}
	}
	hash := maphash.String(tokenSeed, token)
	switch {
	case t.seen[hash]:
		return fmt.Errorf("%w: page %d has the token of an earlier one", errPages, len(t.seen)+1)
	case len(t.seen) >= most:
		return fmt.Errorf("%w: it has more than %d pages", errPages, most)
	}
	t.seen[hash] = true
	return nil
}
