// Package accounts turns the entries of a configuration into accounts that can be called: their ids, their
// credentials, the targets (account and region) to harvest, and the client configuration of each target.
//
// A Resolver does it once, in this order, and returns a Set that never changes:
//
//	files         accounts from CSV files                       ReadFiles    no call
//	organization  active accounts of an organization or units   Organizations
//	locate        credential sources, regions, targets          no call, except for files of the SDK
//	identify      id of an account that its entry does not name STS
//	shard         targets of this shard, and those of others    no call
//
// Everything that is wrong in the input is an *InputError or a *config.Error. Outages are retried within Patience,
// because a run must not fail only because STS was unavailable when it started.
package accounts

import (
	"context"
	"log/slog"
	"time"

	"cwharvest/creds"
	"cwharvest/pipeline/config"
	"cwharvest/store/record"
)

// Account is one account with its credential sources and targets.
type Account struct {
	ID      string          // empty until the account is identified
	Sources []creds.Source  // the account's own, then its fallbacks
	Targets []record.Target // some may be patterns of regions
	Home    string          // region in which the account's enabled regions are listed
}

// Resolver finds the accounts of a configuration. All fields are inputs; no method changes them.
type Resolver struct {
	Config  *config.Config
	Members Members // of account files
	Manager *creds.Manager
	Getenv  func(string) string // the environment as the process received it
	Log     *slog.Logger

	Points   int64         // estimated datapoints of the largest target of the last job; 0: unknown
	OpenJob  []string      // accounts of the open job: they are used when the organization cannot be listed
	Patience time.Duration // how long an outage is retried
	Attended bool          // a person is waiting: credentials that need a person are not retried
}

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
// ID. It lists organizations.
func (r *Resolver) Locate(ctx context.Context) ([]Account, error) {
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
	return all, nil
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
