package config

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store/encode"
	"cwharvest/store/record"
)

// checkError checks that an error is about the configuration, and that every mistake
// has one line.
func checkError(t *testing.T, err error) {
	t.Helper()
	if !IsError(err) {
		t.Errorf("%v is not an *Error", err)
	}
	for _, line := range strings.Split(message(err), "\n") {
		if strings.TrimSpace(line) == "" || strings.ContainsFunc(line, unicode.IsControl) {
			t.Errorf("an empty line, or one with a control character, in %q", err)
		}
	}
}

// FuzzParse parses any harvest.yaml. It is either refused, or it can be printed, read
// back unchanged, and frozen.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"testdata/harvest.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, text := range []string{"dir: h", "range: {last: 24h}", "accounts: [{id: \"1\"}]", "metrics: [{names: [a]}]", "a: &x [*x]",
		"dir: a\n---\ndir: b\n", "defaults: {external_id: \"${NOPE}\"}", "on_finish: [{webhook: \"https://a/b\"}, {command: [a, b]}, date]",
		"metrics: [{namespace: AWS/RDS, names: [CPUUtilization], statistics: [Average, p99.9, \"TM(10%:90%)\"], dimensions: [DBInstanceIdentifier]}]",
		"accounts: [{organization: {ous: [ou-ab12-cdefgh34]}, role_name: r}, {file: a.csv, role_name: r}]", Initial} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse("f.yaml", data, noEnv)
		if err == nil {
			err = s.Validate()
		}
		if err != nil {
			checkError(t, err)
			return
		}
		checkPrinted(t, &s)
		checkFrozen(t, &s)
	})
}

func checkPrinted(t *testing.T, s *Config) {
	t.Helper()
	var out strings.Builder
	if err := s.Print(&out); err != nil {
		t.Fatal(err)
	}
	if len(s.OnFinish) > 0 {
		return // not printed
	}
	back, err := Parse("p.yaml", []byte(strings.ReplaceAll(out.String(), `"`+redacted+`"`, "x1")), noEnv)
	if err != nil {
		t.Fatalf("what is printed is refused: %v\n%s", err, out.String())
	}
	if a, b := s.planSettings(), back.planSettings(); !reflect.DeepEqual(a, b) {
		t.Errorf("printed\n%s\n%+v became %+v", out.String(), a, b)
	}
}

func checkFrozen(t *testing.T, s *Config) {
	t.Helper()
	now := time.Date(2026, 11, 25, 2, 0, 0, 0, time.UTC)
	night := Interval{now.Add(-26 * time.Hour), now.Add(-2 * time.Hour)}
	if _, _, err := s.Due(now, []Interval{night}); err != nil {
		checkError(t, err)
	}
	job, err := s.Freeze(night, now)
	if err != nil {
		checkError(t, err)
		return
	}
	if differs, err := s.Diff(job.Settings); err != nil || len(differs) > 0 {
		t.Errorf("it differs from what was just frozen: %q, %v", differs, err)
	}
	columns := map[string]string{}
	for _, name := range job.Statistics() {
		column := encode.Column(name)
		if columns[column] != "" || column == "" || strings.ContainsAny(column, ",\"\r\n") {
			t.Errorf("statistics %s and %s have the column %q", name, columns[column], column)
		}
		columns[column] = name
	}
	for i := range job.Series {
		for _, w := range job.Series[i].Windows {
			if n := w.Points(); n < 1 || n*len(job.Series[i].Statistics) > cloudwatch.MaxDatapoints && s.API == MetricData {
				t.Errorf("window %+v has %d points", w, n)
			}
		}
	}
	if _, err := json.Marshal(job); err != nil {
		t.Error(err)
	}
}

// FuzzReadLists reads any file of instances or accounts. It is either refused with its
// line, or gives instances with valid keys and accounts with unique ids.
func FuzzReadLists(f *testing.F) {
	for _, text := range []string{"i-11111111", "account,region,InstanceId\n111122223333,us-east-1,i-11111111", `{"instance_id": "i-11111111"}`,
		"# fleet\r\n\n\ufeffi-11111111\n 111122223333, us-west-2, i-11111111\n", "account,region,namespace,instance_id,path\n111122223333,us-west-2,CWAgent,i-11111111,\"/a,b\"\n",
		"111122223333,us-west-?,i-11111111\n",
		`{"account": "111122223333", "region": "us-west-2", "namespace": "CWAgent", "dimensions": {"InstanceId": "i-11111111", "path": "/"}}`,
		"111122223333\n444455556666\n", "id,role_arn,regions,session_duration\n111122223333,,us-east-1 eu-*,2h\n444455556666,arn:aws:iam::444455556666:role/x,,auto\n",
		"id,profile\n111122223333\n", "id,id\n111122223333,444455556666\n", "\"id\n", "id,role_name,external_id\n111122223333,r,x1\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		checkInstances(t, text)
		accounts, err := ReadAccounts("a.csv", strings.NewReader(text))
		if err != nil {
			checkError(t, err)
			return
		}
		checkAccounts(t, accounts)
	})
}

