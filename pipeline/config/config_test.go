package config

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store/record"
)

// message returns the facts of an error, each with its hint, as the command line
// prints them.
func message(err error) string {
	if several, joined := err.(interface{ Unwrap() []error }); joined {
		var lines []string
		for _, e := range several.Unwrap() {
			lines = append(lines, message(e))
		}
		return strings.Join(lines, "\n")
	}
	hinted := (interface{ Hint() string })(nil)
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		return err.Error() + "; " + hinted.Hint()
	}
	return fmt.Sprint(err)
}

func noEnv(string) (string, bool) { return "", false }

func TestParseRefusesWithPosition(t *testing.T) {
	for text, want := range map[string]string{
		"dir: h\nregions: [us-east-1]\n":         "f.yaml:2:1: key \"regions\" belongs elsewhere",
		"dir: h\n\tjob: x\n":                     `cannot begin a YAML value; indent with spaces`,
		"dir: h\nmetrcs: []\n":                   `f.yaml:2:1: unknown key "metrcs" (did you mean "metrics"?)`,
		"accounts:\n  - {idd: x}\n":              `f.yaml:2:6: unknown key "idd" (did you mean "id"?)`,
		"metrics: [{stats: [Average]}]\n":        `f.yaml:1:12: unknown key "stats" (did you mean "statistics"?)`,
		"accounts: [{role: x}]\n":                `f.yaml:1:13: unknown key "role" (did you mean "role_arn"?)`,
		"defaults: {region: x}\n":                `f.yaml:1:12: unknown key "region" here (did you mean "regions"?)`,
		"metrics: [{period: 1m}]\n":              `f.yaml:1:12: key "period" belongs elsewhere; move it to the top level of the file`,
		"stats: [Average]\n":                     `f.yaml:1:1: unknown key "stats"`,
		"instances: {statuses: [running]}\n":     `f.yaml:1:13: unknown key "statuses" (did you mean "states"?)`,
		"dir: a\ndir: b\n":                       `f.yaml:2:1: mapping key "dir" already defined`,
		"period: 5 parsecs\n":                    `f.yaml:1:9: duration "5 parsecs" is not valid; write 300, 5m, 24h or 7d`,
		"dir: [\n":                               `f.yaml:1:`,
		"defaults: {external_id: \"${NOPE}\"}\n": `f.yaml:1:25: ${NOPE} is not set in the environment; export it`,
		"range: {last: 24h, from: 2026-11-01}\n": `a range has both last and from or to; write either last, or from and to`,
		"dir: a\n---\ndir: b\n":                  `f.yaml:3:4: more than one YAML document`,
		"defaults: {regions: [\"${NOPE}\"]}\n":   `f.yaml:1:22: ${NOPE} is not set in the environment`,
		"range: {lst: 24h}\n":                    `unknown key "lst" in range`,
	} {
		_, err := Parse("f.yaml", []byte(text), noEnv)
		if err == nil || !strings.Contains(message(err), want) || !IsError(err) {
			t.Errorf("%q: %s, want %q", text, message(err), want)
		}
	}
}

func TestParseEverything(t *testing.T) {
	data, err := os.ReadFile("testdata/harvest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse("harvest.yaml", data, func(name string) (string, bool) { return "secret-" + name, true })
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	entries := s.Entries()
	if len(entries) != 3 || entries[0].RoleARN != "arn:aws:iam::111122223333:role/metrics-reader" ||
		entries[0].ExternalID != "secret-EXTERNAL_ID" || entries[1].RoleARN != "arn:aws:iam::444455556666:role/other" ||
		entries[1].SessionDuration != 4*time.Hour || entries[2].Profile != "dev" || entries[2].RoleARN != "" {
		t.Errorf("entries %+v", entries)
	}
	if s.Period != 5*time.Minute || s.PartSize != 128e6 || s.Range.Last != 24*time.Hour || s.QuotaShare != 0.5 {
		t.Errorf("%+v", s)
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"300": 300 * time.Second, "5m": 5 * time.Minute, "1h30m": 90 * time.Minute, "7d": 7 * 24 * time.Hour, "2w": 14 * 24 * time.Hour, "0": 0,
	} {
		if got, err := ParseDuration(text); got != want || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "-5", "5x", "5m!", "99999999999999w"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q: %v without an error", text, got)
		}
	}
}

