package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cwharvest/pipeline/config/golden"
)

func TestGoldenSchema(t *testing.T) {
	schema, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, filepath.Join("testdata", "golden", "schema.json"), string(schema))
}

// TestGoldenReference holds the manual to the table. With -update it writes the section.
func TestGoldenReference(t *testing.T) {
	const path, heading = "../../cmd/cwharvest/docs/configuration.md", "\n## All keys\n"
	manual, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, section, found := strings.Cut(string(manual), heading)
	intro, _, hasTable := strings.Cut(section, "\n| key |")
	if !found || !hasTable {
		t.Fatalf("%s has no table below%s", path, heading)
	}
	want := before + heading + intro + "\n" + Reference()
	if golden.Update() {
		if err := os.WriteFile(path, []byte(want), 0o666); err != nil {
			t.Fatal(err)
		}
	} else if string(manual) != want {
		t.Errorf("%s differs from the table of settings; write it with -update", path)
	}
}

// TestSettingsAreComplete checks that the table and the keys of the document agree, and that no two settings have the same flag.
func TestSettingsAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Settings() {
		if seen[s.Key] || s.Flag != "" && seen["--"+s.Flag] {
			t.Errorf("%s or its flag is in the table twice", s.Key)
		}
		seen[s.Key], seen["--"+s.Flag] = true, true
		if s.isTop() && (s.kind == nil) == (s.parts == nil) {
			t.Errorf("%s needs either a kind or parts", s.Key)
		}
		if s.kind != nil && s.kind != list && s.field == nil {
			t.Errorf("%s has no field", s.Key)
		}
		if s.Doc == "" {
			t.Errorf("%s has no documentation", s.Key)
		}
	}
}

// TestGoldenPrint prints configurations that together set every key.
func TestGoldenPrint(t *testing.T) {
	everything, err := os.ReadFile("testdata/harvest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"default":    "",
		"everything": string(everything),
		"forms": `job: "true"
range: {from: 2026-11-01, to: 2026-11-02T06:00}
period: 300
settle: 90
part_size: 128000000
spool_limit: 3 GB
max_cost: 0.00001
max_duration: 90m
give_up_after: 3h
compression: none
format: csv
instances: {tags: {a: 1.0, 'b c': 'd, e'}, monitoring: enabled}
prices: {list_metrics: 0}
on_finish: echo done
tolerate: [{account: "111122223333", region: us-east-1, until: 2027-01-31}]
`,
		"accounts": `s3: {role_arn: "arn:aws:iam::111122223333:role/w", external_id: "${ID}"}
out: s3://bucket/p
defaults:
  session_duration: auto
  regions: enabled
  via: {role_arn: "arn:aws:iam::111122223333:role/h", external_id: x1}
  fallbacks: [{profile: a}, {instance_role: true, role_name: r, external_id: x1}]
accounts: [{}, {id: "0123", role_name: r}, {organization: {}, role_name: r},
  {organization: {profile: m, ous: [r-ab12], exclude: ["111122223333"]}}, {file: a.csv, session_duration: 4h}]
`,
	} {
		c, err := Parse("f.yaml", []byte(text), anyEnv)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if name == "forms" {
			c.overridden("$.max_cost", "--max-cost")
			c.overridden("$.defaults.regions", "CWHARVEST_REGION")
			c.overridden("$.metrics[0].statistics", "--stat")
		}
		var out strings.Builder
		if err := c.Print(&out); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		golden.Compare(t, filepath.Join("testdata", "golden", "print-"+name+".yaml"), withoutDefaults(name, out.String()))
	}
}

// withoutDefaults leaves out default values, so that a new setting changes one file only.
func withoutDefaults(name, text string) string {
	if name == "default" {
		return text
	}
	return regexp.MustCompile(`(?m)^.* # default\n`).ReplaceAllString(text, "")
}

// TestGoldenErrors lists the messages for mistakes, each as the command line prints it.
func TestGoldenErrors(t *testing.T) {
	var out strings.Builder
	for _, text := range mistakes {
		c, err := Parse("f.yaml", []byte(text), noEnv)
		if err == nil {
			err = c.Validate()
		}
		out.WriteString("--- " + strings.ReplaceAll(text, "\n", "\n    ") + "\n" + message(err) + "\n")
	}
	golden.Compare(t, filepath.Join("testdata", "golden", "errors.txt"), out.String())
}

