package config

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

// validate parses and validates a configuration.
func validate(text string) error {
	s, err := Parse("f.yaml", []byte(text), noEnv)
	if err != nil {
		return err
	}
	return s.Validate()
}

func TestValidateRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"period: 90":                                `f.yaml:1:9: period 90s is not valid`,
		"period: 500d":                              `period 500d is not valid`,
		"period: 0":                                 `period 0s is not valid; use a multiple of 60 seconds`,
		"period: \"\"":                              `f.yaml:1:9: duration ""`,
		"settle: 15d":                               `settle 15d is out of range`,
		"range: {last: 1m}":                         `last 1m is shorter than one period (5m)`,
		"range: tomorrow":                           `f.yaml:1:8: range "tomorrow"`,
		"range: {from: 2026-11-01}":                 `a range needs both from and to`,
		"format: xml":                               `f.yaml:1:9: unknown format "xml"; use parquet, csv or jsonl`,
		"compression: gzip":                         `Parquet always uses zstd`,
		"out: s3://Bucket/prefix":                   `f.yaml:1:6: s3://Bucket/prefix: invalid bucket name "Bucket"`,
		"out: gs://bucket/prefix":                   `out "gs://bucket/prefix" is not a supported location; write a directory or s3://bucket/prefix`,
		"s3: {role_arn: x}":                         `f.yaml:1:16: role_arn "x" is malformed; write an ARN`,
		"spool_limit: 100MB":                        `spool_limit 100000000 is too small, because one part is built while the next one is fetched; write at least twice part_size, 256MiB`,
		"part_size: 1KB":                            `part_size 1000 is too small`,
		"concurrency: 0":                            `concurrency 0 is out of range`,
		"max_in_flight: -1":                         `max_in_flight -1 is out of range`,
		"quota_share: 1001":                         `quota_share 1001 is out of range`,
		"metrics: []":                               `metrics is empty; name at least one`,
		"instances: {sources: [file]}":              `source file needs a file of instances; set instances.file`,
		"range: {from: 2026-11-02, to: 2026-11-01}": `f.yaml:1:8: the range ends (2026-11-01T00:00:00Z) before it begins`,
		"metrics: [{namespace: AWS/EC2, names: [CPUUtilisation], statistics: [Average]}]":                                       `has no metric "CPUUtilisation" (did you mean "CPUUtilization"?)`,
		"metrics: [{namespace: AWS/EC2, names: [NetworkIn, NetworkIn], statistics: [Average]}]":                                 `f.yaml:1:51: metric NetworkIn of AWS/EC2 is listed twice`,
		"metrics: [{namespace: AWS/EC2, names: [NetworkIn], statistics: [Averge]}]":                                             `f.yaml:1:65: unknown statistic "Averge" (did you mean "Average"?)`,
		"metrics: [{namespace: AWS/EC2, names: [NetworkIn], statistics: [P99]}]":                                                `unknown statistic "P99" (did you mean "p99"?)`,
		"metrics: [{namespace: AWS/EC2, names: [NetworkIn], statistics: [Sum, Sum]}]":                                           `statistic Sum is listed twice; remove one`,
		"metrics: [{namespace: AWS-EC2, names: [X], statistics: [Sum]}]":                                                        `metrics of AWS-EC2 need the names of their dimensions; correct the namespace if it is AWS/EC2, or add them`,
		"metrics: [{namespace: ec2, names: [X], statistics: [Sum]}]":                                                            `correct the namespace if it is AWS/EC2`,
		"metrics: [{namespace: AWS/Rds, names: [X], statistics: [Sum]}]":                                                        `correct the namespace if it is AWS/RDS`,
		"metrics: [{namespace: CWAgent, names: [X], statistics: [Sum]}]":                                                        `need the names of their dimensions; add them, such as dimensions: [InstanceId]`,
		"metrics: [{namespace: AWS/RDS, names: [X], statistics: [Sum]}]":                                                        `f.yaml:1:11: metrics of AWS/RDS need the names of their dimensions; add them, such as dimensions: [DBInstanceIdentifier]`,
		"instances: {sources: [ec2]}\nmetrics: [{namespace: AWS/RDS, names: [X], statistics: [Sum], dimensions: [DBInstance]}]": `source ec2 finds only EC2 instances, not metrics by DBInstance; add cloudwatch to instances.sources`,
		"instances: {states: [runing]}":                                                                                         `f.yaml:1:22: unknown state "runing" (did you mean "running"?)`,
		"api: x":                                                                                                                `unknown api "x"`,
		"max_cost: -1":                                                                                                          `max_cost -1 is negative`,
		"tolerate: [{account: \"111122223333\"}]":                                                                               `tolerate needs an end`,
		"accounts: [{file: a.csv, id: \"111122223333\"}]":                                                                       `id and role_arn name one account, but the entry has many; use role_name`,
		"accounts: [{organization: {ous: [x]}}]":                                                                                `ous contains an invalid id; write ids of organizational units`,
		"accounts: [{organization: {}, regions: [nowhere]}]":                                                                    `region "nowhere" is malformed`,
	} {
		checkRefusal(t, text, validate(text), want)
	}
}

