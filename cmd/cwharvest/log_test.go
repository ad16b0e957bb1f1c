package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLogBesideTheDisplay proves that the log beside a terminal display has times
// of day, and shows only warnings when the log goes to a file.
func TestLogBesideTheDisplay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	for _, c := range []struct {
		flags        logFlags
		shown, filed string // lines, shortened
	}{
		{logFlags{format: "text", level: "info"}, "time=TIME level=INFO msg=one\ntime=TIME level=WARN msg=two\n", ""},
		{logFlags{format: "text", level: "info", file: file}, "time=TIME level=WARN msg=two\n", "level=INFO msg=one"},
		{logFlags{format: "json", level: "error", file: file}, "", ""},
	} {
		if err := os.RemoveAll(file); err != nil {
			t.Fatal(err)
		}
		var shown bytes.Buffer
		log, closeIt, err := c.flags.open(io.Discard, &progress{out: &shown, size: func() (int, int) { return 80, 24 }})
		if err != nil {
			t.Fatal(err)
		}
		log.Info("one")
		log.Warn("two")
		if err := closeIt(); err != nil {
			t.Error(err)
		}
		var lines strings.Builder
		for line := range strings.Lines(shown.String()) {
			if before, after, found := strings.Cut(line, " "); found && len(before) == len("time=15:04:05Z") {
				line = "time=TIME " + after
			}
			lines.WriteString(line)
		}
		if lines.String() != c.shown {
			t.Errorf("%+v shows\n%s", c.flags, &shown)
		}
		if filed, err := os.ReadFile(file); c.filed != "" && (err != nil || !strings.Contains(string(filed), c.filed)) {
			t.Errorf("%+v writes %q, %v", c.flags, filed, err)
		}
	}
}

// TestLogCutsReasons proves that a text log has the start and the end of a long reason, in at most 300 characters; a JSON log has all of it.
func TestLogCutsReasons(t *testing.T) {
	reason := "start " + strings.Repeat("é", 400) + " end"
	for format, whole := range map[string]bool{"text": false, "json": true} {
		var b bytes.Buffer
		log, _, err := (&logFlags{format: format, level: "info"}).open(&b, nil)
		if err != nil {
			t.Fatal(err)
		}
		log.Warn("x", "error", errors.New(reason), "other", reason)
		text := b.String()
		if strings.Count(text, reason) != map[bool]int{false: 1, true: 2}[whole] || strings.Count(text, " end\"") != 2 {
			t.Errorf("%s: %s", format, text)
		}
		if _, value, _ := strings.Cut(text, `error="`); !whole && len([]rune(value[:strings.Index(value, `"`)])) != mostReason {
			t.Errorf("%s", text)
		}
	}
}
