package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"cwharvest/creds"
)

// mostIntroduced bounds the principals that a run introduces: an organization
// has one, somebody with a profile an account may have hundreds (doctor shows
// them all).
const mostIntroduced = 10

// introduce logs, beside the work, who signs and what of the environment takes
// no effect.
func (r *runner) introduce(ctx context.Context, accounts []account) *sync.WaitGroup {
	var all sync.WaitGroup
	principals := principalsOf(accounts)
	for i, p := range principals {
		for _, line := range creds.Conflicts(p.Profile, r.getenv) {
			r.log.Warn("environment: " + line)
		}
		if i < mostIntroduced {
			all.Go(func() { r.introduceOne(ctx, p) })
		}
	}
	return &all
}

// principalsOf returns what signs for the accounts, in order of first use.
func principalsOf(accounts []account) (all []creds.Source) {
	seen := map[creds.Source]bool{}
	for _, a := range accounts {
		for _, s := range a.sources {
			p := creds.Source{Profile: s.Profile, InstanceRole: s.InstanceRole}
			if !seen[p] {
				seen[p] = true
				all = append(all, p)
			}
		}
	}
	return all
}

func (r *runner) introduceOne(ctx context.Context, src creds.Source) {
	p, err := r.creds.Principal(ctx, src)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		r.log.Warn("credentials: identity unknown", "principal", p.Name, "from", p.Source, "key", p.Key, "error", err)
	case p.Expires.IsZero():
		r.log.Info("credentials", "principal", p.Name, "from", p.Source, "key", p.Key, "account", p.Account, "arn", p.ARN)
	default:
		r.log.Info("credentials", "principal", p.Name, "from", p.Source, "key", p.Key, "account", p.Account, "arn", p.ARN,
			"valid_until", p.Expires.UTC().Format(time.RFC3339))
		if left := time.Until(p.Expires); left < r.jobLength() {
			r.log.Warn("credentials may end before the job; unless they renew themselves, the run will wait for a person", "principal", p.Name, "left", left.Round(time.Second))
		}
	}
	if p.Offset.Abs() > time.Minute {
		r.log.Warn("the local clock is off; signatures are corrected by AWS's", "by", -p.Offset)
	}
}

// environment returns what variables are now: loading may drop AWS_PROFILE.
func environment() func(string) string {
	values := map[string]string{}
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		values[name] = value
	}
	return func(name string) string { return values[name] }
}

// dropEnvironmentCredentials removes them from this process's environment.
func dropEnvironmentCredentials() error {
	for _, name := range creds.EnvironmentCredentials {
		if err := os.Unsetenv(name); err != nil {
			return fmt.Errorf("ignore %s: %w", name, err)
		}
	}
	return nil
}
