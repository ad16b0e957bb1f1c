package pipeline

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"cwharvest/store"
	"cwharvest/store/record"
)

// A group commit gathers what arrives within commitWithin, or sooner when
// commitBytes of datapoints wait or somebody waits for the commit.
const (
	commitWithin = 500 * time.Millisecond
	commitBytes  = 8 << 20
)

// entry is one thing to make durable.
type entry struct {
	results    []store.Result
	buffer     *[]float64 // that the results' columns live in
	resolution *store.Resolution
	discovery  *store.Discovery
	denial     *store.Denial
	committed  chan<- struct{} // closed once durable; nil when nobody waits
}

// writer is the one goroutine that commits.
type writer struct {
	ctx context.Context // while the disk is full, commits wait no longer than it
	job *store.Job
	// in carries what dispatchers and fetches hand on. They send without
	// regard to cancellation, so that a paid answer is never lost; Run closes
	// it after the last of them has returned; loop drains it to the end.
	in    chan entry
	meter *meter
	fail  func(error) // ends the run; called once

	results []store.Result // of a commit; reused
}

// loop commits until in is closed. After a failed commit it only drains, so
// that no sender is left waiting.
func (w *writer) loop() error {
	var failed error
	for first := range w.in {
		batch := w.gather(first)
		if failed == nil {
			if failed = w.commit(batch); failed != nil {
				w.fail(failed)
			}
		}
		for _, e := range batch {
			if e.buffer != nil {
				buffers.Put(e.buffer)
			}
			if e.committed != nil && failed == nil {
				close(e.committed)
			}
		}
	}
	if failed != nil {
		return failed
	}
	return w.commit(nil) // what the meter counted since the last commit
}

// gather collects one group commit.
func (w *writer) gather(first entry) []entry {
	batch := []entry{first}
	size, urgent := first.size(), first.committed != nil
	deadline := time.NewTimer(commitWithin)
	defer deadline.Stop()
	for size < commitBytes {
		e, more := w.next(urgent, deadline.C)
		if !more {
			break
		}
		batch, size = append(batch, e), size+e.size()
		urgent = urgent || e.committed != nil
	}
	return batch
}

// next returns what else belongs to this commit: only what is there already
// when somebody waits for it, otherwise what comes before the deadline.
func (w *writer) next(urgent bool, deadline <-chan time.Time) (entry, bool) {
	if urgent {
		select {
		case e, open := <-w.in:
			return e, open
		default:
			return entry{}, false
		}
	}
	select {
	case e, open := <-w.in:
		return e, open
	case <-deadline:
		return entry{}, false
	}
}

// size is about what an entry takes of a transaction: of instances, whose ids
// come in no order, a page each, and of results also what is around their
// datapoints, which weighs more than a day of hours.
func (e entry) size() int {
	const instance, result = 4 << 10, 512
	n := result * len(e.results)
	if e.buffer != nil {
		n += 8 * len(*e.buffer)
	}
	if e.discovery != nil {
		n += instance * len(e.discovery.Instances)
	}
	return n
}

func (w *writer) commit(entries []entry) error {
	b := store.Batch{Counters: w.meter.take(), Results: w.results[:0]}
	for _, e := range entries {
		b.Results = append(b.Results, e.results...)
		if e.resolution != nil {
			b.Resolved = append(b.Resolved, *e.resolution)
		}
		if e.discovery != nil {
			b.Discovered = append(b.Discovered, *e.discovery)
		}
		if e.denial != nil {
			b.Denied = append(b.Denied, *e.denial)
		}
	}
	w.results = b.Results
	if err := w.job.Commit(w.ctx, &b); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// meter counts what a run spends between commits. Safe for concurrent use.
type meter struct {
	sent, repeated, throttled atomic.Int64
	cost, worst               atomic.Int64 // billionths of a USD
	sessions                  func() record.StatusSessions
	taken                     record.StatusSessions // counted already; the writer's own
}

// charge counts what CloudWatch bills, in USD: as it should, and at worst.
func (m *meter) charge(cost, worst float64) {
	m.cost.Add(int64(cost*1e9 + 0.5))
	m.worst.Add(int64(worst*1e9 + 0.5))
}

// price is what a request costs once it is answered.
func (r *request) price(series []record.Series) (cost, worst float64) {
	for _, it := range r.items {
		s := &series[it.series]
		cost += s.CostUSD / float64(len(s.Windows))
		worst += s.WorstUSD / float64(len(s.Windows))
	}
	return cost, worst
}

// controlPrice returns what a control call costs: it asks for one statistic.
func (r *run) controlPrice() (usd, worst float64) {
	if r.Statistics {
		usd = r.Prices.MetricStatistics(1)
		return usd, usd
	}
	return r.Prices.MetricData(1)
}

// take returns what was counted since the last take.
func (m *meter) take() record.Counters {
	c := record.Counters{
		RequestsSent:     m.sent.Swap(0),
		RequestsRepeated: m.repeated.Swap(0),
		Throttled:        m.throttled.Swap(0),
		CostUSD:          float64(m.cost.Swap(0)) / 1e9,
		CostWorstUSD:     float64(m.worst.Swap(0)) / 1e9,
	}
	if m.sessions != nil {
		s := m.sessions()
		c.SessionsAssumed = s.Assumed - m.taken.Assumed
		c.RefusedExpired = s.RefusedExpired - m.taken.RefusedExpired
		c.SessionWaits = s.Waits - m.taken.Waits
		c.FallbackSwitches = s.Switches - m.taken.Switches
		m.taken = s
	}
	return c
}
