package config

import (
	"errors"
	"slices"
	"strings"
	"time"

	"cwharvest/store/record"
)

// Entries returns one account each, with defaults applied and role names made
// ARNs; without accounts, the caller's own identity. Entries that stand for many
// accounts are not among them: Expand has those.
func (c *Config) Entries() []Account {
	var entries []Account
	for _, a := range c.accountsOrCaller() {
		if !a.isGroup() {
			entries = append(entries, a.withDefaults(&c.Defaults))
		}
	}
	return entries
}

// given are the accounts as they are written; without any, the caller's own.
func (c *Config) accountsOrCaller() []Account {
	if len(c.Accounts) == 0 {
		return []Account{{}}
	}
	return c.Accounts
}

func (a *Account) isGroup() bool { return a.Organization != nil || a.File != "" }

// Expand returns Entries and the members of those that stand for many accounts,
// by their place in Accounts. A member inherits from its entry; an account that
// is named by itself, or by an earlier entry, is what it is there.
func (c *Config) Expand(members map[int][]Account) ([]Account, error) {
	all := c.Entries()
	named := map[string]bool{}
	for _, a := range all {
		named[a.ID] = a.ID != ""
	}
	var errs []error
	for i := range c.Accounts {
		inherited := c.Accounts[i]
		inherited.Organization, inherited.File = nil, ""
		inherited = inherited.withDefaults(&c.Defaults)
		for _, m := range members[i] {
			m = m.withDefaults(&inherited)
			if named[m.ID] {
				continue
			}
			named[m.ID] = m.ID != ""
			errs = append(errs, c.checkMember(m)...)
			all = append(all, m)
		}
	}
	return all, errors.Join(errs...)
}

// Targets returns the account's regions as targets; those that are patterns
// together are one.
func (a *Account) Targets() []record.Target {
	var targets []record.Target
	var patterns []string
	for _, region := range a.Regions {
		if t := (record.Target{Account: a.ID, Region: region}); t.IsPattern() {
			patterns = append(patterns, region)
		} else {
			targets = append(targets, t)
		}
	}
	if slices.Contains(patterns, record.AllRegions) {
		patterns = []string{record.AllRegions}
	}
	if len(patterns) > 0 {
		targets = append(targets, record.Target{Account: a.ID, Region: strings.Join(patterns, ",")})
	}
	return targets
}

// Tolerated reports whether a target may be denied at a time.
func (c *Config) Tolerated(t record.Target, now time.Time) bool {
	return slices.ContainsFunc(c.Tolerate, func(o Toleration) bool {
		return o.Account == t.Account && (o.Region == "" || o.Region == t.Region) && now.Before(o.Until)
	})
}

// withDefaults fills what an account leaves open. A profile is an identity of
// its own: a default role is for accounts that are named by their id.
func (a Account) withDefaults(d *Account) Account {
	if a.RoleARN == "" && a.RoleName == "" {
		a.RoleName = d.RoleName
		if a.Profile == "" {
			a.RoleARN = d.RoleARN
		}
	}
	if a.Profile == "" {
		a.Profile = d.Profile
	}
	if a.ExternalID == "" {
		a.ExternalID = d.ExternalID
	}
	if a.SessionDuration == 0 {
		a.SessionDuration = d.SessionDuration
	}
	if len(a.Regions) == 0 {
		a.Regions = d.Regions
	}
	if a.Via == (Via{}) {
		a.Via = d.Via
	}
	if a.Fallbacks == nil {
		a.Fallbacks = d.Fallbacks
	}
	if a.RoleARN == "" && a.RoleName != "" && a.ID != "" {
		a.RoleARN = "arn:" + partition(a.Regions) + ":iam::" + a.ID + ":role/" + a.RoleName
	}
	if m := roleForm.FindStringSubmatch(a.RoleARN); m != nil && a.ID == "" {
		a.ID = m[2]
	}
	a.Fallbacks = slices.Clone(a.Fallbacks) // the default's are everybody's
	for i := range a.Fallbacks {
		if f := &a.Fallbacks[i]; f.RoleARN == "" && f.RoleName != "" && a.ID != "" {
			f.RoleARN = "arn:" + partition(a.Regions) + ":iam::" + a.ID + ":role/" + f.RoleName
		}
	}
	return a
}

// partition is the one that regions belong to; credentials of one are worth
// nothing in another.
func partition(regions []string) string {
	for _, region := range regions {
		switch {
		case strings.HasPrefix(region, "cn-"):
			return "aws-cn"
		case strings.HasPrefix(region, "us-gov-"):
			return "aws-us-gov"
		}
	}
	return "aws"
}
