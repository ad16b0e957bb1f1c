package accounts

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cwharvest/store/record"
)

// Selection limits a command to some accounts or targets, each written ACCOUNT or ACCOUNT/REGION. The zero value
// selects everything.
type Selection []string

var selectionForm = regexp.MustCompile(`^\d{12}(/[a-z0-9-]+)?$`)

// Check reports the first element that is malformed.
func (s Selection) Check() error {
	for _, text := range s {
		if !selectionForm.MatchString(text) {
			return &InputError{fmt.Errorf("%q is not an account or a target", text), "write ACCOUNT or ACCOUNT/REGION, such as 111122223333/us-east-1"}
		}
	}
	return nil
}

// Selects reports whether a target is selected. A pattern is selected if it may cover a selected target.
func (s Selection) Selects(t record.Target) bool {
	return len(s) == 0 || slices.ContainsFunc(s, func(text string) bool {
		account, region := splitTarget(text)
		return account == t.Account && (region == "" || t.Covers(region))
	})
}

// SelectsAccount reports whether any target of an account may be selected.
func (s Selection) SelectsAccount(id string) bool {
	return len(s) == 0 || slices.Contains(s.Accounts(), id)
}

// Accounts returns the accounts that are named, each once.
func (s Selection) Accounts() []string {
	var ids []string
	for _, text := range s {
		if account, _ := splitTarget(text); !slices.Contains(ids, account) {
			ids = append(ids, account)
		}
	}
	return ids
}

func (s Selection) String() string { return strings.Join(s, ",") }

func splitTarget(text string) (account, region string) {
	account, region, _ = strings.Cut(text, "/")
	return account, region
}
