package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"cwharvest/cmd/cwharvest/docs"
	"cwharvest/pipeline/awssim"
	"cwharvest/pipeline/config"
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
