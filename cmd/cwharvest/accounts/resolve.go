package accounts

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"cwharvest/creds"
	"cwharvest/pipeline"
	"cwharvest/pipeline/config"
	"cwharvest/store/record"
)

// Resolve returns the accounts of the configuration, limited to the targets of its shard.
func (r *Resolver) Resolve(ctx context.Context) (*Set, error) {
	all, err := r.Locate(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.identify(ctx, all); err != nil {
		return nil, err
	}
	set := newSet(r.Manager, r.Config.Shard, all)
	return set, r.checkEndpoints(ctx, set.Principals())
}

// Locate returns all accounts without asking STS for their ids, so an account that its entry does not name has an empty
// ID. It lists organizations, and looks up regions that this version does not know.
func (r *Resolver) Locate(ctx context.Context) ([]Account, error) {
	if err := checkSessionName(os.Getenv("AWS_ROLE_SESSION_NAME")); err != nil {
		return nil, err
	}
	entries, err := r.expand(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]Account, len(entries))
	for i := range entries {
		if all[i], err = r.locate(ctx, &entries[i]); err != nil {
			return nil, err
		}
	}
	if err := r.checkPrincipals(ctx, all); err != nil {
		return nil, err
	}
	return all, r.checkRegions(ctx, all)
}

// checkPrincipals loads the principal of each account, which calls no service. A value that must be corrected ends the
// command: no target of the account could work. A fallback that cannot be loaded is left out, with a warning.
func (r *Resolver) checkPrincipals(ctx context.Context, all []Account) error {
	for _, a := range all {
		var e *creds.Error
		if _, err := r.Manager.Config(ctx, a.Home, a.Sources[0]); errors.As(err, &e) && e.Misconfigured() {
			return err
		}
	}
	return nil
}

// expand returns the entries of the configuration with the members of account files and organizations.
func (r *Resolver) expand(ctx context.Context) ([]config.Account, error) {
	members := map[int][]config.Account{}
	for i := range r.Config.Accounts {
		members[i] = r.Members[i]
		if r.Config.Accounts[i].Organization != nil {
			var err error
			if members[i], err = r.organization(ctx, &r.Config.Accounts[i]); err != nil {
				return nil, err
			}
		}
	}
	return r.Config.Expand(members)
}

// identify asks STS for the ids of accounts that their entries do not name. While no account is known at all, it tries
// again. Otherwise an account whose credentials do not work gets another name for its targets: the job waits for them, or
// denies them, and harvests the others.
func (r *Resolver) identify(ctx context.Context, all []Account) error {
	ask := func() (err error) {
		known := len(all) == 0
		for i := range all {
			if all[i].ID == "" {
				if e := r.identifyOne(ctx, &all[i]); err == nil || pipeline.IsRefused(err) {
					err = e
				}
			}
			known = known || all[i].ID != ""
		}
		if known {
			return nil
		}
		return err
	}
	if err := r.retryTransient(ctx, "identity unknown", ask); err != nil {
		return err
	}
	for i := range all {
		if all[i].ID == "" {
			all[i].Targets = all[i].unidentified
		}
	}
	return nil
}

func (r *Resolver) identifyOne(ctx context.Context, a *Account) error {
	if a.unidentified == nil {
		a.unidentified = a.targetsOf(unidentified(a.Sources[0].Profile))
	}
	caller, err := r.Manager.Identity(ctx, a.Sources[0], a.Home)
	if err != nil {
		return err
	}
	r.Log.Info("caller identity", "source", a.Sources[0], "arn", caller.ARN)
	*a = a.identified(caller.Account)
	return nil
}

// unidentified returns the name of the account of a profile until its id is known.
func unidentified(profile string) string {
	if profile == "" {
		return "default credentials"
	}
	return "profile " + strings.ReplaceAll(profile, "/", "%2F")
}

// targetsOf returns the targets with another account.
func (a *Account) targetsOf(account string) []record.Target {
	targets := slices.Clone(a.Targets)
	for i := range targets {
		targets[i].Account = account
	}
	return targets
}

// identified returns the account with its id.
func (a *Account) identified(id string) Account {
	known := *a
	known.ID, known.Targets, known.Sources = id, a.targetsOf(id), slices.Clone(a.Sources)
	for i := range known.Sources {
		known.Sources[i].Account = id
	}
	return known
}
