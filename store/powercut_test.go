package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cwharvest/store/durable"
)

// forgetful tracks the content that a directory would have after a power cut:
// names as of the last fsync of their directory, contents as of the last fsync of
// their file. bbolt syncs its own file with each commit, so that its content is
// never behind. It watches the durable steps and keeps its state in memory.
type forgetful struct {
	root     string
	contents map[uint64][]byte            // by inode
	names    map[string]map[string]uint64 // of a directory, relative to root; 0: a directory
}

func newForgetful(root string) *forgetful {
	return &forgetful{root: root, contents: map[uint64][]byte{}, names: map[string]map[string]uint64{}}
}

// watch takes note of a step that is done.
func (m *forgetful) watch(s durable.Step) error {
	switch s.Name {
	case "create":
		delete(m.contents, inode(s.Path)) // truncated
	case "sync":
		data, err := os.ReadFile(s.Path)
		m.contents[inode(s.Path)] = data
		return err
	case "syncdir":
		rel, err := filepath.Rel(m.root, s.Path)
		if err != nil {
			return err
		}
		entries, err := os.ReadDir(s.Path)
		m.names[rel] = map[string]uint64{}
		for _, e := range entries {
			ino := inode(filepath.Join(s.Path, e.Name()))
			if e.IsDir() {
				m.names[rel][e.Name()] = 0
			} else if ino != 0 { // else renamed meanwhile
				m.names[rel][e.Name()] = ino
			}
		}
		return err
	}
	return nil
}

func inode(path string) uint64 {
	var s syscall.Stat_t
	if syscall.Stat(path, &s) != nil {
		return 0
	}
	return s.Ino
}

// survivors writes the content after a power cut to another directory.
func (m *forgetful) survivors(to string) error {
	databases := map[uint64][]byte{}
	for _, pattern := range []string{"jobs/*.db"} {
		paths, err := filepath.Glob(filepath.Join(m.root, pattern))
		if err != nil {
			return err
		}
		for _, path := range paths {
			if databases[inode(path)], err = os.ReadFile(path); err != nil {
				return err
			}
		}
	}
	return m.survive(".", to, databases)
}

func (m *forgetful) survive(dir, to string, databases map[uint64][]byte) (err error) {
	for name, ino := range m.names[dir] {
		path := filepath.Join(to, dir, name)
		switch {
		case ino == 0:
			err = errors.Join(os.Mkdir(path, 0o777), m.survive(filepath.Join(dir, name), to, databases))
		case strings.HasSuffix(name, ".db"):
			err = os.WriteFile(path, databases[ino], 0o600)
		default:
			err = os.WriteFile(path, m.contents[ino], 0o666)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var errPowerCut = errors.New("the power is gone")

// Whenever the power goes, and whatever was not synced is forgotten, a later
// attempt brings every row, once.
func TestEveryRowOnceAfterAPowerCut(t *testing.T) {
	t.Parallel()
	for nth := 0; ; nth++ {
		f := newFixture(t, 9)
		left := t.TempDir()
		disk, seen := newForgetful(f.path), 0
		f.fault = func(s durable.Step, after bool) error {
			if seen > nth {
				return errPowerCut
			}
			if after {
				return disk.watch(s)
			}
			if seen++; seen <= nth {
				return nil
			}
			if job := f.job; job != nil { // a commit on its way is not cut in two
				job.mu.Lock()
				defer job.mu.Unlock()
			}
			return errors.Join(errPowerCut, disk.survivors(left))
		}
		err := f.attempt(false)
		if seen <= nth {
			if err != nil || nth < 40 {
				t.Fatalf("%d durable steps, %v", nth, err)
			}
			t.Logf("the power was cut at %d steps", nth)
			return
		}
		if !errors.Is(err, errPowerCut) {
			t.Fatalf("step %d: %v", nth, err)
		}
		f.fault, f.job = nil, nil
		f.moveTo(left)
		if err := f.attempt(false); err != nil {
			t.Fatalf("step %d, second attempt: %v", nth, err)
		}
		f.check()
	}
}
