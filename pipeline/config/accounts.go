package config

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"cwharvest/creds/partition"
	"cwharvest/store/record"
)

// Entries returns the single accounts of the configuration, with defaults applied
// and role names expanded to ARNs. Without any accounts, it returns one entry for
// the caller's own account. Expand adds the members of groups.
func (c *Config) Entries() []Account {
	var entries []Account
	for _, a := range c.accountsOrCaller() {
		if !a.isGroup() {
			entries = append(entries, a.withDefaults(&c.Defaults))
		}
	}
	return entries
}

// accountsOrCaller returns the accounts as configured, or one empty entry for the
// caller's own account.
func (c *Config) accountsOrCaller() []Account {
	if len(c.Accounts) == 0 {
		return []Account{{}}
	}
	return c.Accounts
}

// isGroup reports whether many accounts inherit the entry.
func (a *Account) isGroup() bool { return a.Organization != nil || a.File != "" }

// Expand returns Entries and the members of groups. The key of members is the
// index of the group in Accounts. A member inherits from its group. An account
// that has an entry of its own, or is in an earlier group, is not added again.
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

// Targets returns the account's regions as targets. All patterns together are one
// target.
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

// Tolerated reports whether a target may be denied at a given time without making
// the job incomplete.
func (c *Config) Tolerated(t record.Target, now time.Time) bool {
	return slices.ContainsFunc(c.Tolerate, func(o Toleration) bool {
		return o.Account == t.Account && (o.Region == "" || o.Region == t.Region) && now.Before(o.Until)
	})
}

// withDefaults returns the account with empty fields filled from d. An account
// with a profile does not inherit a role ARN, because the profile is a principal
// of its own.
func (a Account) withDefaults(d *Account) Account {
	if a.RoleARN == "" && a.RoleName == "" {
		a.RoleName = d.RoleName
		if a.Profile == "" {
			a.RoleARN = d.RoleARN
		}
	}
	own, inherited := a.texts(), d.texts()
	for _, key := range []string{"id", "file", "role_arn", "role_name"} {
		delete(inherited, key)
	}
	for key, text := range inherited {
		*own[key] = cmp.Or(*own[key], *text)
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
		a.RoleARN = roleNamed(a.RoleName, a.ID, a.Regions)
	}
	if m := roleForm.FindStringSubmatch(a.RoleARN); m != nil && a.ID == "" {
		a.ID = m[2]
	}
	a.Fallbacks = slices.Clone(a.Fallbacks) // accounts share the slice of the defaults
	for i := range a.Fallbacks {
		if f := &a.Fallbacks[i]; f.RoleARN == "" && f.RoleName != "" && a.ID != "" {
			f.RoleARN = roleNamed(f.RoleName, a.ID, a.Regions)
		}
	}
	return a
}

// InPartition returns the account as in a partition, if its regions leave the partition
// open and its roles have names: "enabled" alone does not say where the role is.
func (a Account) InPartition(id string) Account {
	if partitionOf(a.Regions) != "" {
		return a
	}
	move := func(arn, name string) string {
		if name != "" && arn == roleNamed(name, a.ID, nil) {
			return strings.Replace(arn, "arn:aws:", "arn:"+id+":", 1)
		}
		return arn
	}
	a.RoleARN = move(a.RoleARN, a.RoleName)
	a.Fallbacks = slices.Clone(a.Fallbacks)
	for i := range a.Fallbacks {
		a.Fallbacks[i].RoleARN = move(a.Fallbacks[i].RoleARN, a.Fallbacks[i].RoleName)
	}
	return a
}

// Partition returns the partition of the account's role and regions, or "" if they leave
// it open. Keys are valid in one partition only.
func (a *Account) Partition() string {
	if a.RoleARN != "" && (a.RoleName == "" || a.RoleARN != roleNamed(a.RoleName, a.ID, nil)) {
		return partition.OfARN(a.RoleARN)
	}
	return partitionOf(a.Regions)
}

// roleNamed returns the ARN of a role in the partition of some regions, by default aws.
func roleNamed(name, account string, regions []string) string {
	return "arn:" + cmp.Or(partitionOf(regions), "aws") + ":iam::" + account + ":role/" + name
}

// partitionOf returns the partition of the first region or pattern that has one, or "".
func partitionOf(regions []string) (id string) {
	for _, region := range regions {
		if region != record.AllRegions {
			id = cmp.Or(id, partition.Of(region))
		}
	}
	return id
}