func at(text string) time.Time {
	t, err := ParseTime(text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestDue(t *testing.T) {
	night := func(day string) Interval { return Interval{at(day), at(day).Add(24 * time.Hour)} }
	for _, c := range []struct {
		name     string
		r        Range
		now      string
		finished []Interval
		want     *Interval
		next     string
	}{
		{"first night", Range{Kind: Yesterday}, "2026-11-22T02:00", nil, ptr(night("2026-11-21")), ""},
		{"not settled", Range{Kind: Yesterday}, "2026-11-22T00:29", nil, ptr(night("2026-11-20")), ""},
		{"again", Range{Kind: Yesterday}, "2026-11-22T02:00", []Interval{night("2026-11-21")}, nil, "2026-11-23T00:30"},
		{"since last, missed night", Range{Kind: SinceLast}, "2026-11-22T02:00", []Interval{night("2026-11-18")}, ptr(Interval{at("2026-11-19"), at("2026-11-22T01:30")}), ""},
		{"since last, too early", Range{Kind: SinceLast}, "2026-11-22T00:31", []Interval{night("2026-11-21")}, nil, "2026-11-22T00:35"},
		{"last", Range{Kind: Last, Last: 24 * time.Hour}, "2026-11-22T02:02", nil, ptr(Interval{at("2026-11-21T01:30"), at("2026-11-22T01:30")}), ""},
		{"last again", Range{Kind: Last, Last: 24 * time.Hour}, "2026-11-22T09:00", []Interval{{at("2026-11-21T01:30"), at("2026-11-22T01:30")}}, nil, "2026-11-22T14:00"},
		{"fixed", Range{Kind: Fixed, From: at("2026-11-01"), To: at("2026-11-02")}, "2026-11-22", nil, ptr(night("2026-11-01")), ""},
		{"fixed again", Range{Kind: Fixed, From: at("2026-11-01"), To: at("2026-11-02")}, "2026-11-22", []Interval{night("2026-11-01")}, nil, ""},
	} {
		s := Default()
		s.Range = c.r
		due, next, err := s.Due(at(c.now), c.finished)
		if err != nil || (due == nil) != (c.want == nil) || due != nil && *due != *c.want || c.next != "" && !next.Equal(at(c.next)) {
			t.Errorf("%s: %v, next %v, %v; want %v, next %s", c.name, due, next, err, c.want, c.next)
		}
	}
	s := Default()
	s.Range = Range{Kind: Fixed, From: at("2026-11-01"), To: at("2026-11-03")}
	if _, _, err := s.Due(at("2026-11-22"), []Interval{night("2026-11-02")}); err == nil || !strings.Contains(err.Error(), "rows would be exported twice") {
		t.Errorf("overlap: %v", err)
	}
}

func ptr[T any](v T) *T { return &v }

// TestFreezeCoversTheRangeOnce checks that the windows of every series cover the
// job's range exactly once, in whole periods that CloudWatch keeps until the job has
// ended, and that each window fits one request.
func TestFreezeCoversTheRangeOnce(t *testing.T) {
	now := at("2026-11-22T02:00")
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 9))
		s := Default()
		s.Period = []time.Duration{time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 7 * time.Minute, time.Hour, 24 * time.Hour}[rng.IntN(8)]
		s.Metrics[0].Statistics = []string{"Sum", "Average", "p99", "Maximum", "p50", "tm90"}[:1+rng.IntN(6)]
		end := now.Add(-30*time.Minute - time.Duration(rng.Int64N(int64(400*24*time.Hour))))
		if rng.IntN(2) == 0 {
			end = now.Add(-30*time.Minute - time.Duration(rng.Int64N(int64(20*24*time.Hour))))
		}
		i := Interval{end.Add(-time.Duration(rng.Int64N(int64(40 * 24 * time.Hour)))), end}
		frozen, err := s.Freeze(i, now)
		if err != nil {
			if i.End.Sub(i.Start) > 48*time.Hour {
				t.Fatalf("seed %d: %v", seed, err)
			}
			continue
		}
		for _, series := range frozen.Series {
			if problem := checkWindows(frozen, series, now, s.Period); problem != "" {
				t.Fatalf("seed %d, period %v, %v to %v: %s", seed, s.Period, i.Start, i.End, problem)
			}
		}
	}
}

