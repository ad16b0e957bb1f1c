package main

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"cwharvest/store/record"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var (
	codeSpan = regexp.MustCompile("(?s)`([^`]+)`")
	longFlag = regexp.MustCompile(`(?:^|[\s\[(])--([a-z][a-z0-9-]*)`)
	command  = regexp.MustCompile(`(?:^|[\s/])cwharvest ([a-z]+)\b`)
)

// snippets are the code of a document: its blocks' lines, continued ones joined,
// and its spans.
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

// others are programs whose flags are not ours.
var others = regexp.MustCompile(`^(useradd|systemctl|docker|aws|ssh|sbatch|duckdb|python) `)

// mentioned returns the subcommands that a document's code names, and what it
// names that is not there.
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

func TestDocumentsNameWhatExists(t *testing.T) {
	for _, name := range []string{"README.md", "CHANGELOG.md"} {
		names, missing := mentioned(newRoot(), readDocument(t, "../../"+name))
		for _, code := range missing {
			t.Errorf("%s: %q: there is no such command or flag", name, code)
		}
		for _, c := range newRoot().Commands() {
			if name == "README.md" && !c.Hidden && !slices.Contains(names, c.Name()) {
				t.Errorf("%s does not mention cwharvest %s", name, c.Name())
			}
		}
	}
}

var makeTarget = regexp.MustCompile(`^make ([a-z-]+)`)

// What the documents have make do, it does; what it does is told at its head.
func TestMakeDoesWhatIsTold(t *testing.T) {
	makefile := readDocument(t, "../../Makefile")
	for _, name := range []string{"README.md", "CHANGELOG.md"} {
		found := 0
		for _, code := range snippets(readDocument(t, "../../"+name)) {
			m := makeTarget.FindStringSubmatch(code)
			if m == nil {
				continue
			}
			found++
			if !strings.Contains(makefile, "\n"+m[1]+":") || !strings.Contains(makefile, "# make "+m[1]+" ") {
				t.Errorf("%s: %q: the Makefile has no such target, or does not tell of it", name, code)
			}
		}
		if found == 0 {
			t.Errorf("%s has nothing for make", name)
		}
	}
}

// TestStatusIsDocumented holds the README to the fields of `status --json`.
func TestStatusIsDocumented(t *testing.T) {
	_, text, found := strings.Cut(readDocument(t, "../../README.md"), "\n`cwharvest status --json` prints")
	text, _, ended := strings.Cut(text, "\n\n")
	if !found || !ended {
		t.Fatal("README.md does not tell of status --json")
	}
	words := strings.FieldsFunc(text, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) })
	for f := range reflect.TypeFor[record.Status]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && !slices.Contains(words, name) {
			t.Errorf("README.md does not tell of %s", name)
		}
	}
}

func TestMentionedFindsWhatIsMissing(t *testing.T) {
	for text, want := range map[string]int{
		"`cwharvest run --listen x`": 0, "`cwharvest run --lisen x`": 1, "`cwharvest ruin`": 1, "`--keep 90d`": 0, "`--kep`": 1,
		"`status --json`": 0, "`status --keep`": 1, "    cwharvest plan -c x   # what --it costs\n": 0, "    cwharvest run \\\n        --nix\n": 1,
		"```sh\n/usr/local/bin/cwharvest verify --nix\n```\n": 1, "cwharvest nix, not code": 0, "`ssh --nix`": 0,
	} {
		if _, missing := mentioned(newRoot(), text); len(missing) != want {
			t.Errorf("%q: %q", text, missing)
		}
	}
}
