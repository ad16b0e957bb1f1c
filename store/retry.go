package store

import (
	"context"
	"errors"
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

// passes reports whether an error may pass by waiting.
func passes(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		errors.Is(err, durable.ErrUnfinished) || place.Transient(err)
}

// persist repeats what meets a full disk or an outage, until the context ends:
// what was fetched is paid for. Status and log tell of it meanwhile.
func (j *Job) retryTransient(ctx context.Context, do func() error) error {
	troubled := false
	err := retryTransient(ctx, func(err error) { troubled = true; j.troubled(err) }, do)
	if troubled {
		j.relieved()
	}
	return err
}

// persist tells of each error that may pass.
func retryTransient(ctx context.Context, tell func(error), do func() error) error {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		err := do()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil: // which is why it failed
			return errors.Join(context.Cause(ctx), err)
		case !passes(err):
			return err
		}
		tell(err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// troubled notes what writing waits for.
func (j *Job) troubled(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	reason := err.Error()
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		reason += "; " + hinted.Hint()
	}
	since := time.Now().UTC()
	if j.trouble == nil {
		j.dir.log.Warn("writing waits and is tried again", "error", reason)
	} else {
		since = j.trouble.Since
	}
	j.trouble = &record.Trouble{Reason: reason, Since: since}
}

func (j *Job) relieved() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.trouble != nil {
		j.dir.log.Info("writing goes on", "waited", time.Since(j.trouble.Since).Round(time.Second))
		j.trouble = nil
	}
}
