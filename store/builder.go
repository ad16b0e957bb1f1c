package store

import (
	"context"
	"fmt"
	"sync"
)

// SpoolLimit bounds the data committed and not yet published, unless Config says
// otherwise: when it is reached, commits wait for the builder, and so does
// fetching.
const SpoolLimit = 2 << 30

// builder turns sealed segments into parts, in the background, one at a time.
type builder struct {
	job *Job
	ctx context.Context // ended by stop
	end context.CancelFunc

	mu      sync.Mutex
	change  sync.Cond     // of anything below
	spooled int64         // bytes committed and not yet published
	sealed  int           // segments that wait to be published
	err     error         // the builder has failed and ended
	ended   chan struct{} // nil until started; the builder's goroutine closes it
}

func (b *builder) init(j *Job) {
	b.job = j
	b.change.L = &b.mu
	b.ctx, b.end = context.WithCancel(context.Background())
}

// start counts what an earlier attempt left sealed and starts the goroutine.
func (b *builder) start() error {
	intents, err := b.job.intents()
	if err != nil {
		return err
	}
	b.spooled = b.job.record.Spooled
	for _, in := range intents {
		if !in.Staged {
			b.spooled += in.Bytes
			b.sealed++
		}
	}
	b.ended = make(chan struct{})
	go b.loop()
	return nil
}

func (b *builder) loop() {
	defer close(b.ended)
	for b.next() {
		var bytes int64
		err := b.job.retryTransient(b.ctx, func() (err error) {
			bytes, err = b.job.publishNext(b.ctx)
			return err
		})
		if err == nil {
			err = b.job.retryTransient(b.ctx, b.job.writeManifest)
		}
		b.mu.Lock()
		switch {
		case b.ctx.Err() != nil:
		case err != nil:
			b.err = fmt.Errorf("publish parts: %w", err)
		default:
			b.spooled -= bytes
			b.sealed--
		}
		b.change.Broadcast()
		b.mu.Unlock()
	}
}

// next waits for a sealed segment; false means that the builder is to end.
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
	return b.wait(ctx, func() bool { return b.spooled > b.job.dir.spoolLimit() && b.sealed > 0 })
}

// drain waits until every sealed segment is published.
func (b *builder) drain(ctx context.Context) error {
	return b.wait(ctx, func() bool { return b.sealed > 0 })
}

// wait waits while the builder has something to do before the caller may go on.
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

// stop ends the builder between two steps; what it had begun is recovered by
// the next attempt.
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
