package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"cwharvest/creds/partition"
	"cwharvest/store/record"
)

// checkMember checks an account from a file of accounts. Its errors begin with
// the line of that file.
func (c *Config) checkMember(m Account) []error {
	if m.position == "" {
		return nil
	}
	inFile := *c
	inFile.position = func(string) string { return m.position }
	return slices.Concat(inFile.checkRole(&m, &m, ""), inFile.checkAccount(&m, &m, ""), inFile.checkViaAndFallbacks(&m, &m, ""))
}

// checkAccounts checks every account with its defaults. It reports a mistake in
// the defaults once, although many accounts inherit it.
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
			sample := Account{ID: "000000000000"} // a member, to check the values that members inherit
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

// checkGroup checks the keys that only a group has.
func (c *Config) checkGroup(own *Account, path string) error {
	switch o := own.Organization; {
	case o != nil && own.File != "":
		return c.errorAt(path, "an entry has both organization and file").withHint("write two entries")
	case own.ID != "" || own.RoleARN != "":
		return c.errorAt(path, "id and role_arn name one account, but the entry has many").withHint("use role_name")
	case o != nil && slices.ContainsFunc(o.Exclude, func(id string) bool { return !accountForm.MatchString(id) }):
		return c.errorAt(path+".organization.exclude", "exclude contains an invalid account id").withHint("write 12 digits, in quotes")
	case o != nil && slices.ContainsFunc(o.OUs, func(id string) bool { return !parentForm.MatchString(id) }):
		return c.errorAt(path+".organization.ous", "ous contains an invalid id").
			withHint("write ids of organizational units or roots, such as ou-ab12-cdefgh34 or r-ab12")
	}
	return nil
}

// checkDuplicates reports accounts that share a region, because their rows would
// be exported twice. It cannot see that two profiles lead to the same account.
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
				errs = append(errs, c.errorAt(path+".regions", "region %s is listed twice", region).withHint("remove one"))
			default:
				errs = append(errs, c.errorAt(path, "accounts %d and %d have the same account and region (%s), so each row would be exported twice",
					n+1, i+1, key).withHint("remove one"))
			}
		}
	}
	return errs
}

// checkRole checks the account id and the role. own is the account as configured,
// a is the account with defaults.
func (c *Config) checkRole(own, a *Account, path string) (errs []error) {
	add := func(inherited bool, field, hint, format string, args ...any) {
		errs = append(errs, c.errorAt(settingPath(path, inherited)+field, format, args...).withHint("%s", hint))
	}
	role := roleForm.FindStringSubmatch(a.RoleARN)
	name := a.RoleName != "" && !roleNameForm.MatchString(a.RoleName)
	if a.ID != "" && !accountForm.MatchString(a.ID) {
		add(false, ".id", "write 12 digits, in quotes", "account id %q is not valid", a.ID)
		return errs
	}
	switch {
	case name:
		add(own.RoleName == "", ".role_name", "write the part of the ARN after role/", "role_name %q is malformed", a.RoleName)
	case a.RoleARN == "" && (own.RoleName != "" || a.RoleName != "" && a.Profile == ""):
		add(own.RoleName == "", ".role_name", "add id, or write role_arn", "role_name %q needs the account's id", a.RoleName)
	case a.RoleARN != "" && role == nil:
		add(own.RoleARN == "", ".role_arn", roleHint, "role_arn %q is malformed", a.RoleARN)
	case role != nil && a.ID != role[2]:
		add(own.RoleARN == "", ".role_arn", "correct one of them", "role_arn %s is not in account %s", a.RoleARN, a.ID)
	}
	return errs
}

