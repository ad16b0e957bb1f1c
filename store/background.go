package store

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// spool bounds the bytes that all jobs of a directory together have committed and not
// published. Its mutex also guards the counts of every builder, and is never held
// during I/O.
type spool struct {
	limit int64

	mu     sync.Mutex
	change sync.Cond // of anything that mu guards
	bytes  int64     // of all jobs
	sealed int       // segments of all jobs that wait to be published
}

func (s *spool) init(limit int64) {
	s.limit = limit
	s.change.L = &s.mu
}

// add changes the counts of a job, and those of all jobs with them. The caller holds mu.
func (s *spool) add(b *builder, bytes int64, sealed int) {
	b.spooled, b.sealed = b.spooled+bytes, b.sealed+sealed
	s.bytes, s.sealed = s.bytes+bytes, s.sealed+sealed
	s.change.Broadcast()
}

// builder publishes the sealed segments of a job in the background, one at a time. Its
// goroutine is the only one that publishes parts of the job.
type builder struct {
	publish func(context.Context) (bytes int64, err error) // publishes the oldest sealed segment and returns its size
	all     *spool

	ctx context.Context // ended by stop
	end context.CancelFunc

	// Guarded by all.mu:
	spooled int64         // bytes committed and not yet published
	sealed  int           // segments that wait to be published
	err     error         // the builder has failed and ended
	ended   chan struct{} // nil until started; the builder's goroutine closes it
}

func (b *builder) init(all *spool, publish func(context.Context) (int64, error)) {
	b.all, b.publish = all, publish
	b.ctx, b.end = context.WithCancel(context.Background())
}

// start starts the goroutine with the bytes and the sealed segments of an earlier
// attempt.
func (b *builder) start(spooled int64, sealed int) {
	b.all.mu.Lock()
	defer b.all.mu.Unlock()
	b.all.add(b, spooled, sealed)
	b.ended = make(chan struct{})
	go b.loop()
}

func (b *builder) loop() {
	defer close(b.ended)
	for b.next() {
		bytes, err := b.publish(b.ctx)
		b.all.mu.Lock()
		switch {
		case b.ctx.Err() != nil:
		case err != nil:
			b.err = fmt.Errorf("cannot publish parts: %w", err)
			b.all.add(b, -b.spooled, -b.sealed) // it makes no more room
		default:
			b.all.add(b, -bytes, -1)
		}
		b.all.mu.Unlock()
	}
}

// next waits for a sealed segment; false means that the builder ends.
func (b *builder) next() bool {
	b.all.mu.Lock()
	defer b.all.mu.Unlock()
	for b.sealed == 0 && b.ctx.Err() == nil && b.err == nil {
		b.all.change.Wait()
	}
	return b.ctx.Err() == nil && b.err == nil
}

func (b *builder) committed(bytes int64, sealed bool) {
	b.all.mu.Lock()
	defer b.all.mu.Unlock()
	n := 0
	if sealed {
		n = 1
	}
	b.all.add(b, bytes, n)
}

// waitForRoom waits while the spool of all jobs is full and a builder can make room.
func (b *builder) waitForRoom(ctx context.Context) error {
	return b.wait(ctx, func() bool { return b.all.bytes > b.all.limit && b.all.sealed > 0 })
}

// drain waits until every sealed segment of the job is published.
func (b *builder) drain(ctx context.Context) error {
	return b.wait(ctx, func() bool { return b.sealed > 0 })
}

// wait waits until busy returns false or the builder has failed.
func (b *builder) wait(ctx context.Context, busy func() bool) error {
	defer context.AfterFunc(ctx, func() {
		b.all.mu.Lock()
		defer b.all.mu.Unlock()
		b.all.change.Broadcast()
	})()
	b.all.mu.Lock()
	defer b.all.mu.Unlock()
	for busy() && b.err == nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b.all.change.Wait()
	}
	return b.err
}

// stop ends the builder between two steps, and takes its job out of the spool, so that
// no other job waits for it. The next attempt continues its work.
func (b *builder) stop() {
	b.end()
	b.all.mu.Lock()
	b.all.change.Broadcast()
	ended := b.ended
	b.all.mu.Unlock()
	if ended != nil {
		<-ended
	}
	b.all.mu.Lock()
	defer b.all.mu.Unlock()
	b.all.add(b, -b.spooled, -b.sealed)
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
