package creds

import (
	"context"
	"sync"
	"time"
)

// background owns the goroutines of a manager. None starts after close, and
// close waits for all of them.
type background struct {
	timeout time.Duration // of each piece of work
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex // guards closed
	closed bool
}

func newBackground(timeout time.Duration) *background {
	b := &background{timeout: timeout}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// start runs work in a goroutine of its own. It reports false after close.
func (b *background) start(work func(context.Context)) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.running.Go(func() { b.do(work) })
	return true
}

// do runs work with a deadline of the manager, not of the caller.
func (b *background) do(work func(context.Context)) {
	ctx, cancel := context.WithTimeout(b.ctx, b.timeout)
	defer cancel()
	work(ctx)
}

func (b *background) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

func (b *background) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	b.running.Wait()
}
