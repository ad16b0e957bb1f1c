package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// benchTable holds the measured figures in their order.
type benchTable struct{ rows []*figure }

type figure struct{ what, value, wanted string }

func (t *benchTable) add(what, format string, values ...any) *figure {
	f := &figure{what: what, value: fmt.Sprintf(format, values...)}
	t.rows = append(t.rows, f)
	return f
}

func (f *figure) target(text string) { f.wanted = text }

func (t *benchTable) String() string {
	var b strings.Builder
	b.WriteString(machine() + "\n\n| | measured | target |\n|---|---|---|\n")
	for _, f := range t.rows {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", f.what, f.value, f.wanted)
	}
	return b.String()
}

// machine describes the date, commit and machine of the figures.
func machine() string {
	model := fileMatch("/proc/cpuinfo", `model name\s*: (.*)`)
	kernel := fileMatch("/proc/sys/kernel/osrelease", `([0-9.]+)`)
	memory := 0
	fmt.Sscan(fileMatch("/proc/meminfo", `MemTotal:\s*(\d+)`), &memory) // kB; 0 on systems other than Linux
	commit, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	return fmt.Sprintf("%s: commit %s, %s, %d cores, %d GB, %s %s, %s.", time.Now().UTC().Format(time.DateOnly), bytes.TrimSpace(commit),
		model, runtime.NumCPU(), memory>>20, runtime.GOOS, kernel, runtime.Version())
}

// fileMatch returns the first submatch in a file, or "" if nothing matches.
func fileMatch(path, expression string) string {
	data, err := os.ReadFile(path)
	if match := regexp.MustCompile(expression).FindSubmatch(data); err == nil && match != nil {
		return string(match[1])
	}
	return ""
}

// These two lines enclose the table in a document.
const tableBegins, tableEnds = "<!-- make bench: begin -->\n", "<!-- make bench: end -->\n"

// replaceIn replaces the table of a document.
func (t *benchTable) replaceIn(document string) error {
	data, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(data), tableBegins)
	_, after, ends := strings.Cut(rest, tableEnds)
	if !found || !ends {
		return fmt.Errorf("%s has no table between %q and %q", document, tableBegins, tableEnds)
	}
	return os.WriteFile(document, []byte(before+tableBegins+t.String()+tableEnds+after), 0o666)
}

// TestTableReplacesAnother proves that a new table replaces only the old one.
func TestTableReplacesAnother(t *testing.T) {
	path := t.TempDir() + "/README.md"
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	figures := &benchTable{}
	figures.add("speed", "%d", 7).target("at most 8")
	write("before\n" + tableBegins + "old\n" + tableEnds + "after\n")
	for range 2 {
		if err := figures.replaceIn(path); err != nil {
			t.Fatal(err)
		}
	}
	text := readDocument(t, path)
	if !strings.HasPrefix(text, "before\n") || !strings.HasSuffix(text, tableEnds+"after\n") || strings.Contains(text, "old") ||
		strings.Count(text, "| speed | 7 | at most 8 |\n") != 1 {
		t.Error(text)
	}
	write("no table\n")
	if err := figures.replaceIn(path); err == nil || readDocument(t, path) != "no table\n" {
		t.Errorf("a document without a table was changed: %v", err)
	}
}
