package accounts

import (
	"context"
	"os"

	"cwharvest/pipeline/config"
)

// Resolve returns the accounts of the configuration, limited to the targets of its shard.
func (r *Resolver) Resolve(ctx context.Context) (*Set, error) {
	all, err := r.Locate(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].ID == "" {
			if err := r.identify(ctx, &all[i]); err != nil {
				return nil, err
			}
		}
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
	return all, r.checkRegions(ctx, all)
}

// expand returns the entries of the configuration with the members of account files and organizations.
func (r *Resolver) expand(ctx context.Context) ([]config.Account, error) {
	members := map[int][]config.Account{}
	for i := range r.Config.Accounts {
		members[i] = r.Members[i]
		if o := r.Config.Accounts[i].Organization; o != nil {
			var err error
			if members[i], err = r.organization(ctx, o); err != nil {
				return nil, err
			}
		}
	}
	return r.Config.Expand(members)
}

// identify asks STS for the account id.
func (r *Resolver) identify(ctx context.Context, a *Account) error {
	src := a.Sources[0]
	err := r.retryTransient(ctx, "identity unknown", func() error {
		caller, err := r.Manager.Identity(ctx, src, a.Home)
		if err == nil {
			r.Log.Info("caller identity", "source", src, "arn", caller.ARN)
			a.ID = caller.Account
		}
		return err
	})
	for i := range a.Sources {
		a.Sources[i].Account = a.ID
	}
	for i := range a.Targets {
		a.Targets[i].Account = a.ID
	}
	return err
}