func checkWindows(frozen record.Plan, series record.Series, now time.Time, period time.Duration) string {
	next := frozen.Start.Unix()
	for _, w := range series.Windows {
		age := now.Add(12 * time.Hour).Sub(time.Unix(w.Start, 0))
		kept := int64(60)
		switch {
		case age > 63*24*time.Hour:
			kept = 3600
		case age > 15*24*time.Hour:
			kept = 300
		case now.Add(30*time.Minute).Sub(time.Unix(w.Start, 0)) <= 3*time.Hour:
			kept = 1
		}
		switch {
		case w.Start != next || w.End <= w.Start:
			return fmt.Sprintf("window %+v does not follow %d", w, next)
		case w.Start%w.Period != 0 || (w.End-w.Start)%w.Period != 0:
			return fmt.Sprintf("window %+v is not whole periods", w)
		case w.Period%kept != 0 || w.Period < int64(period/time.Second):
			return fmt.Sprintf("window %+v of age %v: kept at %d", w, age, kept)
		case w.Points()*len(series.Statistics) > cloudwatch.MaxDatapoints:
			return fmt.Sprintf("window %+v has %d points for %d statistics", w, w.Points(), len(series.Statistics))
		}
		next = w.End
	}
	if next != frozen.End.Unix() {
		return fmt.Sprintf("windows end at %d, the job at %d", next, frozen.End.Unix())
	}
	return ""
}

func TestDiffNamesEveryChange(t *testing.T) {
	s := Default()
	frozen, err := s.Freeze(Interval{at("2026-11-20"), at("2026-11-21")}, at("2026-11-22"))
	if err != nil {
		t.Fatal(err)
	}
	if d, err := s.Diff(frozen.Settings); err != nil || len(d) > 0 {
		t.Fatalf("no change: %v, %v", d, err)
	}
	s.Concurrency, s.Defaults.ExternalID, s.Settle = 3, "other", time.Hour // not part of the plan
	if d, err := s.Diff(frozen.Settings); err != nil || len(d) > 0 {
		t.Fatalf("settings outside the plan: %v, %v", d, err)
	}
	s.Period, s.Format, s.Instances.Tags = time.Hour, "jsonl", map[string]string{"env": "prod"}
	s.Metrics[0].Names = s.Metrics[0].Names[1:]
	d, err := s.Diff(frozen.Settings)
	want := "format: parquet -> jsonl; instances.tags: none -> env=prod; metrics AWS/EC2/CPUUtilization by InstanceId: Average,Maximum -> none; period: 5m -> 1h"
	if got := strings.Join(d, "; "); err != nil || got != want {
		t.Errorf("%s, %v", got, err)
	}
}

