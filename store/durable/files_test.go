package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// An operation is one method of Files, and the steps that it must take in a
// directory in which the files "old" and "_ready" and the directory "sub" exist.
type operation struct {
	do    func(f *Files, path func(string) string) error
	steps []string
}

var operations = map[string]operation{
	"write": {
		func(f *Files, path func(string) string) error { return f.Write(path("new"), []byte("new"), 0o600) },
		[]string{"create _new", "sync _new", "rename _new new", "syncdir ."},
	},
	"replace": {
		func(f *Files, path func(string) string) error { return f.Write(path("old"), []byte("new"), 0o600) },
		[]string{"create _old", "sync _old", "rename _old old", "syncdir ."},
	},
	"write new": {
		func(f *Files, path func(string) string) error {
			return f.WriteNew(path("new"), []byte("new"), 0o600)
		},
		[]string{"create _new-X", "sync _new-X", "link _new-X new", "syncdir .", "remove _new-X", "syncdir ."},
	},
	"publish": {
		func(f *Files, path func(string) string) error { return f.Publish(path("_ready"), path("new")) },
		[]string{"rename _ready new", "syncdir ."},
	},
	"remove": {
		func(f *Files, path func(string) string) error { return f.Remove(path("old")) },
		[]string{"remove old", "syncdir ."},
	},
	"remove again": {
		func(f *Files, path func(string) string) error { return f.Remove(path("missing")) },
		[]string{"remove missing", "syncdir ."},
	},
	"make directories": {
		func(f *Files, path func(string) string) error { return f.MakeDir(path("sub/a/b"), 0o700) },
		[]string{"syncdir .", "mkdir sub/a", "syncdir sub", "mkdir sub/a/b", "syncdir sub/a"},
	},
}

// prepare makes the directory for an operation, and a function for paths in it.
func prepare(t *testing.T) (path func(string) string) {
	t.Helper()
	dir := t.TempDir()
	path = func(name string) string { return filepath.Join(dir, name) }
	err := errors.Join(os.WriteFile(path("old"), []byte("old"), 0o600), os.WriteFile(path("_ready"), []byte("new"), 0o600), os.Mkdir(path("sub"), 0o700))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// describe writes a step with paths relative to the directory.
func describe(s Step, dir string) string {
	words := []string{s.Name, rel(s.Path, dir)}
	if s.To != "" {
		words = append(words, rel(s.To, dir))
	}
	return random.ReplaceAllString(strings.Join(words, " "), "-X")
}

// random matches the random part of a temporary file's name.
var random = regexp.MustCompile(`-[A-Z2-7]{8}`)

func rel(path, dir string) string {
	name, err := filepath.Rel(dir, path)
	if err != nil {
		return path
	}
	return name
}

func TestStepsAreInOrder(t *testing.T) {
	for name, op := range operations {
		path := prepare(t)
		var before, after []string
		f := &Files{Fault: func(s Step, done bool) error {
			if text := describe(s, path(".")); done {
				after = append(after, text)
			} else {
				before = append(before, text)
			}
			return nil
		}}
		if err := op.do(f, path); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.Equal(before, op.steps) {
			t.Errorf("%s: steps %q, want %q", name, before, op.steps)
		}
		// A removal of a missing file fails as a step, and nothing else does.
		if want := slices.DeleteFunc(slices.Clone(op.steps), func(s string) bool { return s == "remove missing" }); !slices.Equal(after, want) {
			t.Errorf("%s: done %q, want %q", name, after, want)
		}
	}
}

// TestStepsFailBothWays fails each step of each operation: once before it is done,
// and once after it. The operation must return the error and take no step that
// relies on the failed one. Done again, it must succeed.
func TestStepsFailBothWays(t *testing.T) {
	failure := errors.New("failed by the test")
	for name, op := range operations {
		for at, step := range op.steps {
			for _, after := range []bool{false, true} {
				if step == "remove missing" && after {
					continue
				}
				path := prepare(t)
				n, published := 0, false
				f := &Files{Fault: func(s Step, done bool) error {
					if !done {
						n++
						published = published || n > at+1 && (s.Name == "rename" || s.Name == "link")
					}
					if n == at+1 && done == after {
						return failure
					}
					return nil
				}}
				if err := op.do(f, path); !errors.Is(err, failure) {
					t.Errorf("%s, %s (after: %v): error %v", name, step, after, err)
				}
				if published {
					t.Errorf("%s, %s (after: %v): published after the failure", name, step, after)
				}
				checkWhole(t, path, name+", "+step)
				again := op.do(&Files{}, path)
				if again != nil && !errors.Is(again, fs.ErrExist) && !errors.Is(again, fs.ErrNotExist) {
					t.Errorf("%s, %s (after: %v): again: %v", name, step, after, again)
				}
			}
		}
	}
}

// checkWhole checks that a failed operation left no incomplete file under a name
// that is not temporary.
func checkWhole(t *testing.T, path func(string) string, what string) {
	t.Helper()
	for _, name := range []string{"old", "new"} {
		text, err := os.ReadFile(path(name))
		if err == nil && string(text) != "old" && string(text) != "new" {
			t.Errorf("%s: %s holds %q", what, name, text)
		}
	}
}

// TestFailedContentIsNotPublished keeps the old file when its new content cannot be
// produced.
func TestFailedContentIsNotPublished(t *testing.T) {
	path := prepare(t)
	failure := errors.New("no content")
	err := new(Files).WriteBy(path("old"), 0o600, func(w io.Writer) error {
		_, err := io.WriteString(w, "half")
		return errors.Join(err, failure)
	})
	text, readErr := os.ReadFile(path("old"))
	if !errors.Is(err, failure) || string(text) != "old" || readErr != nil {
		t.Errorf("%v; then %q, %v", err, text, readErr)
	}
}

func TestWriteNewKeepsTheFirst(t *testing.T) {
	path := prepare(t)
	err := new(Files).WriteNew(path("old"), []byte("new"), 0o600)
	text, readErr := os.ReadFile(path("old"))
	if !errors.Is(err, fs.ErrExist) || string(text) != "old" || readErr != nil {
		t.Errorf("%v; then %q, %v", err, text, readErr)
	}
	if left, err := filepath.Glob(path("_old*")); len(left) > 0 || err != nil {
		t.Errorf("temporary files were not removed: %q, %v", left, err)
	}
}

// TestWriteNewWithoutHardLinks simulates a file system without hard links.
func TestWriteNewWithoutHardLinks(t *testing.T) {
	path := prepare(t)
	f := &Files{Fault: func(s Step, _ bool) error {
		if s.Name == "link" {
			return errors.ErrUnsupported
		}
		return nil
	}}
	if err := f.WriteNew(path("new"), []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path("new")); string(text) != "new" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if err := f.WriteNew(path("new"), []byte("other"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("again: %v", err)
	}
}

// TestFoundDirectoryIsSyncedOnce saves the sync of each later call for a directory
// that exists.
func TestFoundDirectoryIsSyncedOnce(t *testing.T) {
	path := prepare(t)
	syncs := 0
	f := &Files{Fault: func(_ Step, done bool) error {
		if !done {
			syncs++
		}
		return nil
	}}
	for range 3 {
		if err := f.MakeDir(path("sub"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if syncs != 1 {
		t.Errorf("%d steps, want 1", syncs)
	}
}
