package main

import (
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"cwharvest/cmd/cwharvest/docs"
	"cwharvest/store/record"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var (
	codeSpan = regexp.MustCompile("(?s)`([^`]+)`")
	longFlag = regexp.MustCompile(`(?:^|[\s\[(])--([a-z][a-z0-9-]*)`)
	command  = regexp.MustCompile(`(?:^|[\s/])cwharvest ([a-z]+)\b`)
)

// snippets returns the code of a document: the lines of its blocks, with
// continued lines joined, and its spans.
func snippets(text string) (found []string) {
	var prose strings.Builder
	inside := false
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		switch {
		case strings.HasPrefix(line, "```"):
			inside = !inside
		case inside || strings.HasPrefix(line, "    "):
			code, _, _ := strings.Cut(line, " # ")
			found = append(found, strings.TrimSpace(code))
		default:
			prose.WriteString(line)
		}
	}
	for _, span := range codeSpan.FindAllStringSubmatch(prose.String(), -1) {
		found = append(found, strings.Join(strings.Fields(span[1]), " "))
	}
	return found
}

// others matches commands of other programs, which have their own flags.
var others = regexp.MustCompile(`^(useradd|systemctl|docker|aws|ssh|sbatch|duckdb|python) `)

// mentioned returns the subcommands in the code of a document, and the snippets
// with a command, flag or topic that does not exist.
func mentioned(root *cobra.Command, text string) (names, missing []string) {
	commands, all := map[string]*cobra.Command{}, map[string]bool{"help": true}
	for _, c := range root.Commands() {
		commands[c.Name()] = c
		c.Flags().VisitAll(func(f *pflag.Flag) { all[f.Name] = true })
	}
	for _, code := range snippets(text) {
		if others.MatchString(code) {
			continue
		}
		known := func(flag string) bool { return all[flag] }
		name, _, _ := strings.Cut(code, " ")
		if m := command.FindStringSubmatch(code); m != nil && (strings.HasPrefix(code, "cwharvest ") || strings.Contains(code, "/cwharvest ") || strings.HasPrefix(code, "$ ")) {
			name = m[1]
			if name == "help" {
				if of := strings.Fields(code)[2]; docs.Markdown(of) == "" && of != "TOPIC" {
					missing = append(missing, code)
				}
				continue
			}
			if commands[name] == nil {
				missing = append(missing, code)
				continue
			}
		}
		if c := commands[name]; c != nil { // also `status --json`, without the program's name
			names = append(names, name)
			known = func(flag string) bool { return flag == "help" || c.Flags().Lookup(flag) != nil }
		}
		for _, flag := range longFlag.FindAllStringSubmatch(code, -1) {
			if !known(flag[1]) {
				missing = append(missing, code)
			}
		}
	}
	return names, missing
}

// documents returns the paths of README, CHANGELOG and the manual.
func documents(t *testing.T) []string {
	t.Helper()
	manual, err := filepath.Glob("docs/*.md")
	if err != nil || len(manual) != len(docs.Topics) {
		t.Fatalf("docs has %d pages for %d topics: %v", len(manual), len(docs.Topics), err)
	}
	return append(manual, "../../README.md", "../../CHANGELOG.md")
}

// TestDocumentsNameWhatExists proves that documents name only existing commands and
// flags, and that README or the manual names each command.
func TestDocumentsNameWhatExists(t *testing.T) {
	documented := map[string]bool{}
	for _, path := range documents(t) {
		names, missing := mentioned(newRoot(), readDocument(t, path))
		for _, code := range missing {
			t.Errorf("%s: %q: there is no such command or flag", path, code)
		}
		for _, name := range names {
			documented[name] = documented[name] || !strings.HasSuffix(path, "CHANGELOG.md")
		}
	}
	for _, c := range newRoot().Commands() {
		if !c.Hidden && !documented[c.Name()] {
			t.Errorf("neither README.md nor the manual mentions cwharvest %s", c.Name())
		}
	}
}

// TestCommandLinesParse proves that every command line without a placeholder in a document parses.
func TestCommandLinesParse(t *testing.T) {
	found := 0
	for _, path := range documents(t) {
		for _, code := range snippets(readDocument(t, path)) {
			code, _, _ = strings.Cut(code, " > ")
			if !strings.HasPrefix(code, "cwharvest ") || strings.HasPrefix(code, "cwharvest help ") || regexp.MustCompile(`[A-Z]{3}|\|`).MatchString(strings.ReplaceAll(code, "CPUUtilization", "")) {
				continue
			}
			found++
			parsed(t, strings.Fields(code)[1:])
		}
	}
	if found < 20 {
		t.Errorf("%d command lines", found)
	}
}