func TestReadInstances(t *testing.T) {
	one := []record.Target{{Account: "111122223333", Region: "us-east-1"}}
	many := []record.Target{{Account: "111122223333", Region: "us-*,eu-*"}, {Account: "444455556666", Region: "us-east-1"}}
	s := Default()
	s.Metrics = append(s.Metrics, Metric{Namespace: "AWS/RDS", Dimensions: []string{"DBInstanceIdentifier"}},
		Metric{Namespace: "CWAgent", Dimensions: []string{"path", "InstanceId"}})
	for _, c := range []struct {
		text    string
		targets []record.Target
		want    string // keys with targets, or part of the error
	}{
		{"# fleet\n\ni-0123456789abcdef0\ni-0123456789abcdef0\n 111122223333, us-east-1, i-11111111\n", one,
			"111122223333/us-east-1 InstanceId=i-0123456789abcdef0; 111122223333/us-east-1 InstanceId=i-11111111"},
		{"account,region,namespace,instance_id,path\n111122223333,us-west-2,CWAgent,i-11111111,\"/a,b\"\n444455556666,us-east-1,,i-11111111,\n", many,
			"111122223333/us-west-2 InstanceId=i-11111111,path=/a,b; 444455556666/us-east-1 InstanceId=i-11111111"},
		{`{"account": "444455556666", "region": "us-east-1", "namespace": "AWS/RDS", "dimensions": {"DBInstanceIdentifier": "orders"}}`, many,
			"444455556666/us-east-1 DBInstanceIdentifier=orders"},
		{"x", one, `ids:1: "x" is not an instance id`},
		{"1,i-11111111", one, "ids:1:"},
		{"999999999999,us-east-1,i-11111111", one, "is not a target of the job"},
		{"111122223333,ap-south-1,i-11111111", many, "is not a target of the job"},
		{"111122223333,us-*,i-11111111", many, `ids:1: region "us-*" is malformed; write a name such as us-east-1`},
		{"111122223333,enabled,i-11111111", many, `region "enabled" is malformed`},
		{"444455556666,us-east-1,i-11111111\naccount,region,InstanceId\n", many, `ids:2: `},
		{"i-11111111", many, "account or region is missing, and the job has 2 targets; add both"},
		{`{"dimensions": {"VolumeId": "vol-1"}}`, one, "no metric of any namespace has the dimensions VolumeId"},
		{`{"namespace": "AWS/EC2", "dimensions": {"DBInstanceIdentifier": "a"}}`, one, "no metric of AWS/EC2 has the dimensions DBInstanceIdentifier; add one to metrics"},
		{`{"regon": "x"}`, one, "unknown field"},
	} {
		got, err := s.ReadInstances("ids", strings.NewReader(c.text), c.targets)
		var keys []string
		for target, list := range got {
			for _, in := range list {
				keys = append(keys, target.String()+" "+record.FormatDimensions(in.Dimensions))
			}
		}
		slices.Sort(keys)
		if text := strings.Join(keys, "; "); err == nil && text != c.want || err != nil && (!strings.Contains(message(err), c.want) || !IsError(err)) {
			t.Errorf("%q: %s, %s; want %s", c.text, text, message(err), c.want)
		}
	}
}

func TestReadAccounts(t *testing.T) {
	accounts, err := ReadAccounts("a.csv", strings.NewReader("# all\nid,role_arn,regions,session_duration\n111122223333,,us-east-1 eu-*,2h\n444455556666,arn:aws:iam::444455556666:role/x,,\n"))
	if err != nil || len(accounts) != 2 || accounts[0].SessionDuration != 2*time.Hour || len(accounts[0].Regions) != 2 || accounts[1].RoleARN == "" {
		t.Errorf("%+v, %v", accounts, err)
	}
	if accounts, err := ReadAccounts("a.csv", strings.NewReader("111122223333\n444455556666\n")); err != nil || len(accounts) != 2 {
		t.Errorf("ids alone: %+v, %v", accounts, err)
	}
	for text, want := range map[string]string{
		"id,regon\n":                          `a.csv:1: unknown column "regon" (did you mean "regions"?)`,
		"profile\nx\n":                        "a.csv:1: column id is missing",
		"id\n1122223333\n":                    "a.csv:2: account id \"1122223333\" is not valid; write 12 digits; spreadsheets drop leading zeros",
		"id\n111122223333\n111122223333\n":    "a.csv:3: account 111122223333 is listed twice, first at a.csv:2",
		"id,profile\n111122223333\n":          "a.csv: record on line 2: wrong number of fields",
		"id,session_duration\n111122223333,x": "a.csv:2: duration",
	} {
		if _, err := ReadAccounts("a.csv", strings.NewReader(text)); err == nil || !strings.HasPrefix(message(err), want) {
			t.Errorf("%q: %s, want %s", text, message(err), want)
		}
	}
}

