package store

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// builder publishes sealed segments in the background, one at a time. Its
// goroutine is the only one that publishes parts.
type builder struct {
	publish func(context.Context) (bytes int64, err error) // publishes the oldest sealed segment and returns its size
	limit   int64                                          // of spooled, in bytes

	ctx context.Context // ended by stop
	end context.CancelFunc

	mu      sync.Mutex
	change  sync.Cond     // of anything below
	spooled int64         // bytes committed and not yet published
	sealed  int           // segments that wait to be published
	err     error         // the builder has failed and ended
	ended   chan struct{} // nil until started; the builder's goroutine closes it
}

func (b *builder) init(limit int64, publish func(context.Context) (int64, error)) {
	b.limit, b.publish = limit, publish
	b.change.L = &b.mu
	b.ctx, b.end = context.WithCancel(context.Background())
}

// start starts the goroutine with the bytes and the sealed segments of an earlier
// attempt.
func (b *builder) start(spooled int64, sealed int) {
	b.spooled, b.sealed = spooled, sealed
	b.ended = make(chan struct{})
	go b.loop()
}

func (b *builder) loop() {
	defer close(b.ended)
	for b.next() {
		bytes, err := b.publish(b.ctx)
		b.mu.Lock()
		switch {
		case b.ctx.Err() != nil:
		case err != nil:
			b.err = fmt.Errorf("cannot publish parts: %w", err)
		default:
			b.spooled -= bytes
			b.sealed--
		}
		b.change.Broadcast()
		b.mu.Unlock()
	}
}

// next waits for a sealed segment; false means that the builder ends.
func (b *builder) next() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.sealed == 0 && b.ctx.Err() == nil && b.err == nil {
		b.change.Wait()
	}
	return b.ctx.Err() == nil && b.err == nil
}

func (b *builder) committed(bytes int64, sealed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spooled += bytes
	if sealed {
		b.sealed++
		b.change.Broadcast()
	}
}

// waitForRoom waits while the spool is full.
func (b *builder) waitForRoom(ctx context.Context) error {
	return b.wait(ctx, func() bool { return b.spooled > b.limit && b.sealed > 0 })
}

// drain waits until every sealed segment is published.
func (b *builder) drain(ctx context.Context) error {
	return b.wait(ctx, func() bool { return b.sealed > 0 })
}

// wait waits until busy returns false or the builder has failed.
func (b *builder) wait(ctx context.Context, busy func() bool) error {
	defer context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.change.Broadcast()
	})()
	b.mu.Lock()
	defer b.mu.Unlock()
	for busy() && b.err == nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b.change.Wait()
	}
	return b.err
}

// stop ends the builder between two steps. The next attempt continues its work.
func (b *builder) stop() {
	b.end()
	if b.ended == nil {
		return
	}
	b.mu.Lock()
	b.change.Broadcast()
	b.mu.Unlock()
	<-b.ended
}

// snapshotEvery is how often a run publishes its status.
const snapshotEvery = time.Second

// statusTicker publishes snapshots until stopped.
type statusTicker struct {
	end  chan struct{} // closed by stop
	done sync.WaitGroup
}

func (t *statusTicker) start(publish func() error) {
	t.end = make(chan struct{})
	t.done.Go(func() {
		tick := time.NewTicker(snapshotEvery)
		defer tick.Stop()
		for {
			// A failed snapshot must not end the run. Its age shows the failure,
			// and Close returns the error of the last one.
			_ = publish()
			select {
			case <-tick.C:
			case <-t.end:
				return
			}
		}
	})
}

func (t *statusTicker) stop() {
	if t.end != nil {
		close(t.end)
		t.done.Wait()
		t.end = nil
	}
}
