package config

import (
	"bytes"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func anyEnv(string) (string, bool) { return "x1", true }

func loadSchema(t *testing.T) func(text string) error {
	t.Helper()
	schema, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("harvest.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("harvest.json")
	if err != nil {
		t.Fatal(err)
	}
	return func(text string) error {
		data, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			return err
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			return err
		}
		return compiled.Validate(value)
	}
}

func valid(text string) error {
	s, err := Parse("f.yaml", []byte(text), anyEnv)
	if err != nil {
		return err
	}
	return s.Validate()
}

var commented = regexp.MustCompile(`(?m)^#([a-z]|  -)`)

// TestInitialHolds checks that the file of init is valid as it is, with each
// commented setting, and with all of them.
func TestInitialHolds(t *testing.T) {
	check := loadSchema(t)
	texts := []string{Initial, commented.ReplaceAllString(Initial, "$1")}
	lines := strings.Split(Initial, "\n")
	for i, line := range lines {
		if !commented.MatchString(line) || strings.HasPrefix(line, "#  ") && strings.HasPrefix(lines[i-1], "#") {
			continue
		}
		one := append([]string{}, lines...)
		one[i] = line[1:]
		for j := i + 1; strings.HasPrefix(lines[j], "#  "); j++ {
			one[j] = lines[j][1:]
		}
		texts = append(texts, strings.Join(one, "\n"))
	}
	if len(texts) < 20 {
		t.Errorf("only %d texts", len(texts))
	}
	for _, text := range texts {
		if err := valid(text); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
		if err := check(text); err != nil {
			t.Errorf("schema: %v\n%s", err, text)
		}
	}
	for f := range documentType.Fields() {
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if !strings.Contains(Initial, "\n"+key+":") && !strings.Contains(Initial, "\n#"+key+":") {
			t.Errorf("%s is not in the file", key)
		}
	}
	s, _ := Parse("f", []byte(Initial), noEnv)
	d := Default()
	s.position, s.line = nil, nil
	if !reflect.DeepEqual(s, d) {
		t.Errorf("as it is: %+v\nwant the default: %+v", s, d)
	}
}

func TestSchemaTakesTheExamples(t *testing.T) {
	check := loadSchema(t)
	manual, err := os.ReadFile("../../cmd/cwharvest/docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(manual), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	data, _ := os.ReadFile("testdata/harvest.yaml")
	for _, text := range []string{example, string(data), "period: 300", "period: 5s", "period: \"60\"", "period: 1m 60s", "period: \"0300\"", "range: 7d", "range: 2026-11-01", "max_cost: ${COST}",
		"defaults: {session_duration: auto, regions: enabled}", "{part_size: 1GiB, spool_limit: 2GiB}"} {
		if err := valid(text); err != nil && !strings.Contains(text, "${COST}") {
			t.Errorf("%v\n%s", err, text)
		}
		if err := check(text); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
}

func TestSchemaAndParserRefuse(t *testing.T) {
	check := loadSchema(t)
	for _, text := range []string{
		"metrcs: []", "accounts: [{idd: x}]", "format: xml", "compression: rar", "period: 5 parsecs", "period: -5", "period: 5", "period: 0", "period: \"59\"", "period: 90", "period: 100000", "period: \" 5 \"", "period: \"0005\"", "settle: x", "range: tomorrow",
		"range: {last: 24h, from: 2026-11-01}", "range: {from: 2026-11-01}", "range: {lst: 1h}", "range: [1]", "concurrency: 0", "concurrency: x",
		"max_in_flight: 2000", "quota_share: 1001", "part_size: big", "max_cost: -1", "strict_period: perhaps", "api: x", "protocol: soap",
		"accounts: [{id: \"1234\"}]", "accounts: {}\n", "defaults: {role_arn: x}", "defaults: {regions: [useast1]}", "instances: {sources: [disk]}",
		"instances: {states: [runing]}", "instances: {monitoring: maybe}", "tolerate: [{account: \"1\", until: 2027-01-31}]",
		"tolerate: [{account: \"111122223333\", until: soon}]", "metrics: [{namespace: \":ab\", names: [x], statistics: [Sum], dimensions: [D]}]",
		"job: [a]", "prices: {list_metrics: -1}", "accounts: [{organization: {ous: [x]}}]", "accounts: [{organization: {exclude: [x]}}]", "s3: {role_arn: x}",
	} {
		if valid(text) == nil {
			t.Errorf("the parser takes %s", text)
		}
		if check(text) == nil {
			t.Errorf("the schema takes %s", text)
		}
	}
}
