package creds

import (
	"context"
	"errors"
	"math/rand/v2"
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

var errClosed = errors.New("the credential manager is closed")

// backoff delays the next attempt after failures in a row, with full jitter.
type backoff struct {
	failures int
	until    time.Time // no attempt before
}

// A source that a person or the platform can renew is tried at least every
// maxBackoff. With the pause of the pipeline, at most 10 s, a run continues
// within 20 s.
const (
	firstBackoff = 500 * time.Millisecond
	maxBackoff   = 8 * time.Second
)

// fail counts a failure and returns the delay until the next attempt.
func (b *backoff) fail() time.Duration {
	b.failures++
	wait := time.Duration(rand.Int64N(int64(min(firstBackoff<<min(b.failures, 10), maxBackoff))))
	b.until = time.Now().Add(wait)
	return wait
}

func (b *backoff) waits() bool { return b.failures > 0 && time.Now().Before(b.until) }

// news is a failure that the log has; the zero value is none.
type news struct {
	text string
	at   time.Time
}

// add reports whether the log needs a failure: the first one, and another one after a
// minute, since the text of some failures differs each time.
func (n *news) add(err error) bool {
	if n.text == err.Error() || n.text != "" && time.Since(n.at) < time.Minute {
		return false
	}
	n.text, n.at = err.Error(), time.Now()
	return true
}

// flight makes attempts at one thing, such as the keys of a principal: one at a
// time however many callers ask, and at most one in each step of the backoff
// after failures.
type flight struct {
	background *background

	mu      sync.Mutex    // guards the fields below; never held across the network
	running chan struct{} // closed when the attempt ends; nil: none is running
	backoff backoff
	err     error // of the last attempt
}

// do makes an attempt or joins the running one, and returns its error. During the
// backoff it makes none and returns the error of the last one. The caller can leave
// by its own context; the attempt continues for the others.
func (f *flight) do(ctx context.Context, attempt func(context.Context) error) error {
	if running := f.start(attempt); running != nil {
		select {
		case <-running:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *flight) start(attempt func(context.Context) error) chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running != nil || f.backoff.waits() {
		return f.running
	}
	running := make(chan struct{})
	if !f.background.start(func(ctx context.Context) { f.end(attempt(ctx)) }) {
		f.err = errClosed
		return nil
	}
	f.running = running
	return running
}

// reset ends the delay after failures.
func (f *flight) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.backoff = backoff{}
}

func (f *flight) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err = err; err != nil {
		f.backoff.fail()
	} else {
		f.backoff = backoff{}
	}
	close(f.running)
	f.running = nil
}
