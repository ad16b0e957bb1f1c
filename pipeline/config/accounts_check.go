package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"cwharvest/store/record"
)

// checkMember checks an account of a file, where its place is what people know.
func (c *Config) checkMember(m Account) []error {
	if m.position == "" {
		return nil
	}
	there := *c
	there.position = func(string) string { return m.position }
	return slices.Concat(there.checkRole(&m, &m, ""), there.checkAccount(&m, &m, ""), there.checkViaAndFallbacks(&m, &m, ""))
}

// checkAccounts says the same thing once, though many accounts inherit it.
func (c *Config) checkAccounts() error {
	var all []error
	for i, own := range c.accountsOrCaller() {
		path := fmt.Sprintf("$.accounts[%d]", i)
		a := own.withDefaults(&c.Defaults)
		if own.isGroup() {
			if err := c.checkGroup(&own, path); err != nil {
				all = append(all, err)
				continue
			}
			sample := Account{ID: "000000000000"} // what its members inherit is checked once
			own.Profile = cmp.Or(own.Profile, c.Defaults.Profile)
			a = own.withDefaults(&c.Defaults)
			a = sample.withDefaults(&a)
		}
		for _, err := range slices.Concat(c.checkRole(&own, &a, path), c.checkAccount(&own, &a, path), c.checkViaAndFallbacks(&own, &a, path)) {
			if !slices.ContainsFunc(all, func(e error) bool { return e.Error() == err.Error() }) {
				all = append(all, err)
			}
		}
	}
	return errors.Join(append(all, c.checkDuplicates()...)...)
}

// checkMany checks an entry that stands for many accounts.
func (c *Config) checkGroup(own *Account, path string) error {
	switch o := own.Organization; {
	case o != nil && own.File != "":
		return c.errorAt(path, "organization and file are two entries: write one below the other")
	case own.ID != "" || own.RoleARN != "":
		return c.errorAt(path, "id and role_arn are of one account, and this entry stands for many: use role_name")
	case o != nil && slices.ContainsFunc(o.Exclude, func(id string) bool { return !accountForm.MatchString(id) }):
		return c.errorAt(path+".organization.exclude", "exclude takes account ids of 12 digits, in quotes")
	case o != nil && slices.ContainsFunc(o.OUs, func(id string) bool { return !parentForm.MatchString(id) }):
		return c.errorAt(path+".organization.ous", "ous takes ids of organizational units or roots, such as ou-ab12-cdefgh34 or r-ab12")
	}
	return nil
}

// checkTwice refuses what would harvest a target twice. Entries without regions
// share the default one; which account a profile leads to only STS knows.
func (c *Config) checkDuplicates() (errs []error) {
	first := map[string]int{}
	for i, own := range c.accountsOrCaller() {
		if own.isGroup() {
			continue
		}
		a := own.withDefaults(&c.Defaults)
		path, account, regions := fmt.Sprintf("$.accounts[%d]", i), a.ID, a.Regions
		if account == "" {
			account = "profile " + a.Profile
		}
		if len(regions) == 0 {
			regions = []string{"the default region"}
		}
		for _, region := range regions {
			key := account + "/" + region
			switch n, seen := first[key]; {
			case !seen:
				first[key] = i
			case n == i:
				errs = append(errs, c.errorAt(path+".regions", "region %s is named twice", region))
			default:
				errs = append(errs, c.errorAt(path, "accounts %d and %d are the same account and region (%s): each row would come twice; remove one",
					n+1, i+1, key))
			}
		}
	}
	return errs
}

// checkRole checks who the account is and the role that leads there.
func (c *Config) checkRole(own, a *Account, path string) (errs []error) {
	add := func(inherited bool, field, format string, args ...any) {
		errs = append(errs, c.errorAt(settingPath(path, inherited)+field, format, args...))
	}
	role := roleForm.FindStringSubmatch(a.RoleARN)
	name := a.RoleName != "" && !roleNameForm.MatchString(a.RoleName)
	if a.ID != "" && !accountForm.MatchString(a.ID) {
		add(false, ".id", "account id %q must be 12 digits, in quotes", a.ID)
		return errs
	}
	switch {
	case name:
		add(own.RoleName == "", ".role_name", "role_name %q is malformed: the part of the ARN behind role/", a.RoleName)
	case a.RoleARN == "" && (own.RoleName != "" || a.RoleName != "" && a.Profile == ""):
		add(own.RoleName == "", ".role_name", "role_name %q needs the account's id: add id, or write role_arn", a.RoleName)
	case a.RoleARN != "" && role == nil:
		add(own.RoleARN == "", ".role_arn", "role_arn %q is malformed: such as arn:aws:iam::111122223333:role/metrics-reader", a.RoleARN)
	case role != nil && a.ID != role[2]:
		add(own.RoleARN == "", ".role_arn", "role_arn %s is not of account %s: correct one of them", a.RoleARN, a.ID)
	}
	return errs
}

