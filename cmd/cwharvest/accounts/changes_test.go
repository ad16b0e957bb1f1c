package accounts

import (
	"strings"
	"testing"

	"cwharvest/pipeline/config"
	"cwharvest/store/record"
)

func TestChanges(t *testing.T) {
	const one, two, three = "111122223333", "222233334444", "333344445555"
	for name, c := range map[string]struct {
		yaml string
		file string // accounts of the entry 0
		job  string
		want string
	}{
		"the same":             {"accounts: [{id: \"" + one + "\", regions: [us-east-1]}]", "", one + "/us-east-1", ""},
		"an account":           {"accounts: [{id: \"" + one + "\", regions: [us-east-1]}, {id: \"" + two + "\", regions: [us-east-1]}]", "", one + "/us-east-1", "target " + two + "/us-east-1 is new"},
		"another account":      {"accounts: [{id: \"" + two + "\", regions: [us-east-1]}]", "", one + "/us-east-1", "target " + two + "/us-east-1 is new; target " + one + "/us-east-1 is removed"},
		"a region less":        {"accounts: [{id: \"" + one + "\", regions: [us-east-1]}]", "", one + "/us-east-1 " + one + "/eu-west-1", "target " + one + "/eu-west-1 is removed"},
		"a pattern as it was":  {"accounts: [{id: \"" + one + "\", regions: [us-*]}]", "", one + "/us-east-1 " + one + "/us-west-2", ""},
		"a narrower pattern":   {"accounts: [{id: \"" + one + "\", regions: [us-*]}]", "", one + "/us-east-1 " + one + "/eu-west-1", "target " + one + "/eu-west-1 is removed"},
		"a pattern, denied":    {"accounts: [{id: \"" + one + "\", regions: [us-*]}]", "", one + "/us-*", ""},
		"a pattern, new":       {"accounts: [{id: \"" + one + "\", regions: [us-*]}, {id: \"" + two + "\", regions: [enabled]}]", "", one + "/us-east-1", "target " + two + "/enabled is new"},
		"the caller":           {"defaults: {regions: [us-east-1]}", "", one + "/us-east-1", ""},
		"the caller's regions": {"defaults: {regions: [eu-west-1]}", "", one + "/us-east-1", "region eu-west-1 is new; target " + one + "/us-east-1 is removed"},
		"the default region":   {"job: x", "", one + "/us-east-1", ""},
		"an organization":      {"defaults: {regions: [us-east-1]}\naccounts: [{organization: {exclude: [\"" + two + "\"]}}]", "", one + "/us-east-1 " + two + "/us-east-1", "target " + two + "/us-east-1 is removed"},
		"its regions":          {"defaults: {regions: [us-east-1, eu-west-1]}\naccounts: [{organization: {}}]", "", one + "/us-east-1 " + two + "/us-east-1", "region eu-west-1 is new"},
		"named and in it":      {"defaults: {regions: [us-east-1]}\naccounts: [{organization: {}}, {id: \"" + one + "\", regions: [eu-west-1]}]", "", one + "/us-east-1 " + one + "/eu-west-1 " + two + "/us-east-1", "target " + one + "/us-east-1 is removed"},
		"a file":               {"defaults: {regions: [us-east-1]}\naccounts: [{file: accounts.csv}]", one + " " + three, one + "/us-east-1 " + two + "/us-east-1", "target " + three + "/us-east-1 is new; target " + two + "/us-east-1 is removed"},
		"many": {"defaults: {regions: [us-east-1]}\naccounts: [{file: accounts.csv}]", "100000000001 100000000002 100000000003 100000000004 100000000005", "",
			"target 100000000001/us-east-1 is new; target 100000000002/us-east-1 is new; target 100000000003/us-east-1 is new; 2 more are new"},
	} {
		t.Run(name, func(t *testing.T) {
			settings, err := config.Parse("harvest.yaml", []byte(c.yaml), func(string) (string, bool) { return "", false })
			if err != nil {
				t.Fatal(err)
			}
			r := &Resolver{Config: &settings, Members: Members{}}
			for id := range strings.FieldsSeq(c.file) {
				r.Members[0] = append(r.Members[0], config.Account{ID: id})
			}
			var job []record.Target
			for text := range strings.FieldsSeq(c.job) {
				account, region, _ := strings.Cut(text, "/")
				job = append(job, record.Target{Account: account, Region: region})
			}
			if got := strings.Join(r.Changes(job), "; "); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
