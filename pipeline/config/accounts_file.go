package config

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxAccountsSize bounds a file of accounts, in bytes.
const maxAccountsSize = 64 << 20

// accountColumns are the columns of a file of accounts, named as in harvest.yaml.
var accountColumns = []string{"id", "profile", "role_arn", "role_name", "external_id", "role_session_name", "session_duration", "regions"}

// ReadAccounts reads a file of accounts in CSV. The columns are named like the
// keys of harvest.yaml, and only id is required. Regions are separated by spaces.
// A file with ids only needs no header. Lines that begin with # are ignored.
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
			return nil, invalid("%s is longer than %d MiB", name, maxAccountsSize>>20).withHint("name a CSV file of accounts")
		}
		if errors.Is(err, io.EOF) {
			return accounts, nil
		}
		if err != nil {
			return nil, invalid("%s: %v", name, err).withHint("correct the line")
		}
		line, _ := cells.FieldPos(0)
		place := fmt.Sprintf("%s:%d", name, line)
		if header == nil {
			var named bool
			if header, named, err = accountHeader(record); err != nil {
				return nil, wrap(place, err)
			}
			if named {
				continue
			}
		}
		a, err := memberOf(header, record)
		switch {
		case err != nil:
			return nil, wrap(place, err)
		case first[a.ID] != "":
			return nil, invalid("%s: account %s is listed twice, first at %s", place, a.ID, first[a.ID]).withHint("remove one")
		}
		first[a.ID], a.position = place, place
		accounts = append(accounts, a)
	}
}

// accountHeader returns the columns. named is false if the record is an account,
// so that the file has no header.
func accountHeader(record []string) (header []string, named bool, err error) {
	if len(record) == 1 && accountForm.MatchString(strings.TrimSpace(record[0])) {
		return []string{"id"}, false, nil
	}
	hasID := false
	for _, name := range record {
		name = strings.TrimSpace(strings.TrimPrefix(name, "\ufeff"))
		if !slices.Contains(accountColumns, name) {
			return nil, false, invalid("unknown column %q%s", name, didYouMean(name, accountColumns)).
				withHint("use %s", strings.Join(accountColumns, ", "))
		}
		hasID = hasID || name == "id"
		header = append(header, name)
	}
	if !hasID {
		return nil, false, invalid("column id is missing").withHint("add it to the header")
	}
	return header, true, nil
}

func memberOf(header, record []string) (a Account, err error) {
	fields := a.texts()
	for i, name := range header {
		value := strings.TrimSpace(record[i])
		switch {
		case fields[name] != nil:
			*fields[name] = value
		case value == "":
		case name == "session_duration":
			if a.SessionDuration, err = parseSessionDuration(value); err != nil {
				return a, err
			}
		case name == "regions":
			a.Regions = strings.Fields(value)
		}
	}
	if !accountForm.MatchString(a.ID) {
		return a, invalid("account id %q is not valid", a.ID).
			withHint("write 12 digits; spreadsheets drop leading zeros")
	}
	return a, nil
}
