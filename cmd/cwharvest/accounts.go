package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"cwharvest/creds"
	"cwharvest/pipeline"
	"cwharvest/pipeline/spec"
	"cwharvest/store"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// account is one entry of the specification with its account id known.
type account struct {
	id      string
	sources []creds.Source // the account's own, then its fallbacks
	regions []string
}

// accounts resolves the entries of the specification. STS is asked only who a
// profile or the caller is; roles name their account themselves.
func (r *runner) accounts(ctx context.Context) ([]account, error) {
	var all []account
	for _, e := range r.spec.Entries() {
		a := account{id: e.ID, regions: e.Regions, sources: r.sources(&e)}
		if len(a.regions) == 0 {
			region, err := r.defaultRegion(ctx, a.sources[0])
			if err != nil {
				return nil, err
			}
			a.regions = []string{region}
		}
		if a.id == "" {
			id, err := r.identify(ctx, a.sources[0], a.regions[0])
			if err != nil {
				return nil, err
			}
			a.id = id
			for i := range a.sources {
				a.sources[i].Account = id
			}
		}
		all = append(all, a)
	}
	return all, nil
}

// sources are the ways into an account, its own first.
func (r *runner) sources(e *spec.Account) []creds.Source {
	duration := e.SessionDuration
	if duration == spec.Auto {
		duration = r.jobLength()
	}
	own := creds.Source{
		Profile: e.Profile, RoleARN: e.RoleARN, ExternalID: e.ExternalID, Via: e.Via.RoleARN, ViaExternalID: e.Via.ExternalID,
		Duration: duration, Account: e.ID,
	}
	sources := []creds.Source{own}
	for _, f := range e.Fallbacks {
		other := creds.Source{
			Profile: f.Profile, InstanceRole: f.InstanceRole, RoleARN: f.RoleARN, ExternalID: f.ExternalID, Duration: duration, Account: e.ID,
		}
		if f.Profile == "" && !f.InstanceRole {
			other.Profile, other.Via, other.ViaExternalID = own.Profile, own.Via, own.ViaExternalID
		}
		sources = append(sources, other)
	}
	return sources
}

// jobLength is what the longest target of the job at hand takes at the speed
// of its quota, with room for trouble: 1h when nothing is known, 12h at most.
func (r *runner) jobLength() time.Duration {
	const quota, room = 396_000, 3 // datapoints per second of old data
	length := time.Duration(room*r.points/quota) * time.Second
	return min(max(length.Round(time.Hour), time.Hour), 12*time.Hour)
}

// defaultRegion is the SDK's, for who names none.
func (r *runner) defaultRegion(ctx context.Context, src creds.Source) (string, error) {
	cfg, err := r.creds.Config(ctx, "", src)
	if err != nil {
		return "", err
	}
	if cfg.Region == "" {
		return "", usageError{errors.New("no region: give --region, regions in the file, AWS_REGION or one in the profile")}
	}
	return cfg.Region, nil
}

// identify asks who a source is, and keeps asking through outages: a night
// must not fail because STS was away when it began.
func (r *runner) identify(ctx context.Context, src creds.Source, region string) (string, error) {
	deadline := time.Now().Add(r.flags.waitForCredentials)
	for failures := 0; ; failures++ {
		who, err := r.creds.Identity(ctx, src, region)
		if err == nil {
			r.log.Info("caller identity", "source", src, "arn", who.ARN)
			return who.Account, nil
		}
		var e *creds.Error
		isCreds := errors.As(err, &e)
		switch {
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case isCreds && e.Refused():
			return "", err
		case time.Now().After(deadline):
			return "", fmt.Errorf("%w: %w", pipeline.ErrCredentials, err)
		}
		wait := time.Duration(rand.Int64N(int64(min(time.Second<<min(failures, 6), 30*time.Second))))
		r.log.Warn("identity unknown; asking again", "error", err, "retry_in", wait.Round(time.Millisecond))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

func targetsOf(accounts []account) []store.Target {
	var targets []store.Target
	for _, a := range accounts {
		for _, region := range a.regions {
			targets = append(targets, store.Target{Account: a.id, Region: region})
		}
	}
	slices.SortFunc(targets, func(a, b store.Target) int {
		if a.Less(b) {
			return -1
		}
		return 1
	})
	return slices.Compact(targets)
}

// connector returns clients' configuration by target.
func (r *runner) connector(accounts []account) func(context.Context, store.Target) (aws.Config, error) {
	sources := map[store.Target][]creds.Source{}
	for _, a := range accounts {
		for _, region := range a.regions {
			sources[store.Target{Account: a.id, Region: region}] = a.sources
		}
	}
	return func(ctx context.Context, t store.Target) (aws.Config, error) {
		ways, known := sources[t]
		if !known {
			return aws.Config{}, goneError{t}
		}
		return r.creds.Config(ctx, t.Region, ways...)
	}
}

// goneError is a target of an open job that the specification no longer names.
type goneError struct{ target store.Target }

func (e goneError) Error() string {
	return fmt.Sprintf("%s is no longer in the configuration; put it back to harvest it", e.target)
}
func (goneError) Refused() bool     { return true }
func (goneError) NeedsPerson() bool { return false }
