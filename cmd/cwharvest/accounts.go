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
	"cwharvest/pipeline/cloudwatch"
	"cwharvest/pipeline/config"
	"cwharvest/store/record"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// account is one entry of the specification with its account id known.
type account struct {
	id      string
	sources []creds.Source  // the account's own, then its fallbacks
	targets []record.Target // some may be patterns
	home    string          // the region to ask in which regions are enabled
}

// accounts resolves the entries of the specification, with the targets that are
// of this shard. STS is asked only who a profile or the caller is; roles name
// their account themselves.
func (r *runner) accounts(ctx context.Context) ([]account, error) {
	if r.resolved != nil {
		return r.resolved, nil
	}
	entries, err := r.entries(ctx)
	if err != nil {
		return nil, err
	}
	var all []account
	for _, e := range entries {
		a, err := r.account(ctx, e)
		if err != nil {
			return nil, err
		}
		a.targets = r.own(a.targets)
		all = append(all, a)
	}
	if err := r.checkConfigured(ctx, all); err != nil {
		return nil, err
	}
	r.resolved = all
	return all, nil
}

// own are the targets that are of this shard.
func (r *runner) own(all []record.Target) (own []record.Target) {
	for _, t := range all {
		if r.config.Shard.Holds(t) {
			own = append(own, t)
		} else {
			r.elsewhere = append(r.elsewhere, t)
		}
	}
	return own
}

// configured reports whether an account of the specification has the target.
func configured(accounts []account, t record.Target) bool {
	return slices.ContainsFunc(targetsOf(accounts), func(o record.Target) bool {
		return o == t || o.Account == t.Account && o.Covers(t.Region)
	})
}

// entries are those of the specification, with the members of files and
// organizations in their place.
func (r *runner) entries(ctx context.Context) ([]config.Account, error) {
	if r.expanded != nil {
		return r.expanded, nil
	}
	for i := range r.config.Accounts {
		if o := r.config.Accounts[i].Organization; o != nil {
			var err error
			if r.members[i], err = r.organization(ctx, o); err != nil {
				if r.members[i] = r.openAccounts(); len(r.members[i]) == 0 || ctx.Err() != nil {
					return nil, err
				}
				r.log.Warn("the open job goes on with the accounts it has", "error", err)
			}
		}
	}
	var err error
	r.expanded, err = r.config.Expand(r.members)
	return r.expanded, err
}

// openAccounts are those of the open job, which needs nobody to list them again.
func (r *runner) openAccounts() (members []config.Account) {
	for _, j := range r.jobs {
		if j.State != record.Unfinished {
			continue
		}
		for _, t := range j.Targets {
			if !slices.ContainsFunc(members, func(m config.Account) bool { return m.ID == t.Account }) {
				members = append(members, config.Account{ID: t.Account})
			}
		}
	}
	return members
}

func readAccounts(path string) ([]config.Account, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, usageError{error: fmt.Errorf("read accounts: %w", err)}
	}
	defer file.Close()
	return config.ReadAccounts(path, file)
}

func (r *runner) account(ctx context.Context, e config.Account) (account, error) {
	a, err := r.way(ctx, &e)
	if err != nil || a.id != "" {
		return a, err
	}
	id, err := r.identify(ctx, a.sources[0], a.home)
	if err != nil {
		return a, err
	}
	a.id, e.ID = id, id
	for i := range a.sources {
		a.sources[i].Account = id
	}
	a.targets = e.Targets()
	return a, nil
}

// way is how an entry's account is reached, without a call: who it is stays
// unknown where the entry does not say. An entry without regions gets the
// default one.
func (r *runner) way(ctx context.Context, e *config.Account) (account, error) {
	a := account{id: e.ID, sources: r.sources(e)}
	if len(e.Regions) == 0 && r.config.Shard != (record.Shard{}) {
		return a, usageError{error: errors.New("--shard needs regions in the file, or --region: those of the environment may differ from machine to machine")}
	}
	if len(e.Regions) == 0 {
		region, err := r.defaultRegion(ctx, a.sources[0])
		if err != nil {
			return a, err
		}
		e.Regions = []string{region}
	}
	a.home, a.targets = home(e), e.Targets()
	return a, nil
}