func (c *Config) checkAccount(own, a *Account, path string) (errs []error) {
	add := func(inherited bool, field, format string, args ...any) {
		errs = append(errs, c.errorAt(settingPath(path, inherited)+field, format, args...))
	}
	if isBadExternalID(a.ExternalID) {
		add(own.ExternalID == "", ".external_id", "%s", externalIDRule)
	}
	if a.SessionDuration == Auto {
		// follows from the job
	} else if a.SessionDuration < 15*time.Minute || a.SessionDuration > 12*time.Hour {
		add(own.SessionDuration == 0, ".session_duration", "session_duration %s is out of range: 15m to 12h", formatDuration(a.SessionDuration))
	}
	for i, region := range a.Regions {
		at := fmt.Sprintf(".regions[%d]", i)
		switch {
		case region == record.AllRegions || patternForm.MatchString(region):
		case !regionForm.MatchString(region):
			add(len(own.Regions) == 0, at, "region %q is malformed: such as us-east-1, us-* or enabled", region)
		case partition(a.Regions) != partition([]string{region}):
			add(len(own.Regions) == 0, at, "region %s is not in partition %s as the others are: give it an account entry of its own", region, partition(a.Regions))
		}
	}
	return errs
}

const externalIDRule = "external_id must be 2 to 1224 letters, digits or any of _+=,.@:/\\-"

func isBadExternalID(id string) bool {
	return id != "" && (len(id) < 2 || len(id) > 1224 || !externalIDForm.MatchString(id))
}

// checkWays checks the role on the way and the fallbacks.
func (c *Config) checkViaAndFallbacks(own, a *Account, path string) (errs []error) {
	add := func(inherited bool, field, format string, args ...any) {
		errs = append(errs, c.errorAt(settingPath(path, inherited)+field, format, args...))
	}
	if a.Via != (Via{}) {
		inherited := own.Via == (Via{})
		switch {
		case roleForm.FindStringSubmatch(a.Via.RoleARN) == nil:
			add(inherited, ".via", "via needs the role_arn of the role to assume first, such as arn:aws:iam::111122223333:role/hub")
		case isBadExternalID(a.Via.ExternalID):
			add(inherited, ".via", "%s", externalIDRule)
		case a.RoleARN == "":
			add(inherited, ".via", "via leads to a role: add role_arn or role_name")
		}
	}
	for i, f := range a.Fallbacks {
		at := fmt.Sprintf(".fallbacks[%d]", i)
		inherited := own.Fallbacks == nil
		role := roleForm.FindStringSubmatch(f.RoleARN)
		switch {
		case f.Profile != "" && f.InstanceRole:
			add(inherited, at, "a fallback is a profile or the instance's role, not both")
		case f.Profile == "" && !f.InstanceRole && f.RoleARN == "" && f.RoleName == "":
			add(inherited, at, "a fallback needs role_arn, role_name, profile or instance_role: true")
		case f.RoleARN == "" && f.RoleName != "":
			add(inherited, at, "role_name %q needs the account's id: add id, or write role_arn", f.RoleName)
		case f.RoleARN != "" && role == nil:
			add(inherited, at, "role_arn %q is malformed: such as arn:aws:iam::111122223333:role/metrics-reader", f.RoleARN)
		case role != nil && a.ID != "" && role[2] != a.ID:
			add(inherited, at, "fallback %s is not of account %s: it would harvest another account's metrics", f.RoleARN, a.ID)
		case isBadExternalID(f.ExternalID):
			add(inherited, at, "%s", externalIDRule)
		}
	}
	return errs
}

// inherit is the path of an account, or of the defaults that it inherits from.
func settingPath(path string, inherited bool) string {
	if inherited {
		return "$.defaults"
	}
	return path
}
