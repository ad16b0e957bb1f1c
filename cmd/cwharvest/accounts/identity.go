package accounts

import (
	"context"
	"errors"
	"sync"
	"time"

	"cwharvest/creds"
)

// mostIntroduced bounds the principals whose identity a run logs. An organization usually has one; a configuration with
// a profile for each account may have hundreds.
const mostIntroduced = 10

// Introduce logs the principals that sign for the accounts, and settings of the environment that have no effect. It
// returns at once; the group ends when everything is logged.
func (r *Resolver) Introduce(ctx context.Context, set *Set) *sync.WaitGroup {
	var all sync.WaitGroup
	for i, p := range set.Principals() {
		for _, line := range r.Manager.Conflicts(ctx, p, r.Getenv) {
			r.Log.Warn("environment: " + line)
		}
		if i < mostIntroduced {
			all.Go(func() { r.introduce(ctx, p) })
		}
	}
	return &all
}

func isShared(err error) bool {
	var e *creds.Error
	return errors.As(err, &e) && e.Shared() != ""
}

// introduce logs one principal, and warns if its credentials expire too soon or the local clock is wrong.
func (r *Resolver) introduce(ctx context.Context, src creds.Source) {
	p, err := r.Manager.Principal(ctx, src)
	switch {
	case ctx.Err() != nil:
	case err != nil && isShared(err): // the manager has logged it
	case err != nil:
		r.Log.Warn("credentials: identity unknown", "principal", p.Name, "from", p.Source, "key", p.Key, "error", err)
	case p.Expires.IsZero():
		r.Log.Info("credentials", "principal", p.Name, "from", p.Source, "key", p.Key, "account", p.Account, "arn", p.ARN)
	default:
		r.Log.Info("credentials", "principal", p.Name, "from", p.Source, "key", p.Key, "account", p.Account, "arn", p.ARN,
			"valid_until", p.Expires.UTC().Format(time.RFC3339))
	}
	for _, line := range []string{p.Conflict(r.Getenv), p.Warning(r.JobLength())} {
		if line != "" {
			r.Log.Warn("environment: " + line)
		}
	}
	if p.Offset.Abs() > time.Minute {
		r.Log.Warn("the local clock is wrong; signatures use AWS's time", "by", -p.Offset)
	}
}
