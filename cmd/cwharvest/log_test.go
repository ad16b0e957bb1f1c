package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Beside the display of a terminal the log has times of day, and none of it is in
// the way when there is a file for it, but warnings.
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
			if before, after, found := strings.Cut(line, " "); found && len(before) == len("time=15:04:05") {
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
