// Package golden compares texts with files, for tests. With the flag -update it writes the files instead.
package golden

import (
	"flag"
	"os"
	"strings"
	"testing"
)

// Update reports whether the test writes the files: go test -run Golden -update.
func Update() bool { return *update }

var update = flag.Bool("update", false, "write the golden files")

// Compare fails the test at the first line of got that differs from the file.
func Compare(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Fatalf("%s:%d\n got %s\nwant %s", path, i+1, g[i], w[i])
		}
	}
	if len(g) != len(w) {
		t.Errorf("%s has %d lines; got %d", path, len(w), len(g))
	}
}
