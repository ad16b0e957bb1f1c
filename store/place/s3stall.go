package place

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// stallWatch ends a read of S3 that makes no progress. It is the body of the response.
type stallWatch struct {
	stall time.Duration
	timer *time.Timer
	ctx   context.Context
	end   context.CancelFunc
	body  io.ReadCloser
}

// watch returns a context for a read, which ends after a while without progress.
func (s *S3) watch(ctx context.Context) (*stallWatch, context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &stallWatch{stall: s.stall, ctx: ctx}
	w.timer = time.AfterFunc(s.stall, func() { cancel(errStalled) })
	w.end = func() { w.timer.Stop(); cancel(nil) }
	return w, ctx
}

var errStalled = errors.New("stalled")

// explain returns the error of a call. It releases the resources of a failed call.
func (w *stallWatch) explain(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	defer w.end()
	if errors.Is(context.Cause(w.ctx), errStalled) {
		return fmt.Errorf("no byte of the response for %v: %w", w.stall, context.DeadlineExceeded)
	}
	return err
}

func (w *stallWatch) Read(p []byte) (int, error) {
	n, err := w.body.Read(p)
	w.timer.Reset(w.stall)
	return n, w.explain(err)
}

func (w *stallWatch) Close() error {
	defer w.end()
	return w.body.Close()
}
