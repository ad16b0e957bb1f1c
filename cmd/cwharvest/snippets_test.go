package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cwharvest/cmd/cwharvest/docs"
	"cwharvest/pipeline/awssim"
	"cwharvest/pipeline/config"
	"cwharvest/store/record"
)

// otherLanguages are the languages of blocks that tests of their own read.
var otherLanguages = map[string]bool{
	"sh": true, "sql": true, // TestReadmeWorks, TestQueriesOfDocuments
	"ini": true, "crontab": true, // TestServiceAndTimer, TestCronLine
	"python": true, // not run: it needs pandas, and the page says so
}

// TestBlocksOfDocuments parses every YAML block as harvest.yaml, except the one for Kubernetes, and holds the policies to those that
// the command policy prints.
func TestBlocksOfDocuments(t *testing.T) {
	policies := []document{permissions(new(config.Default())), trust("arn:aws:iam::999900001111:role/harvester", "x1")}
	for _, path := range documents(t) {
		for _, block := range fenced.FindAllStringSubmatch(readDocument(t, path), -1) {
			switch language, text := block[1], block[2]; {
			case language == "yaml" && !strings.HasPrefix(text, "apiVersion"):
				if _, err := config.Parse(path, []byte(text), func(string) (string, bool) { return "x", true }); err != nil {
					t.Errorf("%v\n%s", err, text)
				}
			case language == "yaml", language == "json" && strings.Contains(text, "retryStrategy"): // TestCronJob, TestBatchJobDefinition
			case language == "json":
				var got document
				d := json.NewDecoder(strings.NewReader(text))
				d.DisallowUnknownFields()
				if err := d.Decode(&got); err != nil || len(policies) == 0 || !reflect.DeepEqual(got, policies[0]) {
					t.Errorf("%s: %v\n%s\nwant one of %+v", path, err, text, policies)
				}
				policies = policies[min(1, len(policies)):]
			case !otherLanguages[language]:
				t.Errorf("%s: no test reads blocks of %s", path, language)
			}
		}
	}
}

// TestReadmeWorks proves that the steps of README.md work: it writes the harvest.yaml and runs every command, and the second night is
// the same command.
func TestReadmeWorks(t *testing.T) {
	n := readmeNight(t)
	if text := n.follow("doctor", "plan", "run", "status", "verify", "run"); !strings.Contains(text, " COMPLETE ") ||
		!strings.Contains(text, ": all agree") || !strings.Contains(text, "nothing due: yesterday is finished") {
		t.Error(text)
	}
}

// readmeNight serves the simulated AWS that README.md starts, and writes the harvest.yaml of README.md.
func readmeNight(t *testing.T) *night {
	n := newNight(t, awssim.Config{Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}, Instances: 20},
		5*time.Minute, 1, nil, nil, "")
	settings := blocks(readDocument(t, "../../README.md"), "yaml")
	if len(settings) != 1 {
		t.Fatalf("README.md has %d blocks of YAML", len(settings))
	}
	if err := os.WriteFile(filepath.Join(n.dir, "harvest.yaml"), []byte(settings[0]), 0o666); err != nil {
		t.Fatal(err)
	}
	return n
}

// follow runs the command lines of README.md, which must be these commands, and returns their output.
func (n *night) follow(want ...string) string {
	n.Helper()
	var all strings.Builder
	for line := range strings.Lines(strings.Join(blocks(readDocument(n.T, "../../README.md"), "sh"), "")) {
		line, _, _ = strings.Cut(line, " #")
		args := strings.Fields(line)[1:]
		if len(want) == 0 || args[0] != want[0] {
			n.Fatalf("README.md has %q, want %q", args, want)
		}
		want = want[1:]
		c, output := n.command(args...)
		if err := c.Run(); err != nil {
			n.Fatalf("%q: %v\n%s", args, err, output)
		}
		all.Write(output.Bytes())
	}
	if len(want) > 0 {
		n.Fatalf("README.md does not run %q", want)
	}
	return all.String()
}

// TestWorkedExamples runs every file of the topic metrics. The run requests and pays for what plan says, and gets every datapoint of the
// simulated AWS.
func TestWorkedExamples(t *testing.T) {
	examples := blocks(docs.Markdown("metrics"), "yaml")
	if len(examples) != 6 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, example := range examples {
		s, err := config.Parse("harvest.yaml", []byte(example), os.LookupEnv)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(s.Metrics[0].Namespace, func(t *testing.T) {
			t.Parallel()
			n := newNight(t, awssim.Config{Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}, Instances: 40},
				s.Period, 1, nil, nil, "")
			if err := os.WriteFile(filepath.Join(n.dir, "harvest.yaml"), []byte(example), 0o666); err != nil {
				t.Fatal(err)
			}
			n.checkExample(&s)
			if s.Metrics[0].Namespace != "AWS/S3" {
				return
			}
			if text := n.run("--settle", "30m", "--dir", "early"); !strings.Contains(text, " 0 done 16 empty ") {
				t.Errorf("with the default settle:\n%s", text)
			}
		})
	}
}

