package accounts

import (
	"fmt"
	"slices"

	"cwharvest/pipeline/config"
	"cwharvest/store/record"
)

// Changes describes the targets that the configuration has and a job has not, and the reverse, as far as they are known without a
// call. The members of an organization, the account of a profile and the regions that a pattern matches are not known: of those it
// reports a new region or account of which the job has nothing, and a target that no entry can stand for any more.
func (r *Resolver) Changes(job []record.Target) []string {
	entries, err := r.standing()
	if err != nil {
		return nil // the next job reports it
	}
	var added, removed []string
	for _, e := range entries {
		for _, t := range e.Targets() {
			elsewhere := !r.Config.Shard.Holds(t) || t.Account == "" && r.Config.Shard != (record.Shard{}) // perhaps in another shard
			if elsewhere || slices.ContainsFunc(job, func(o record.Target) bool { return e.is(o.Account) && mayBe(t, o) }) {
				continue
			}
			name := "target " + t.String()
			if t.Account == "" {
				name = "region " + t.Region
			}
			added = append(added, name)
		}
	}
	for _, t := range job {
		if !slices.ContainsFunc(entries, func(e entry) bool { return e.is(t.Account) && e.holds(t) }) {
			removed = append(removed, "target "+t.String())
		}
	}
	return append(listed(added, "new"), listed(removed, "removed")...)
}

// entry is one account of the configuration, or an entry without an id, which stands for accounts that are not known.
type entry struct {
	config.Account
	except []string // accounts that it cannot stand for
}

// standing returns the accounts with those of files, and one entry for each organization.
func (r *Resolver) standing() (all []entry, err error) {
	single, err := r.Config.Expand(r.Members)
	if err != nil {
		return nil, err
	}
	var named []string
	for _, a := range single {
		all = append(all, entry{Account: a})
		named = append(named, a.ID)
	}
	for i := range r.Config.Accounts {
		organization := r.Config.Accounts[i].Organization
		if organization == nil {
			continue
		}
		with, err := r.Config.Expand(Members{i: {{ID: "*"}}})
		if err != nil {
			return nil, err
		}
		member := with[len(with)-1]
		member.ID = ""
		all = append(all, entry{member, append(slices.Clone(organization.Exclude), named...)})
	}
	return all, nil
}

// is reports whether the entry may stand for an account.
func (e *entry) is(account string) bool {
	return e.ID == account || e.ID == "" && !slices.Contains(e.except, account)
}

// holds reports whether the entry may have the region of a target. Without regions it has the default region, which is unknown.
func (e *entry) holds(t record.Target) bool {
	return len(e.Regions) == 0 || slices.ContainsFunc(e.Targets(), func(o record.Target) bool {
		return o.Covers(t.Region) || o.IsPattern() && t.IsPattern()
	})
}

// mayBe reports whether a target of the configuration may have led to a target of a job. A pattern may lead to any region.
func mayBe(t, job record.Target) bool { return t.IsPattern() || job.Covers(t.Region) }

// listed describes a change of names, the first three of them by name.
func listed(names []string, change string) (all []string) {
	const most = 3
	slices.Sort(names)
	names = slices.Compact(names)
	for i, name := range names {
		if i == most {
			return append(all, fmt.Sprintf("%d more are %s", len(names)-most, change))
		}
		all = append(all, name+" is "+change)
	}
	return all
}
