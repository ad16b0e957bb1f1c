package config

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// accountColumns are those of a file of accounts, as in harvest.yaml.
var accountColumns = []string{"id", "profile", "role_arn", "role_name", "external_id", "session_duration", "regions"}

// ReadAccounts reads a file of accounts: CSV with a header of columns named as
// the keys of harvest.yaml, of which only id is needed; regions are separated by
// blanks. A file of nothing but ids needs no header. Lines that begin with # are
// passed over.
func ReadAccounts(name string, r io.Reader) ([]Account, error) {
	bounded := &io.LimitedReader{R: r, N: maxAccountsSize}
	cells := csv.NewReader(bounded)
	cells.Comment, cells.TrimLeadingSpace = '#', true
	var header []string
	var accounts []Account
	first := map[string]string{}
	for {
		record, err := cells.Read()
		if bounded.N == 0 {
			return nil, &Error{fmt.Sprintf("%s is longer than %d MiB: it is no list of accounts", name, maxAccountsSize>>20)}
		}
		if errors.Is(err, io.EOF) {
			return accounts, nil
		}
		if err != nil {
			return nil, &Error{fmt.Sprintf("%s: %v", name, err)}
		}
		line, _ := cells.FieldPos(0)
		place := fmt.Sprintf("%s:%d", name, line)
		if header == nil {
			var given bool
			if header, given, err = accountHeader(record); err != nil {
				return nil, &Error{place + ": " + err.Error()}
			}
			if given {
				continue
			}
		}
		a, err := memberOf(header, record)
		switch {
		case err != nil:
			return nil, &Error{place + ": " + err.Error()}
		case first[a.ID] != "":
			return nil, &Error{fmt.Sprintf("%s: account %s is named twice: at %s too", place, a.ID, first[a.ID])}
		}
		first[a.ID], a.position = place, place
		accounts = append(accounts, a)
	}
}

// accountHeader returns the columns, and whether the record gave them.
func accountHeader(record []string) (header []string, given bool, err error) {
	if len(record) == 1 && accountForm.MatchString(strings.TrimSpace(record[0])) {
		return []string{"id"}, false, nil
	}
	hasID := false
	for _, name := range record {
		name = strings.TrimSpace(strings.TrimPrefix(name, "\ufeff"))
		if !slices.Contains(accountColumns, name) {
			return nil, false, fmt.Errorf("unknown column %q%s: %s", name, didYouMean(name, accountColumns), strings.Join(accountColumns, ", "))
		}
		hasID = hasID || name == "id"
		header = append(header, name)
	}
	if !hasID {
		return nil, false, errors.New("column id is missing")
	}
	return header, true, nil
}

func memberOf(header, record []string) (a Account, err error) {
	fields := map[string]*string{"id": &a.ID, "profile": &a.Profile, "role_arn": &a.RoleARN, "role_name": &a.RoleName, "external_id": &a.ExternalID}
	for i, name := range header {
		value := strings.TrimSpace(record[i])
		switch {
		case fields[name] != nil:
			*fields[name] = value
		case value == "":
		case name == "session_duration":
			if a.SessionDuration, err = ParseSessionDuration(value); err != nil {
				return a, err
			}
		case name == "regions":
			a.Regions = strings.Fields(value)
		}
	}
	if !accountForm.MatchString(a.ID) {
		return a, fmt.Errorf("account id %q must be 12 digits (spreadsheets drop leading zeros)", a.ID)
	}
	return a, nil
}