func TestValidateRefusesAccounts(t *testing.T) {
	for text, want := range map[string]string{
		`accounts: [{id: "1234"}]`:                                                                     `f.yaml:1:17: account id "1234" is not valid; write 12 digits, in quotes`,
		`accounts: [{role_arn: "arn:aws:iam::1111:role/x"}]`:                                           `f.yaml:1:23: role_arn "arn:aws:iam::1111:role/x" is malformed`,
		`accounts: [{role_arn: "arn:gcp:iam::111122223333:role/x"}]`:                                   `is malformed`,
		`accounts: [{id: "444455556666", role_arn: "arn:aws:iam::111122223333:role/x"}]`:               `is not in account 444455556666; correct one of them`,
		`{defaults: {role_arn: "arn:aws:iam::111122223333:role/x"}, accounts: [{id: "444455556666"}]}`: `f.yaml:1:23: role_arn arn:aws:iam::111122223333:role/x is not in account 444455556666`,
		`accounts: [{id: "111122223333", role_name: "a b"}]`:                                           `role_name "a b" is malformed`,
		`accounts: [{profile: dev, role_name: x}]`:                                                     `role_name "x" needs the account's id`,
		`defaults: {role_name: x}`:                                                                     `f.yaml:1:23: role_name "x" needs the account's id`,
		`defaults: {external_id: x}`:                                                                   `f.yaml:1:25: external_id is not valid; write 2 to 1224 letters`,
		`defaults: {session_duration: 14m}`:                                                            `session_duration 14m is out of range; write 15m to 12h, or auto`,
		`defaults: {session_duration: ""}`:                                                             `duration ""`,
		`defaults: {regions: [useast1]}`:                                                               `region "useast1" is malformed`,
		`defaults: {regions: [us-east-1, cn-north-1]}`:                                                 `region cn-north-1 is not in partition aws`,
		`defaults: {regions: [us-east-1, us-east-1]}`:                                                  `region us-east-1 is listed twice; remove one`,
		`accounts: [{id: "111122223333"}, {id: "111122223333"}]`:                                       `accounts 1 and 2 have the same account and region`,
		`accounts: [{profile: a, regions: [us-east-1]}, {profile: a, regions: [us-east-1]}]`:           `(profile a/us-east-1)`,
		`accounts: [{id: "111122223333", regions: [us-east-1]}, {role_arn: "arn:aws:iam::111122223333:role/x", regions: [us-east-1]}]`: `(111122223333/us-east-1)`,
	} {
		checkRefusal(t, text, validate(text), want)
	}
}

func TestValidateRefusesOnFinish(t *testing.T) {
	for text, want := range map[string]string{
		"on_finish: 7":                                        `f.yaml:1:12: on_finish has the wrong type; write a command line`,
		"on_finish: \"\"":                                     `f.yaml:1:12: on_finish needs either a command or a webhook`,
		"on_finish: {timeout: 1s}":                            `on_finish needs either a command or a webhook`,
		"on_finish: {command: [], timeout: 1s}":               `on_finish needs either a command or a webhook`,
		"on_finish: {command: x, webhook: \"https://a/b\"}":   `on_finish needs either a command or a webhook`,
		"on_finish: {command: {a: b}}":                        `command has the wrong type; write a list of words`,
		"on_finish: {comand: x}":                              `f.yaml:1:21: unknown key "comand" (did you mean "command"?)`,
		"on_finish: {command: x, timeout: soon}":              `f.yaml:1:34: duration "soon"`,
		"on_finish: {command: x, timeout: 0}":                 `f.yaml:1:34: timeout 0s is out of range; write more than 0 and at most 1h`,
		"on_finish: {command: x, timeout: 2h}":                `timeout 2h is out of range`,
		"on_finish: {webhook: \"http://example.com/secret\"}": `f.yaml:1:22: webhook: scheme "http" is not allowed; use https, or http to loopback`,
		"on_finish: {webhook: \"example.com\"}":               `webhook: the address is malformed`,
		"on_finish: [x, {webhook: \"ftp://a/b\"}]":            `f.yaml:1:26: webhook: scheme "ftp" is not allowed; use https, or http to loopback`,
	} {
		err := validate(text)
		checkRefusal(t, text, err, want)
		if strings.Contains(message(err), "secret") {
			t.Errorf("%s: the address is shown: %v", text, err)
		}
	}
}

func TestOnFinish(t *testing.T) {
	s, err := Parse("f.yaml", []byte(`on_finish: ["mail ops", {command: [a, 1], timeout: 5}, {webhook: "http://[::1]:1/x"}]`), noEnv)
	if err != nil || s.Validate() != nil {
		t.Fatal(err, s.Validate())
	}
	want := []Hook{
		{Command: []string{"sh", "-c", "mail ops"}, Timeout: time.Minute, path: "$.on_finish[0]"},
		{Command: []string{"a", "1"}, Timeout: 5 * time.Second, path: "$.on_finish[1]"},
		{Webhook: "http://[::1]:1/x", Timeout: 10 * time.Second, path: "$.on_finish[2]"},
	}
	if !reflect.DeepEqual(s.OnFinish, want) {
		t.Errorf("%+v", s.OnFinish)
	}
	without := Default()
	if differences, err := s.Diff(mustFreeze(t, &without)); err != nil || len(differences) > 0 {
		t.Errorf("on_finish is part of the plan: %v %v", differences, err)
	}
}