// home is a region of the account's partition that is always enabled, or one it
// names.
func home(e *config.Account) string {
	for _, region := range e.Regions {
		if !(record.Target{Region: region}).IsPattern() {
			return region
		}
	}
	for region, covered := range map[string]string{"cn-north-1": "cn-", "us-gov-west-1": "us-gov-"} {
		for _, pattern := range e.Regions {
			if len(pattern) >= len(covered) && pattern[:len(covered)] == covered {
				return region
			}
		}
	}
	return "us-east-1"
}

// sources are the ways into an account, its own first.
func (r *runner) sources(e *config.Account) []creds.Source {
	duration := e.SessionDuration
	if duration == config.Auto {
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
	const room = 3
	quota := cloudwatch.DatapointsPerSecond(cloudwatch.Oldest) * r.config.QuotaShare
	length := time.Duration(float64(room*r.points)/quota) * time.Second
	return min(max(length.Round(time.Hour), time.Hour), 12*time.Hour)
}

// defaultRegion is the SDK's, for who names none.
func (r *runner) defaultRegion(ctx context.Context, src creds.Source) (string, error) {
	cfg, err := r.creds.Config(ctx, "", src)
	if err != nil {
		return "", err
	}
	if cfg.Region == "" {
		return "", usageError{error: errors.New("no region: give --region, regions in the file, AWS_REGION or one in the profile")}
	}
	return cfg.Region, nil
}

// identify asks who a source is.
func (r *runner) identify(ctx context.Context, src creds.Source, region string) (id string, err error) {
	err = r.persist(ctx, "identity unknown", func() error {
		who, err := r.creds.Identity(ctx, src, region)
		if err == nil {
			r.log.Info("caller identity", "source", src, "arn", who.ARN)
			id = who.Account
		}
		return err
	})
	return id, err
}

// persist repeats what must be known before a job can begin, through outages: a
// night must not fail because STS was away when it began. What is refused stays
// refused.
func (r *runner) persist(ctx context.Context, trouble string, ask func() error) error {
	patience := r.flags.waitForCredentials
	if len(r.openAccounts()) > 0 {
		patience = min(patience, 10*time.Second)
	}
	deadline := time.Now().Add(patience)
	for failures := 0; ; failures++ {
		err := ask()
		var e *creds.Error
		switch isCreds := errors.As(err, &e); {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case isCreds && e.Refused(), !isCreds && pipeline.IsRefused(err):
			return err
		case time.Now().After(deadline), isCreds && e.NeedsPerson() && r.flags.attended:
			return fmt.Errorf("%w: %w", pipeline.ErrCredentials, err)
		}
		wait := time.Duration(rand.Int64N(int64(min(time.Second<<min(failures, 6), 30*time.Second))))
		r.log.Warn(trouble+"; asking again", "error", err, "retry_in", wait.Round(time.Millisecond))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

func targetsOf(accounts []account) []record.Target {
	var targets []record.Target
	for _, a := range accounts {
		targets = append(targets, a.targets...)
	}
	slices.SortFunc(targets, func(a, b record.Target) int {
		if a.Less(b) {
			return -1
		}
		return 1
	})
	return slices.Compact(targets)
}

// connector returns clients' configuration by target. A target that no entry
// names is one of a pattern's.
func (r *runner) connector(accounts []account) func(context.Context, record.Target) (aws.Config, error) {
	named := map[record.Target]*account{}
	patterns := map[string][]*account{} // by account id
	for i := range accounts {
		a := &accounts[i]
		for _, t := range a.targets {
			named[t] = a
			if t.IsPattern() {
				patterns[a.id] = append(patterns[a.id], a)
			}
		}
	}
	return func(ctx context.Context, t record.Target) (aws.Config, error) {
		a := named[t]
		for _, p := range patterns[t.Account] {
			covers := slices.ContainsFunc(p.targets, func(o record.Target) bool { return o.IsPattern() && o.Covers(t.Region) })
			if a == nil && covers {
				a = p
			}
		}
		switch {
		case a == nil:
			return aws.Config{}, goneError{t}
		case t.IsPattern():
			return r.creds.Config(ctx, a.home, a.sources...)
		}
		return r.creds.Config(ctx, t.Region, a.sources...)
	}
}

// goneError is a target of an open job that the specification no longer names.
type goneError struct{ target record.Target }

func (e goneError) Error() string {
	return fmt.Sprintf("%s is no longer in the configuration; put it back to harvest it", e.target)
}
func (goneError) Refused() bool     { return true }
func (goneError) NeedsPerson() bool { return false }
func (goneError) Class() string     { return "not_configured" }
