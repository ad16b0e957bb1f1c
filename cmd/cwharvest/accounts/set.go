package accounts

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"

	"cwharvest/creds"
	"cwharvest/store/record"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Set holds the resolved accounts of one run. Only Identify adds to it. Its methods are safe for concurrent use.
type Set struct {
	manager   *creds.Manager
	shard     record.Shard
	accounts  []Account       // with the targets of this shard only
	elsewhere []record.Target // of the other shards

	unidentified map[record.Target]*Account // accounts that their entries do not name, also if the id is known now

	mu       sync.RWMutex // guards the fields below
	named    map[record.Target]*Account
	patterns map[string][]*Account // accounts with patterns of regions, by id
}

func newSet(manager *creds.Manager, shard record.Shard, all []Account) *Set {
	s := &Set{
		manager: manager, shard: shard, accounts: all,
		unidentified: map[record.Target]*Account{}, named: map[record.Target]*Account{}, patterns: map[string][]*Account{},
	}
	for i := range s.accounts {
		for _, t := range s.accounts[i].unidentified {
			s.unidentified[t] = &s.accounts[i]
		}
		s.elsewhere = append(s.elsewhere, s.add(&s.accounts[i])...)
	}
	return s
}

// add registers the targets of an account in this shard, and returns those of others.
func (s *Set) add(a *Account) (elsewhere []record.Target) {
	var own []record.Target
	for _, t := range a.Targets {
		if !s.shard.Holds(t) {
			elsewhere = append(elsewhere, t)
			continue
		}
		own, s.named[t] = append(own, t), a
		if t.IsPattern() {
			s.patterns[t.Account] = append(s.patterns[t.Account], a)
		}
	}
	a.Targets = own
	return elsewhere
}

// Targets returns the targets of this shard, sorted and without duplicates.
func (s *Set) Targets() []record.Target {
	var targets []record.Target
	for _, a := range s.accounts {
		targets = append(targets, a.Targets...)
	}
	slices.SortFunc(targets, func(a, b record.Target) int {
		if a.Less(b) {
			return -1
		}
		return 1
	})
	return slices.Compact(targets)
}

// Has reports whether a target, or a pattern that covers it, is configured in this shard.
func (s *Set) Has(t record.Target) bool {
	return s.unidentified[t] != nil || slices.ContainsFunc(s.Targets(), func(o record.Target) bool {
		return o == t || o.Account == t.Account && o.Covers(t.Region)
	})
}

// Principals returns the distinct principals that sign for the accounts, in order of first use.
func (s *Set) Principals() []creds.Source { return Principals(s.accounts) }

// Principals returns the distinct principals that sign for the accounts, in order of first use.
func Principals(all []Account) (principals []creds.Source) {
	seen := map[creds.Source]bool{}
	for _, a := range all {
		for _, s := range a.Sources {
			p := creds.Source{Profile: s.Profile, InstanceRole: s.InstanceRole}
			if !seen[p] {
				seen[p] = true
				p.Home = s.Home // or STS of another partition might be asked about its keys before a role places it
				principals = append(principals, p)
			}
		}
	}
	return principals
}

// Connect returns the configuration of a target's clients. A target that no entry names belongs to an entry whose
// pattern covers it.
func (s *Set) Connect(ctx context.Context, t record.Target) (aws.Config, error) {
	a := s.account(t)
	switch {
	case a == nil:
		return aws.Config{}, &removedError{t}
	case t.IsPattern():
		return s.manager.Config(ctx, a.Home, a.Sources...)
	}
	return s.manager.Config(ctx, t.Region, a.Sources...)
}

// Identify returns the account id of an unidentified target.
func (s *Set) Identify(ctx context.Context, t record.Target) (string, error) {
	a := s.unidentified[t]
	if a == nil {
		return "", &removedError{t}
	}
	if a.ID != "" {
		return a.ID, nil
	}
	caller, err := s.manager.Identity(ctx, a.Sources[0], a.Home)
	if err != nil {
		return "", err
	}
	known := a.identified(caller.Account)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(&known)
	return caller.Account, nil
}

// account returns the account of a target; nil if it is not configured.
func (s *Set) account(t record.Target) *Account {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if a := s.named[t]; a != nil {
		return a
	}
	for _, p := range s.patterns[t.Account] {
		if slices.ContainsFunc(p.Targets, func(o record.Target) bool { return o.IsPattern() && o.Covers(t.Region) }) {
			return p
		}
	}
	return nil
}

// AccessBy returns a text that differs, with near certainty, if the credentials configured for a target do. It is 16 bits of a
// hash, which is too little to find an external id by guessing.
func (s *Set) AccessBy(t record.Target) string {
	a := s.account(t)
	if a == nil {
		return ""
	}
	hash := sha256.New()
	for _, src := range a.Sources {
		fmt.Fprintf(hash, "%q %v %q %q %q %q\n", src.Profile, src.InstanceRole, src.Via, src.ViaExternalID, src.RoleARN, src.ExternalID)
		if src.SessionName != "" {
			fmt.Fprintf(hash, "%q\n", src.SessionName) // a trust policy may demand it
		}
	}
	return hex.EncodeToString(hash.Sum(nil)[:2])
}

// OnlyElsewhere reports whether a selection names configured targets, all of which belong to other shards.
func (s *Set) OnlyElsewhere(selection Selection) bool {
	found := false
	for _, t := range append(s.Targets(), s.elsewhere...) {
		for _, text := range selection {
			account, region := splitTarget(text)
			if account != t.Account || region != "" && !t.Covers(region) {
				continue
			}
			if s.shard.Holds(record.Target{Account: account, Region: cmp.Or(region, t.Region)}) {
				return false
			}
			found = true
		}
	}
	return found
}
