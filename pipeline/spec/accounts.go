package spec

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Entries returns one account each, with defaults applied and role names made
// ARNs; without accounts, the caller's own identity.
func (s *Spec) Entries() []Account {
	accounts := s.Accounts
	if len(accounts) == 0 {
		accounts = []Account{{}}
	}
	entries := make([]Account, 0, len(accounts))
	for _, a := range accounts {
		entries = append(entries, a.withDefaults(&s.Defaults))
	}
	return entries
}

func (a Account) withDefaults(d *Account) Account {
	if a.RoleARN == "" && a.RoleName == "" {
		a.RoleName = d.RoleName
		if a.Profile == "" && a.ID == "" {
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
	if a.RoleARN == "" && a.RoleName != "" && a.ID != "" {
		a.RoleARN = "arn:aws:iam::" + a.ID + ":role/" + a.RoleName
	}
	if m := roleForm.FindStringSubmatch(a.RoleARN); m != nil && a.ID == "" {
		a.ID = m[2]
	}
	return a
}

func (s *Spec) checkAccounts() (errs error) {
	seen := map[string]int{}
	for i, a := range s.Entries() {
		path := fmt.Sprintf("$.accounts[%d]", i)
		errs = errors.Join(errs, s.checkAccount(&a, path))
		for _, region := range a.Regions {
			key := fmt.Sprintf("%s/%s", a.ID, region)
			if a.ID == "" {
				key = fmt.Sprintf("profile %s/%s", a.Profile, region)
			}
			if first, twice := seen[key]; twice {
				errs = errors.Join(errs, s.bad(path, "accounts %d and %d are the same account and region (%s): each row would come twice; remove one",
					first+1, i+1, key))
			} else {
				seen[key] = i
			}
		}
	}
	return errs
}

func (s *Spec) checkAccount(a *Account, path string) (errs error) {
	add := func(field, format string, args ...any) {
		errs = errors.Join(errs, s.bad(path+field, format, args...))
	}
	role := roleForm.FindStringSubmatch(a.RoleARN)
	if a.ID != "" && !accountForm.MatchString(a.ID) {
		add(".id", "account id %q must be 12 digits, in quotes", a.ID)
	}
	switch {
	case a.RoleARN != "" && role == nil:
		add(".role_arn", "role_arn %q is malformed: such as arn:aws:iam::111122223333:role/metrics-reader", a.RoleARN)
	case role != nil && a.ID != role[2]:
		add(".role_arn", "role_arn %s is not of account %s: correct one of them", a.RoleARN, a.ID)
	case a.RoleName != "" && !roleNameForm.MatchString(a.RoleName):
		add(".role_name", "role_name %q is malformed", a.RoleName)
	}
	if n := len(a.ExternalID); n > 0 && (n < 2 || n > 1224 || !externalIDForm.MatchString(a.ExternalID)) {
		add(".external_id", "external_id must be 2 to 1224 letters, digits or any of _+=,.@:/\\-")
	}
	if a.SessionDuration < 15*time.Minute || a.SessionDuration > 12*time.Hour {
		add(".session_duration", "session_duration %s is out of range: 15m to 12h", a.SessionDuration)
	}
	for i, region := range a.Regions {
		at := fmt.Sprintf(".regions[%d]", i)
		switch {
		case region == "enabled" || slices.Contains([]byte(region), '*'):
			add(at, "not supported yet: regions %q; list them, such as [us-east-1, eu-west-1]", region)
		case !regionForm.MatchString(region):
			add(at, "region %q is malformed: such as us-east-1", region)
		}
	}
	return errs
}
