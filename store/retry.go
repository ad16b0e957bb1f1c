package store

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"cwharvest/store/durable"
	"cwharvest/store/place"
	"cwharvest/store/record"
)

const (
	firstWait   = 250 * time.Millisecond // doubles with every failure in a row
	longestWait = 10 * time.Second
)

// isTransient reports whether the operation may succeed later.
func isTransient(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		errors.Is(err, durable.ErrUnfinished) || place.Transient(err)
}

// retryTransient repeats do on a full disk or during an outage until the context ends:
// fetched data are paid for. It reports the error in status and log.
func (j *Job) retryTransient(ctx context.Context, do func() error) error {
	troubled := false
	err := retryTransient(ctx, func(err error) { troubled = true; j.setTrouble(err) }, do)
	if troubled {
		j.clearTrouble()
	}
	return err
}

// endedError reports that the context ended while an operation was tried again. Its cause
// decides about the outcome, since the operation might have succeeded later.
type endedError struct{ cause, last error }

func (e *endedError) Error() string {
	return fmt.Sprintf("%v, while trying again after: %v", e.cause, e.last)
}

func (e *endedError) Unwrap() error { return e.cause }

// Is reports whether the last error of the operation is target.
func (e *endedError) Is(target error) bool { return errors.Is(e.last, target) }

// retryTransient repeats do after transient errors, and calls report for each.
func retryTransient(ctx context.Context, report func(error), do func() error) error {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		err := do()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil && (isTransient(err) || errors.Is(err, ctx.Err())): // the end of the context made do fail
			return &endedError{context.Cause(ctx), err}
		case ctx.Err() != nil:
			return errors.Join(context.Cause(ctx), err)
		case !isTransient(err):
			return err
		}
		report(err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return &endedError{context.Cause(ctx), err}
		}
	}
}

// setTrouble records the error that blocks writing.
func (j *Job) setTrouble(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	reason := err.Error()
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		reason += "; " + hinted.Hint()
	}
	since := time.Now().UTC()
	if j.trouble == nil {
		j.dir.log.Warn("cannot write; trying again", "error", reason)
	} else {
		since = j.trouble.Since
	}
	j.trouble = &record.Trouble{Reason: reason, Since: since}
}

func (j *Job) clearTrouble() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.trouble != nil {
		j.dir.log.Info("writing continues", "waited", time.Since(j.trouble.Since).Round(time.Second))
		j.trouble = nil
	}
}
