// Package accounts turns the entries of a configuration into accounts that can be called: their ids, their
// credentials, the targets (account and region) to harvest, and the client configuration of each target.
//
// A Resolver does it once, in this order, and returns a Set that never changes:
//
//	files         accounts from CSV files                       ReadFiles    no call
//	organization  active accounts of an organization or units   Organizations
//	locate        credential sources, regions, targets          no call, except for files of the SDK
//	regions       those that this version does not know         EC2, once for a partition
//	identify      id of an account that its entry does not name STS
//	shard         targets of this shard, and those of others    no call
//
// Callers may rely on this:
//
//   - A mistake in the input is an *InputError or a *config.Error, found before anything is created.
//   - Outages are retried within Patience, because a run must not fail only because STS was unavailable when it started.
//     A refusal is returned at once. A person at the terminal does not wait for credentials that a person must renew.
//   - Each target belongs to exactly one shard. A pattern of regions belongs to every shard, and the pipeline divides the
//     regions that it matches.
//   - An account that its entry does not name, and whose credentials do not work, has unidentified targets if any other
//     account is known. Set.Identify asks again.
//   - With an open job the organization may be unreachable: the job continues with the accounts that it has.
//   - Secrets and external ids appear in no log line and in no error.
package accounts

import (
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

	// unidentified are the targets under the name that they have while the id is not known; nil if the entry names the id.
	unidentified []record.Target
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