// TestExpand checks that members inherit from their group and the group from the
// defaults, that an entry of its own takes precedence, and that an error names the
// line of the file.
func TestExpand(t *testing.T) {
	s, err := Parse("f.yaml", []byte(`defaults: {role_name: reader, regions: [us-east-1]}
accounts:
  - {id: "111122223333", role_name: own}
  - {organization: {exclude: ["999999999999"]}, regions: [enabled], external_id: org}
  - {file: accounts.csv}
`), noEnv)
	if err != nil || s.Validate() != nil {
		t.Fatal(err, s.Validate())
	}
	members := map[int][]Account{
		1: {{ID: "111122223333"}, {ID: "222233334444"}},
		2: {{ID: "222233334444"}, {ID: "333344445555", RoleName: "mine", Regions: []string{"eu-*", "us-west-2", "eu-west-1"}}},
	}
	entries, err := s.Expand(members)
	var got []string
	for _, e := range entries {
		got = append(got, fmt.Sprint(e.RoleARN, e.ExternalID, e.Targets()))
	}
	want := []string{
		"arn:aws:iam::111122223333:role/own[111122223333/us-east-1]",
		"arn:aws:iam::222233334444:role/readerorg[222233334444/enabled]",
		"arn:aws:iam::333344445555:role/mine[333344445555/us-west-2 333344445555/eu-west-1 333344445555/eu-*]",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	members[2][1] = Account{ID: "333344445555", Regions: []string{"nowhere"}, position: "accounts.csv:7"}
	if _, err := s.Expand(members); err == nil || !strings.HasPrefix(err.Error(), `accounts.csv:7: region "nowhere" is malformed`) {
		t.Errorf("%v", err)
	}
}

// TestReplans checks that only a window that has aged out is replaced, by whole
// periods of a coarser window.
func TestReplans(t *testing.T) {
	s := Default()
	s.Period = time.Minute
	job, err := s.Freeze(Interval{at("2026-11-20T00:10"), at("2026-11-21T00:07")}, at("2026-11-22"))
	if err != nil {
		t.Fatal(err)
	}
	w := job.Series[0].Windows[0]
	for _, c := range []struct {
		now  string
		want record.Window
	}{
		{"2026-11-30", w},
		{"2026-12-05T00:00", record.Window{Start: at("2026-11-20T00:10").Unix(), End: at("2026-11-21T00:05").Unix(), Period: 300}},
		{"2027-02-01", record.Window{Start: at("2026-11-20T01:00").Unix(), End: at("2026-11-21T00:00").Unix(), Period: 3600}},
		{"2028-06-01", record.Window{Start: w.Start, End: w.Start, Period: w.Period}},
	} {
		now := w
		for _, r := range s.Replans(&job, at(c.now)) {
			if r.Window == w {
				now = r.Now
			}
		}
		if now != c.want {
			t.Errorf("%s: %+v, want %+v", c.now, now, c.want)
		}
	}
	s.StrictPeriod = true
	if r := s.Replans(&job, at("2026-12-06")); len(r) == 0 || !r[0].Now.Gone() {
		t.Errorf("strict: %+v", r)
	}
	if _, err := s.Freeze(Interval{at("2026-10-20"), at("2026-10-21")}, at("2026-11-22")); err == nil || !strings.Contains(err.Error(), "strict_period wants 1m") {
		t.Errorf("strict: %v", err)
	}
}
