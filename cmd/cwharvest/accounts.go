package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"cwharvest/creds"
	"cwharvest/pipeline"
	"cwharvest/store"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// account is one entry of the specification with its account id known.
type account struct {
	id      string
	source  creds.Source
	regions []string
}

// accounts resolves the entries of the specification. STS is asked only who a
// profile or the caller is; roles name their account themselves.
func (r *runner) accounts(ctx context.Context) ([]account, error) {
	var all []account
	for _, e := range r.spec.Entries() {
		a := account{id: e.ID, regions: e.Regions, source: creds.Source{
			Profile: e.Profile, RoleARN: e.RoleARN, ExternalID: e.ExternalID, Duration: e.SessionDuration, Account: e.ID,
		}}
		if len(a.regions) == 0 {
			region := defaultRegion()
			if region == "" {
				return nil, usageError{errors.New("no region: give --region, regions in the file, or AWS_REGION")}
			}
			a.regions = []string{region}
		}
		if a.id == "" {
			id, err := r.identify(ctx, a.source, a.regions[0])
			if err != nil {
				return nil, err
			}
			a.id, a.source.Account = id, id
		}
		all = append(all, a)
	}
	return all, nil
}

// defaultRegion is the SDK's, for who names none.
func defaultRegion() string {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if region := os.Getenv(name); region != "" {
			return region
		}
	}
	return ""
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
			return "", errors.Join(pipeline.ErrCredentials, err)
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
	sources := map[store.Target]creds.Source{}
	for _, a := range accounts {
		for _, region := range a.regions {
			sources[store.Target{Account: a.id, Region: region}] = a.source
		}
	}
	return func(ctx context.Context, t store.Target) (aws.Config, error) {
		src, known := sources[t]
		if !known {
			return aws.Config{}, goneError{t}
		}
		return r.creds.Config(ctx, t.Region, src)
	}
}

// goneError is a target of an open job that the specification no longer names.
type goneError struct{ target store.Target }

func (e goneError) Error() string {
	return fmt.Sprintf("%s is no longer in the configuration; put it back to harvest it", e.target)
}
func (goneError) Refused() bool     { return true }
func (goneError) NeedsPerson() bool { return false }