func checkInstances(t *testing.T, text string) {
	t.Helper()
	s := Default()
	s.Metrics = append(s.Metrics, Metric{Namespace: "CWAgent", Names: []string{"disk"}, Statistics: []string{"Average"}, Dimensions: []string{"path", "InstanceId"}})
	one := record.Target{Account: "111122223333", Region: "us-*"}
	listed, err := s.ReadInstances("ids", strings.NewReader(text), []record.Target{one})
	if err != nil {
		checkError(t, err)
		return
	}
	seen := map[string]bool{}
	for target, instances := range listed {
		if target.IsPattern() || target.Account != one.Account || !one.Covers(target.Region) {
			t.Errorf("%s is not a target", target)
		}
		for _, in := range instances {
			data, err := json.Marshal(in)
			var kept record.Instance
			if err == nil {
				err = json.Unmarshal(data, &kept)
			}
			if key := target.String() + in.Key(); err != nil || seen[key] || kept.Key() != in.Key() || strings.Count(in.Key(), "\x00") != 2 {
				t.Errorf("%+v is kept as %+v: %v", in, kept, err)
			} else {
				seen[key] = true
			}
		}
	}
}

func checkAccounts(t *testing.T, accounts []Account) {
	t.Helper()
	seen := map[string]bool{}
	for _, a := range accounts {
		if !accountForm.MatchString(a.ID) || seen[a.ID] || a.position == "" {
			t.Errorf("account %+v", a)
		}
		seen[a.ID] = true
	}
	s := Default()
	s.Accounts = []Account{{File: "a.csv"}}
	s.Defaults = Account{RoleName: "r", Regions: []string{"us-east-1"}, SessionDuration: time.Hour}
	all, err := s.Expand(map[int][]Account{0: accounts})
	if err != nil {
		checkError(t, err)
		return
	}
	if len(all) != len(accounts) {
		t.Errorf("%d of %d accounts", len(all), len(accounts))
	}
	for _, a := range all {
		if roleForm.FindStringSubmatch(a.RoleARN) == nil && a.Profile == "" {
			t.Errorf("no way into %+v", a)
		}
	}
}

// FuzzParseValues parses any value. It is either refused in one line, or it can be
// printed and read back unchanged.
func FuzzParseValues(f *testing.F) {
	for _, text := range []string{"300", "5m", "1h30m", "7d", "2w", "0", "1.5h", "1s03ms", "0.4ms", "9999999w", "-1", "auto", "never", "yesterday", "since_last", "24h", "2026-11-01",
		"2026-11-22T06:00:00+02:00", "2026-11-22 06:00:01", "0000-01-01", "9999-12-31", "128MB", "64MiB", "1.5 GB", "2Gi", "99999999999GB", "p99.9", "TM(10%:90%)", "PR(:300)"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		refused := func(err error) bool {
			if err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("not one line: %q", err)
			}
			return err != nil
		}
		if d, err := ParseDuration(text); !refused(err) {
			again, err := ParseDuration(formatDuration(d))
			if d < 0 || err != nil || again != d {
				t.Errorf("duration %q is %v and written %s: %v, %v", text, d, formatDuration(d), again, err)
			}
		}
		if n, err := ParseSize(text); !refused(err) {
			if again, err := ParseSize(formatSize(n)); n < 0 || err != nil || again != n {
				t.Errorf("size %q is %d and written %s: %v, %v", text, n, formatSize(n), again, err)
			}
		}
		if at, err := ParseTime(text); !refused(err) {
			if again, err := ParseTime(at.Format(time.RFC3339)); err != nil || !again.Equal(at.Truncate(time.Second)) {
				t.Errorf("time %q is %v: %v, %v", text, at, again, err)
			}
		}
		if r, err := ParseRange(text); !refused(err) {
			checkRange(t, text, r)
		}
		if cloudwatch.IsStatistic(text) && (!cloudwatch.IsBasic(text) && strings.ContainsAny(encode.Column(text), " ,.()%:\n")) {
			t.Errorf("statistic %q has the column %q", text, encode.Column(text))
		}
		if near := Nearest(text, cloudwatch.CommonExtended); near != "" && !slices.Contains(cloudwatch.CommonExtended, near) {
			t.Errorf("%q is near %q", text, near)
		}
	})
}

func checkRange(t *testing.T, text string, r Range) {
	t.Helper()
	s := Default()
	s.Range = r
	if err := s.Validate(); err != nil {
		checkError(t, err)
		return
	}
	now := time.Date(2026, 11, 25, 2, 0, 0, 0, time.UTC)
	due, _, err := s.Due(now, nil)
	switch {
	case err != nil:
		checkError(t, err)
	case due != nil && !due.Start.Before(due.End):
		t.Errorf("range %q is due from %v to %v", text, due.Start, due.End)
	}
}