func (c *Config) checkAccount(own, a *Account, path string) (errs []error) {
	add := func(inherited bool, field, hint, format string, args ...any) {
		errs = append(errs, c.errorAt(settingPath(path, inherited)+field, format, args...).withHint("%s", hint))
	}
	if isBadExternalID(a.ExternalID) {
		add(own.ExternalID == "", ".external_id", externalIDHint, "external_id is not valid")
	}
	hasRole := func(f Fallback) bool { return f.RoleARN != "" || f.RoleName != "" }
	owned, texts := own.texts(), a.texts()
	for _, key := range slices.Sorted(maps.Keys(accountForms)) {
		if f, text := accountForms[key], *texts[key]; text != "" && !f.matches(text) {
			add(*owned[key] == "", "."+key, f.hint, "%s %q is not valid", key, text)
		}
	}
	if own.RoleSessionName != "" && a.RoleARN == "" && !slices.ContainsFunc(a.Fallbacks, hasRole) {
		add(false, ".role_session_name", "add role_arn or role_name, or set it in the profile", "role_session_name is set, but the account has no role")
	}
	if d := a.SessionDuration; d != Auto && (d < 15*time.Minute || d > 12*time.Hour) {
		add(own.SessionDuration == 0, ".session_duration", "write 15m to 12h, or auto", "session_duration %s is out of range", formatDuration(d))
	}
	for i, region := range a.Regions {
		at := fmt.Sprintf(".regions[%d]", i)
		switch zone := regionForm.FindString(strings.TrimRight(region, "abcdefghijklmnopqrstuvwxyz")); {
		case region == record.AllRegions || patternForm.MatchString(region):
		case !regionForm.MatchString(region) && zone != "":
			add(len(own.Regions) == 0, at, "write "+zone, "%q is an availability zone, not a region", region)
		case !regionForm.MatchString(region):
			add(len(own.Regions) == 0, at, "write a name such as us-east-1, a pattern such as us-*, or enabled", "region %q is malformed", region)
		case a.Partition() != partition.Of(region) && own.RoleARN != "":
			add(false, at, "correct one of them", "region %s is in partition %s, and role_arn in %s", region, partition.Of(region), a.Partition())
		case a.Partition() != partition.Of(region):
			add(len(own.Regions) == 0, at, "give it an account entry of its own", "region %s is not in partition %s like the others", region, a.Partition())
		}
	}
	return errs
}

const (
	roleHint       = "write an ARN such as arn:aws:iam::111122223333:role/metrics-reader"
	externalIDHint = "write 2 to 1224 letters, digits or any of _+=,.@:/\\-"
)

// CheckSessionName returns an error for the name of a session that STS would refuse.
func CheckSessionName(name string) error {
	if sessionNames.matches(name) {
		return nil
	}
	return invalid("%q is not the name of a session", name).withHint("%s", sessionNames.hint)
}

func isBadExternalID(id string) bool {
	return id != "" && (len(id) < 2 || len(id) > 1224 || !externalIDForm.MatchString(id))
}

// checkViaAndFallbacks checks the intermediate role and the fallbacks.
func (c *Config) checkViaAndFallbacks(own, a *Account, path string) (errs []error) {
	add := func(inherited bool, field, hint, format string, args ...any) {
		errs = append(errs, c.errorAt(settingPath(path, inherited)+field, format, args...).withHint("%s", hint))
	}
	if a.Via != (Via{}) {
		inherited := own.Via == (Via{})
		switch {
		case roleForm.FindStringSubmatch(a.Via.RoleARN) == nil:
			add(inherited, ".via", "add the ARN of the role to assume first, such as arn:aws:iam::111122223333:role/hub", "via needs a role_arn")
		case isBadExternalID(a.Via.ExternalID):
			add(inherited, ".via", externalIDHint, "external_id of via is not valid")
		case a.RoleARN == "":
			add(inherited, ".via", "add role_arn or role_name", "via is set, but the account has no role")
		}
	}
	for i, f := range a.Fallbacks {
		at := fmt.Sprintf(".fallbacks[%d]", i)
		inherited := own.Fallbacks == nil
		role := roleForm.FindStringSubmatch(f.RoleARN)
		switch {
		case f.Profile != "" && f.InstanceRole:
			add(inherited, at, "write one of them", "a fallback has both profile and instance_role")
		case f.Profile == "" && !f.InstanceRole && f.RoleARN == "" && f.RoleName == "":
			add(inherited, at, "add role_arn, role_name, profile or instance_role: true", "a fallback is empty")
		case f.RoleARN == "" && f.RoleName != "":
			add(inherited, at, "add id, or write role_arn", "role_name %q needs the account's id", f.RoleName)
		case f.RoleARN != "" && role == nil:
			add(inherited, at, roleHint, "role_arn %q is malformed", f.RoleARN)
		case role != nil && a.ID != "" && role[2] != a.ID:
			add(inherited, at, "name a role of that account", "fallback %s is not in account %s", f.RoleARN, a.ID)
		case isBadExternalID(f.ExternalID):
			add(inherited, at, externalIDHint, "external_id of a fallback is not valid")
		}
	}
	return errs
}

// settingPath returns the path of an account, or of the defaults if the value is
// inherited.
func settingPath(path string, inherited bool) string {
	if inherited {
		return "$.defaults"
	}
	return path
}