// mustFreeze returns the settings of the plan of a job for yesterday.
func mustFreeze(t *testing.T, s *Config) []byte {
	t.Helper()
	now := time.Now().Truncate(24 * time.Hour)
	frozen, err := s.Freeze(Interval{Start: now.Add(-24 * time.Hour), End: now}, now)
	if err != nil {
		t.Fatal(err)
	}
	return frozen.Settings
}

func checkRefusal(t *testing.T, text string, err error, want string) {
	t.Helper()
	if got := message(err); err == nil || !IsError(err) || !strings.Contains(got, want) || strings.Contains(got, "\n") {
		t.Errorf("%s\n got %s\nwant %s, in one line", text, got, want)
	}
	var e *Error
	if errors.As(err, &e) && e.Hint() == "" && e.Remedy == NoRemedy && !strings.Contains(e.Error(), "did you mean") {
		t.Errorf("%s: no hint for %v", text, e)
	}
}

func TestValidateNamesEveryMistakeOnce(t *testing.T) {
	err := validate(`
period: 90
concurrency: 0
defaults: {external_id: "!", regions: [us-east-1]}
accounts: [{id: "111122223333"}, {id: "444455556666"}]
`)
	if err == nil {
		t.Fatal("accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{"f.yaml:2:9: period", "f.yaml:4:25: external_id", "f.yaml:3:14: concurrency"} {
		if len(lines) != 3 || !strings.HasPrefix(lines[i], want) {
			t.Errorf("%q", lines)
		}
	}
}

func TestSecretsAreNotInErrors(t *testing.T) {
	text := `defaults: {external_id: "${SECRET}", session_duration: 1s, regions: [x]}`
	s, err := Parse("f.yaml", []byte(text), func(string) (string, bool) { return "hunter2 hunter2", true })
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err == nil || strings.Contains(message(err), "hunter2") {
		t.Errorf("%v", err)
	}
}

func TestEntries(t *testing.T) {
	for _, c := range []struct {
		name       string
		defaults   Account
		account    Account
		role, id   string
		externalID string
	}{
		{"role by name", Account{RoleName: "r", ExternalID: "x1"}, Account{ID: "111122223333"}, "arn:aws:iam::111122223333:role/r", "111122223333", "x1"},
		{"own role", Account{RoleName: "r"}, Account{RoleARN: "arn:aws:iam::111122223333:role/o", ExternalID: "x2"}, "arn:aws:iam::111122223333:role/o", "111122223333", "x2"},
		{"default role", Account{RoleARN: "arn:aws:iam::111122223333:role/d"}, Account{}, "arn:aws:iam::111122223333:role/d", "111122223333", ""},
		{"default role, id", Account{RoleARN: "arn:aws:iam::111122223333:role/d"}, Account{ID: "111122223333"}, "arn:aws:iam::111122223333:role/d", "111122223333", ""},
		{"profile", Account{RoleName: "r", RoleARN: "arn:aws:iam::111122223333:role/d"}, Account{Profile: "dev"}, "", "", ""},
		{"China", Account{RoleName: "r", Regions: []string{"cn-north-1"}}, Account{ID: "111122223333"}, "arn:aws-cn:iam::111122223333:role/r", "111122223333", ""},
		{"GovCloud", Account{RoleName: "r"}, Account{ID: "111122223333", Regions: []string{"us-gov-west-1"}}, "arn:aws-us-gov:iam::111122223333:role/r", "111122223333", ""},
	} {
		s := Default()
		c.defaults.SessionDuration = time.Hour
		s.Defaults, s.Accounts = c.defaults, []Account{c.account}
		got := s.Entries()
		if len(got) != 1 || got[0].RoleARN != c.role || got[0].ID != c.id || got[0].ExternalID != c.externalID || got[0].SessionDuration != time.Hour {
			t.Errorf("%s: %+v", c.name, got)
		}
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestRemedies checks the hints that the command line makes, because they name a
// command.
func TestRemedies(t *testing.T) {
	_, err := ReadFile("nowhere.yaml")
	var e *Error
	if !errors.As(err, &e) || e.Remedy != CreateFile || e.File != "nowhere.yaml" || e.Hint() != "" {
		t.Errorf("%#v", err)
	}
	for _, text := range []string{"frobnicate: 1", "regions: [us-east-1]", "dir: [", "only a text"} {
		if _, err := Parse("f.yaml", []byte(text), noEnv); !errors.As(err, &e) || e.Remedy != ShowExample || e.Hint() != "" {
			t.Errorf("%s: %#v", text, err)
		}
	}
}