// TestReadmeIsShort proves that README is short and lists every package and topic.
func TestReadmeIsShort(t *testing.T) {
	text := readDocument(t, "../../README.md")
	if n := strings.Count(text, "\n"); n > 200 {
		t.Errorf("README.md has %d lines", n)
	}
	for name := range mayImport {
		name = strings.TrimPrefix(name, "cwharvest/")
		if !strings.Contains(text, "`"+name+"`") && !strings.Contains(text, "`"+strings.TrimPrefix(name, "cmd/cwharvest/")+"`") {
			t.Errorf("README.md does not mention the package %s", name)
		}
	}
	for _, topic := range docs.Topics {
		if !strings.Contains(text, "| ["+topic.Name+"](cmd/cwharvest/docs/"+topic.Name+".md) | "+topic.Short+" |") {
			t.Errorf("README.md does not list %s: %s", topic.Name, topic.Short)
		}
	}
}

var makeTarget = regexp.MustCompile(`^make ([a-z-]+)`)

// TestMakeTargetsExist proves that every make target in a document exists and is described in the Makefile.
func TestMakeTargetsExist(t *testing.T) {
	makefile := readDocument(t, "../../Makefile")
	found := 0
	for _, path := range documents(t) {
		for _, code := range snippets(readDocument(t, path)) {
			m := makeTarget.FindStringSubmatch(code)
			if m == nil {
				continue
			}
			found++
			if !strings.Contains(makefile, "\n"+m[1]+":") || !strings.Contains(makefile, "# make "+m[1]+" ") {
				t.Errorf("%s: %q: the Makefile has no such target, or does not describe it", path, code)
			}
		}
	}
	if found < 12 {
		t.Errorf("%d commands for make", found)
	}
}

// TestStatusIsDocumented proves that the manual mentions every field of `status --json`.
func TestStatusIsDocumented(t *testing.T) {
	_, text, found := strings.Cut(docs.Markdown("operations"), "\n`cwharvest status --json` prints")
	text, _, ended := strings.Cut(text, "\n\n")
	if !found || !ended {
		t.Fatal("operations.md does not describe status --json")
	}
	words := strings.FieldsFunc(text, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) })
	for f := range reflect.TypeFor[record.Status]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && !slices.Contains(words, name) {
			t.Errorf("operations.md does not mention %s", name)
		}
	}
}

// TestReportsAreDocumented proves that the manual mentions every field of the reports that commands print with --json.
func TestReportsAreDocumented(t *testing.T) {
	_, text, _ := strings.Cut(docs.Markdown("output"), "\n## Commands as JSON")
	fields := func(of reflect.Type) {
		for f := range of.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && !strings.Contains(text, "`"+name+"`") {
				t.Errorf("output.md does not mention %s of %s", name, of)
			}
		}
	}
	for _, report := range []any{
		verified{}, verifiedProblem{}, exported{}, repaired{}, repairedJob{}, pruned{}, prunedJob{},
		definition{}, definedTable{}, table{}, column{}, planReport{}, checkup{}, Finding{},
	} {
		fields(reflect.TypeOf(report))
	}
}

// TestMentionedFindsWhatIsMissing proves that mentioned finds each unknown command, flag and topic.
func TestMentionedFindsWhatIsMissing(t *testing.T) {
	for text, want := range map[string]int{
		"`cwharvest run --listen x`": 0, "`cwharvest run --lisen x`": 1, "`cwharvest ruin`": 1, "`--keep 90d`": 0, "`--kep`": 1,
		"`cwharvest help output`": 0, "`cwharvest help outptu`": 1, "`status --json`": 0, "`status --keep`": 1, "    cwharvest plan -c x   # what --it costs\n": 0, "    cwharvest run \\\n        --nix\n": 1,
		"```sh\n/usr/local/bin/cwharvest verify --nix\n```\n": 1, "cwharvest nix, not code": 0, "`ssh --nix`": 0,
	} {
		if _, missing := mentioned(newRoot(), text); len(missing) != want {
			t.Errorf("%q: %q", text, missing)
		}
	}
}
