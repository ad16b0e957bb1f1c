package pipeline

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cwharvest/store"
	"cwharvest/store/record"
)

// A group commit holds the entries that arrive within commitWithin. It starts
// sooner if they reach commitBytes or if a dispatcher waits for the commit.
const (
	commitWithin = 500 * time.Millisecond
	commitBytes  = 8 << 20
)

// entry is one thing to make durable.
type entry struct {
	results    []store.Result
	buffer     *[]float64 // memory of the results' columns
	resolution *store.Resolution
	discovery  *store.Discovery
	limitation *store.Limitation
	denial     *store.Denial
	committed  chan<- struct{} // closed once durable; nil if no dispatcher waits
	publish    bool            // seal and publish everything committed
}

// writer is the one goroutine that commits.
type writer struct {
	ctx context.Context // bounds how long commits wait while the disk is full
	job *store.Job
	// in carries entries from dispatchers and calls. They send even after a
	// cancellation, so that a response that was paid for is never lost. Run closes
	// it after the last of them has returned, and loop drains it to the end.
	in    chan entry
	meter *meter
	fail  func(error) // ends the run

	drains sync.WaitGroup // wait until a held-up run is published

	results []store.Result // of one commit; the memory is reused
}

// loop commits until in is closed. After a failed commit it only drains, so that no
// sender waits for ever.
func (w *writer) loop() error {
	ctx, end := context.WithCancel(w.ctx)
	defer w.drains.Wait()
	defer end()
	var failed error
	for first := range w.in {
		batch := w.gather(first)
		if failed == nil {
			if failed = w.makeDurable(ctx, batch); failed != nil {
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
	return w.commit(nil) // the counts of the meter since the last commit
}

// makeDurable commits a batch, and then seals the job's data if an entry asks for it. The
// builder publishes them meanwhile; if it fails, the run ends.
func (w *writer) makeDurable(ctx context.Context, batch []entry) error {
	if err := w.commit(batch); err != nil {
		return err
	}
	if !slices.ContainsFunc(batch, func(e entry) bool { return e.publish }) {
		return nil
	}
	if err := w.job.Publish(w.ctx); err != nil {
		return err
	}
	w.drains.Go(func() {
		if err := w.job.Drain(ctx); err != nil && ctx.Err() == nil {
			w.fail(err)
		}
	})
	return nil
}

// gather collects one group commit.
func (w *writer) gather(first entry) []entry {
	batch := []entry{first}
	size, urgent := first.size(), first.committed != nil || first.publish
	deadline := time.NewTimer(commitWithin)
	defer deadline.Stop()
	for size < commitBytes {
		e, more := w.next(urgent, deadline.C)
		if !more {
			break
		}
		batch, size = append(batch, e), size+e.size()
		urgent = urgent || e.committed != nil || e.publish
	}
	return batch
}

// next returns the next entry of this commit. If a dispatcher waits, these are only
// entries that have arrived already, otherwise those that arrive before the
// deadline.
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

// size returns about how many bytes an entry takes in a transaction. An instance
// takes a page of the database, since ids come in no order. A result takes some
// bytes beside its datapoints, more than those of a day of hours.
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
		if e.limitation != nil {
			b.Limited = append(b.Limited, *e.limitation)
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

// meter counts calls and costs between commits. It is safe for concurrent use.
type meter struct {
	sent, repeated, throttled atomic.Int64
	cost, worst               atomic.Int64 // billionths of a USD
	sessions                  func() record.StatusSessions
	taken                     record.StatusSessions // already returned by take; only the writer uses it
}

// charge adds a cost in USD, as AWS documents it and in the worst case.
func (m *meter) charge(cost, worst float64) {
	m.cost.Add(int64(cost*1e9 + 0.5))
	m.worst.Add(int64(worst*1e9 + 0.5))
}

// take returns the counts since the last take.
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
