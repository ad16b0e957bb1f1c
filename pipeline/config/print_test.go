package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestPrintedComesBack checks that a printed configuration is read back unchanged,
// except for external ids.
func TestPrintedComesBack(t *testing.T) {
	readme, _ := os.ReadFile("testdata/harvest.yaml")
	texts := []string{Initial, commented.ReplaceAllString(Initial, "$1"), string(readme),
		`{accounts: [{}], defaults: {role_arn: "arn:aws:iam::111122223333:role/x", via: {role_arn: "arn:aws:iam::111122223333:role/h", external_id: h1}, fallbacks: [{profile: a}, {instance_role: true}]}}`,
		`{accounts: [{organization: {}, role_name: r}, {file: a.csv, role_name: r}], s3: {profile: p, region: eu-west-1}, out: s3://bucket/p}`}
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 3))
		pick := func(of ...string) string { return of[rng.IntN(len(of))] }
		texts = append(texts, fmt.Sprintf("{job: %s, range: %s, period: %s, settle: %s, part_size: %s, format: %s, api: %s, protocol: %s, max_duration: %s, give_up_after: %s, instances: %s, max_cost: %s, strict_period: %s}",
			pick(`"true"`, "a-b", `"x: y # z"`, `"0123"`, "1.50"), pick("yesterday", "7d", "2026-11-01", "{last: 1h30m}", "{from: 2026-11-01, to: 2026-11-02T06:00}"),
			pick("60", "5m", "1h", "30s"), pick("0", "90", "1h30m"), pick("128MB", "64MiB", "100000"), pick("csv", "parquet"), pick("data", "statistics"), pick("cbor", "json", "query"),
			pick("0", "90m", "1d"), pick("never", "3h"), pick("{}", "{tags: {a: 1.0, 'b c': 'd, e'}}", "{file: ids.txt}", "{states: [running]}"), pick("0", "0.00001", "25"), pick("true", "false")))
	}
	now := at("2026-11-10T02:00")
	night := Interval{at("2026-11-08"), at("2026-11-09")}
	for _, text := range texts {
		s, err := Parse("f.yaml", []byte(text), anyEnv)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		var out strings.Builder
		if err := s.Print(&out); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "x1") || strings.Contains(out.String(), "h1") {
			t.Errorf("an external id is shown:\n%s", out.String())
		}
		back, err := Parse("p.yaml", []byte(strings.ReplaceAll(out.String(), `"`+redacted+`"`, "x1")), noEnv)
		if err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		if via := &back.Defaults.Via; via.ExternalID != "" {
			via.ExternalID = "h1"
		}
		s.position, s.line, back.position, back.line = nil, nil, nil, nil
		s.OnFinish = nil // not printed, because a webhook may be secret
		a, errA := s.Freeze(night, now)
		b, errB := back.Freeze(night, now)
		if asJSON(t, &s) != asJSON(t, &back) || !reflect.DeepEqual(a, b) || fmt.Sprint(errA) != fmt.Sprint(errB) {
			t.Errorf("%s\nis printed\n%s\n%+v\n%+v", text, out.String(), s, back)
		}
	}
}

// asJSON returns a configuration as text, to compare two without their pointers.
func asJSON(t *testing.T, s *Config) string {
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.ReplaceAll(text, []byte("null"), []byte("[]"))) // an empty list is equal to none
}

// TestForms reads values that a YAML library could take for other types.
func TestForms(t *testing.T) {
	day := Range{Kind: Fixed, From: at("2026-11-01"), To: at("2026-11-02")}
	for _, text := range []string{
		"300", `"300"`, "5m", `"5m"`, "300s", "!!str 300",
	} {
		s, err := Parse("f", []byte("period: "+text), noEnv)
		if err != nil || s.Period != 5*time.Minute {
			t.Errorf("period: %s: %v, %v", text, s.Period, err)
		}
	}
	for text, want := range map[string]Range{
		"7d": {Kind: Last, Last: 7 * 24 * time.Hour}, `"7d"`: {Kind: Last, Last: 7 * 24 * time.Hour}, "86400": {Kind: Last, Last: 24 * time.Hour},
		"{last: 86400}": {Kind: Last, Last: 24 * time.Hour}, "2026-11-01": day, `"2026-11-01"`: day, "{from: 2026-11-01, to: 2026-11-02}": day,
		`{from: "2026-11-01", to: 2026-11-02T00:00:00Z}`: day, "{from: !!timestamp 2026-11-01, to: 2026-11-02 00:00}": day,
	} {
		if s, err := Parse("f", []byte("range: "+text), noEnv); err != nil || s.Range != want {
			t.Errorf("range: %s: %+v, %v", text, s.Range, err)
		}
	}
	for text, want := range map[string]int64{"128MB": 128e6, `"128MB"`: 128e6, "2GiB": 2 << 30, "128000000": 128e6, `"1.5 GB"`: 15e8} {
		if s, err := Parse("f", []byte("part_size: "+text), noEnv); err != nil || s.PartSize != want {
			t.Errorf("part_size: %s: %d, %v", text, s.PartSize, err)
		}
	}
	for text, want := range map[string]string{"0123": "0123", "1.50": "1.50", "1e5": "1e5", "12345": "12345", `"0x1F"`: "0x1F"} {
		if s, err := Parse("f", []byte("defaults: {external_id: "+text+"}"), noEnv); err != nil || s.Defaults.ExternalID != want {
			t.Errorf("external_id: %s: %q, %v", text, s.Defaults.ExternalID, err)
		}
	}
}