// mistakes are wrong files: at least one for each key.
var mistakes = []string{
	"job: [a]", "job: {a: b}", "dir: \"\"", "dir:\n  a: b", "dir: ${NOPE}", "out: ftp://x/y", "out: s3://", "out: [a]",
	"s3: {role_arn: x}", "s3: {external_id: \"!\"}", "s3: {profle: x}", "s3: x", "s3: [a]", "s3: {region: [a]}",
	"format: xml", "format: parquet\ncompression: gzip", "format: csv\ncompression: rar", "format: [a]",
	"range: tomorrow", "range: {last: 24h, from: 2026-11-01}", "range: {from: 2026-11-01}", "range: {lst: 1h}", "range: [1]",
	"range: {last: 1m}", "range: {from: 2026-11-02, to: 2026-11-01}", "range: {from: x, to: y}", "range: {last: x}", "range: true", "range: 1.5",
	"settle: 15d", "settle: x", "settle: [a]", "period: 90", "period: 5 parsecs", "period: -5", "period: 1500ms", "period: true", "period: {a: b}",
	"defaults: {id: x}", "defaults: {role_arn: x}", "defaults: {role_name: \"a b\"}", "defaults: {role_name: r}", "defaults: {external_id: \"!\"}",
	"defaults: {session_duration: 1m}", "defaults: {session_duration: x}", "defaults: {session_duration: never}", "defaults: {regions: [useast1]}", "defaults: {regions: {a: b}}",
	"defaults: {regions: 5}", "defaults: {via: {role_arn: x}}", "defaults: {fallbacks: [{}]}", "defaults: {fallbacks: {}}", "defaults: [a]", "defaults: x",
	"accounts: {}", "accounts: x", "accounts: [x]", "accounts: [{idd: x}]", "accounts: [{id: \"1234\"}]", "accounts:\n  - {id: \"111122223333\"}\n  - {id: \"111122223333\"}",
	"accounts: [{id: [a]}]", "accounts: [{session_duration: x}]", "accounts: [{regions: [us-east-1, us-east-1]}]", "accounts: [{regions: [us-east-1, cn-north-1]}]",
	"accounts: [{organization: {}, file: a.csv}]", "accounts: [{organization: {}, id: \"111122223333\"}]", "accounts: [{organization: {ous: [x]}}]",
	"accounts: [{organization: {exclude: [x]}}]", "accounts: [{organization: x}]", "accounts: [{via: {external_id: \"!\"}}]", "accounts: [{via: x}]",
	"accounts: [{id: \"111122223333\", role_arn: \"arn:aws:iam::444455556666:role/x\"}]",
	"accounts: [{fallbacks: [{profile: a, instance_role: true}]}]", "accounts: [{fallbacks: [{instance_role: perhaps}]}]", "accounts: [{fallbacks: [{role_name: x}, {role_arn: x}]}]",
	"tolerate: [{account: \"1\", until: 2027-01-31}]", "tolerate: [{account: \"111122223333\", until: soon}]", "tolerate: [{account: \"111122223333\"}]", "tolerate: [{}]", "tolerate: {}",
	"instances: {sources: []}", "instances: {sources: [disk]}", "instances: {sources: [file]}", "instances: {sources: ec2}", "instances: {states: [runing]}", "instances: {monitoring: maybe}",
	"instances: {tags: [a]}", "instances: {fiel: x}", "instances: x",
	"metrics: []", "metrics: [{namespace: \"a b\", names: [x], statistics: [Sum], dimensions: [D]}]", "metrics: [{namespace: AWS/EC2, names: [CPUUtilisation], statistics: [Averge]}]",
	"metrics: [{namespace: AWS/RDS, names: [x], statistics: [Sum]}]", "metrics: [{namespace: AWS/EC2}]", "metrics: [{names: x}]", "metrics: {}",
	"metrics: [{namespace: A, names: [x, x], statistics: [\"TM(:90)\", \"TM(:90%)\"], dimensions: [D, D]}]",
	"concurrency: 0", "concurrency: 1025", "concurrency: x", "concurrency: 1.5", "concurrency: [a]", "concurrency: \"8\"", "concurrency:", "max_in_flight: 2000", "max_in_flight: many",
	"quota_share: 0", "quota_share: 1001", "quota_share: x", "part_size: big", "part_size: 1", "part_size: [a]", "spool_limit: 1", "spool_limit: x",
	"max_cost: -1", "max_cost: five", "max_cost: [a]", "max_cost: {a: b}", "max_duration: x", "max_duration: -5", "give_up_after: x", "give_up_after: [a]", "give_up_after: auto",
	"strict_period: perhaps", "strict_period: 1", "allow_unknown_metric: x", "insecure_endpoint: x", "api: x", "api: [a]", "protocol: soap", "protocol: jsn",
	"on_finish: \"\"", "on_finish: 5", "on_finish: {comand: x}", "on_finish: {command: {a: b}}", "on_finish: {webhook: \"ftp://x\"}", "on_finish: {webhook: \"http://x.example\"}",
	"on_finish: {command: a, webhook: \"https://x\"}", "on_finish: [{command: a, timeout: 2h}]", "on_finish: {command: a, timeout: x}", "on_finish: [[a]]",
	"prices: {list_metrics: -1}", "prices: {list_metrics: x}", "prices: {listmetrics: 1}", "prices: x",
	"metrcs: []", "dir: h\nregions: [us-east-1]", "dir: h\n\tjob: x", "dir: [", "dir: a\ndir: b", "dir: a\n---\ndir: b", "defaults: {external_id: \"${NOPE}\"}",
	"only a text", "[a, b]", "5", "? [a]\n: b", "dir: &a h\njob: *b", "\"dir\": h\n<<: {format: xml}", "JOB: x", "max-cost: 5", "dir: !!binary x", "accounts: !000 00000000000", "accounts: !!str x", "job: !x y", "max_cost: .inf", "max_cost: 1_000", "concurrency: 0x10",
	"period: 5 parsecs\nsettle: x\nrange: tomorrow", "concurrency: 0\nperiod: 90\nmax_cost: -1",
}
