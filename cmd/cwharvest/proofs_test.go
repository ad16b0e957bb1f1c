package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// proofsVariable makes long proofs run in full.
const proofsVariable = "CWHARVEST_PROOFS"

// proving reports whether long proofs run in full, as `make proofs` does on a
// machine that does nothing else. Otherwise each runs a short slice, which checks
// the same rows and counts but neither rates nor durations: those judge the
// machine as well.
func proving() bool { return os.Getenv(proofsVariable) != "" }

// sized returns the size of a proof.
func sized[T any](slice, full T) T {
	if proving() {
		return full
	}
	return slice
}

// besideOthers lets a slice run in parallel with other tests. In full it has the
// machine to itself.
func besideOthers(t *testing.T) {
	t.Helper()
	if !proving() {
		t.Parallel()
	}
}

// needsProcesses skips a test in short mode, which leaves out all that runs the
// program as processes of its own.
func needsProcesses(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs the program as processes of its own")
	}
}

// hangAfter is how long a test waits for an event that usually comes at once. It
// catches a hang; it does not judge the machine.
const hangAfter = 5 * time.Minute

var (
	proofLine = regexp.MustCompile(`(?m)^proof_[a-z]+ *= (.*)$`)
	testFunc  = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

// TestProofsAreComplete proves that every test with a slice belongs to a proof of
// the Makefile, and every proof names existing tests.
func TestProofsAreComplete(t *testing.T) {
	var listed []string
	for _, line := range proofLine.FindAllStringSubmatch(readDocument(t, "../../Makefile"), -1) {
		listed = append(listed, strings.Split(line[1], "|")...)
	}
	paths, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, path := range paths {
		text := readDocument(t, path)
		starts := testFunc.FindAllStringSubmatchIndex(text, -1)
		for i, at := range starts {
			end := len(text)
			if i+1 < len(starts) {
				end = starts[i+1][0]
			}
			name, body := text[at[2]:at[3]], text[at[0]:end]
			all = append(all, name)
			if strings.Contains(body, "besideOthers(t)") && path != "proofs_test.go" && !slices.Contains(listed, name) {
				t.Errorf("%s has a slice and is in no proof of the Makefile", name)
			}
		}
	}
	for _, name := range listed {
		if !slices.Contains(all, name) {
			t.Errorf("the Makefile names %s, which does not exist", name)
		}
	}
}
