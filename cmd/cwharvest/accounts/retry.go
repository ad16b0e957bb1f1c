package accounts

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"cwharvest/creds"
	"cwharvest/pipeline"
)

const (
	shortPatience = 10 * time.Second // when the open job already knows its accounts
	longestPause  = 8 * time.Second  // between two tries, so that a run continues within 20 s
)

// retryTransient repeats a call until it succeeds or is refused, or until Patience has passed. It pauses for a random time
// below 1 s, 2 s, 4 s and so on up to longestPause, so that many runs that start at midnight do not call at once.
func (r *Resolver) retryTransient(ctx context.Context, problem string, call func() error) error {
	patience := r.Patience
	if len(r.OpenJob) > 0 {
		patience = min(patience, shortPatience)
	}
	deadline := time.Now().Add(patience)
	for failures := 0; ; failures++ {
		err := call()
		var e *creds.Error
		switch isCreds := errors.As(err, &e); {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case isCreds && (e.Refused() || e.Misconfigured()), !isCreds && pipeline.IsRefused(err):
			return err
		case time.Now().After(deadline), isCreds && e.NeedsPerson() && r.Attended:
			return fmt.Errorf("%w: %w", pipeline.ErrCredentials, err)
		}
		pause := time.Duration(rand.Int64N(int64(min(time.Second<<min(failures, 6), longestPause))))
		r.Log.Warn(problem+"; trying again", "error", err, "retry_in", pause.Round(time.Millisecond))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}