// checkExample compares the plan of an example, its calls and its rows.
func (n *night) checkExample(s *config.Config) {
	n.Helper()
	c, output := n.command("plan", "-c", "harvest.yaml", "--json")
	if err := c.Run(); err != nil {
		n.Fatalf("plan: %v\n%s", err, output)
	}
	var plan planReport
	if err := json.Unmarshal(output.Bytes()[strings.IndexByte(output.String(), '{'):], &plan); err != nil {
		n.Fatal(err)
	}
	before := n.sim.Stats()
	n.run()
	now := n.sim.Stats()
	calls := func(name string) int64 {
		return int64(now.Calls["monitoring."+name] - before.Calls["monitoring."+name])
	}
	if billed := int64(now.BilledMetrics); billed != plan.Series || calls("GetMetricData") != plan.Requests || calls("ListMetrics") != plan.Discovery {
		n.Errorf("%d metrics billed, %d and %d calls; planned %d, %d and %d", billed, calls("GetMetricData"), calls("ListMetrics"),
			plan.Series, plan.Requests, plan.Discovery)
	}
	if usd := float64(int64(now.BilledMetrics)+calls("ListMetrics")) / 1000 * 0.01; usd < plan.CostUSD-1e-9 || usd > plan.CostUSD+1e-9 {
		n.Errorf("cost %v USD, planned %v", usd, plan.CostUSD)
	}
	status, err := record.ReadStatus(filepath.Join(n.dir, filepath.Base(s.Dir)))
	if err != nil {
		n.Fatal(err)
	}
	if rows := n.expectedRows(s, plan.Range.Start); status.Rows != rows || rows == 0 {
		n.Errorf("%d rows, want %d", status.Rows, rows)
	}
	n.Logf("%d series, %d requests, %d ListMetrics, $%.5f, %d rows", plan.Series, plan.Requests, plan.Discovery, plan.CostUSD, status.Rows)
}

// expectedRows counts the datapoints that the simulated AWS has for an example in the day after a time.
func (n *night) expectedRows(s *config.Config, start time.Time) (rows int64) {
	for i := range s.Metrics {
		m := &s.Metrics[i]
		names := slices.Sorted(slices.Values(m.Dimensions))
		if m.Namespace == "AWS/EC2" {
			names = []string{"InstanceId"}
		}
		for _, set := range n.config.Published("111122223333", "us-east-1", m.Namespace, names) {
			for _, name := range m.Names {
				for at := start; at.Before(start.AddDate(0, 0, 1)); at = at.Add(s.Period) {
					if _, ok := n.config.Datapoint("111122223333", "us-east-1", m.Namespace, name, set, m.Statistics[0], at, s.Period); ok && n.publishes(m.Namespace, name, set) {
						rows++
					}
				}
			}
		}
	}
	return rows
}

// publishes reports whether a bucket publishes a metric with the storage type of a set.
func (n *night) publishes(namespace, name, set string) bool {
	return namespace != "AWS/S3" || strings.HasSuffix(set, "=AllStorageTypes") == (name == "NumberOfObjects")
}

func TestHelpPrintsTopics(t *testing.T) {
	run := func(args ...string) (code int, stdout, stderr string) {
		var out, problems strings.Builder
		code = execute(args, &out, &problems)
		return code, out.String(), problems.String()
	}
	_, overview, _ := run("help")
	_, exits, _ := run("run", "--help")
	for _, topic := range docs.Topics {
		code, text, _ := run("help", topic.Name)
		if code != exitComplete || !strings.HasPrefix(text, strings.ToUpper(topic.Name)+"\n") || strings.Contains(text, "```") || strings.Contains(text, "\n|") {
			t.Errorf("help %s: exit %d\n%s", topic.Name, code, text)
		}
		if !strings.Contains(overview, topic.Name+" ") || !strings.Contains(overview, topic.Short) {
			t.Errorf("help does not list %s", topic.Name)
		}
	}
	for _, e := range exitTable {
		if !regexp.MustCompile(`(?m)^  ` + regexp.QuoteMeta(strconv.Itoa(e.code)) + ` .* ` + regexp.QuoteMeta(e.meaning) + `$`).MatchString(exits) {
			t.Errorf("run --help does not list %d: %s", e.code, e.meaning)
		}
	}
	if code, _, problem := run("help", "acounts"); code != exitUsage || !strings.Contains(problem, `did you mean "accounts"?`) {
		t.Errorf("exit %d: %s", code, problem)
	}
	if code, text, _ := run("help", "verify"); code != exitComplete || !strings.Contains(text, "cwharvest verify [DIR]") {
		t.Errorf("exit %d: %s", code, text)
	}
	for _, name := range []string{"completion", "man"} {
		if !strings.Contains(overview, "\n  "+name+" ") {
			t.Errorf("help does not list %s", name)
		}
	}
}

func TestManPages(t *testing.T) {
	dir := t.TempDir()
	if code := execute([]string{"man", dir}, os.Stdout, os.Stderr); code != exitComplete {
		t.Fatalf("exit %d", code)
	}
	for _, topic := range docs.Topics {
		page := readDocument(t, filepath.Join(dir, "man7", "cwharvest-"+topic.Name+".7"))
		if strings.Contains(page, ".TS") || strings.Count(page, ".SH ") < 3 || strings.Contains(page, "```") {
			t.Errorf("page of %s:\n%s", topic.Name, page)
		}
	}
	page := readDocument(t, filepath.Join(dir, "man1", "cwharvest-run.1"))
	for _, title := range []string{"EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"} {
		if strings.Count(page, ".SH "+title+"\n") != 1 {
			t.Errorf("cwharvest-run.1 has no section %s", title)
		}
	}
	for _, e := range exitTable {
		if !strings.Contains(page, ".TP\n\\fB"+strconv.Itoa(e.code)+"\\fP\n"+e.meaning) {
			t.Errorf("EXIT STATUS does not list %d: %s", e.code, e.meaning)
		}
	}
}
