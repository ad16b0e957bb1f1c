package record

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cwharvest/store/durable"
	"cwharvest/store/place"

	bolt "go.etcd.io/bbolt"
)

// readPlanFile reads jobs/ID.json and checks it: anybody can write the JSON files
// beside a database, and their content becomes paths, indexes and lengths.
func readPlanFile(dir, id string) (s Plan, err error) {
	file := jobFile(dir, id, ".json")
	if err := ReadJSON(file, &s); err != nil {
		return s, err
	}
	if err := s.check(id); err != nil {
		return s, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// ErrNoJob reports a directory without a job.
var ErrNoJob = errors.New("no job there")

// Remote returns a place of output that is not a directory, such as a bucket. The
// place builds its objects in the directory temporary.
type Remote func(out, temporary string, files *durable.Files) (place.Place, error)

// Dir is a harvest directory on disk. It holds no lock.
type Dir struct {
	Path   string // absolute
	Files  durable.Files
	Remote Remote // nil: every place of output is a directory
}

// OpenDir returns the harvest directory at path; ErrNoJob if it has no jobs
// directory.
func OpenDir(path string, remote Remote) (*Dir, error) {
	if err := CheckExists(path); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(path)
	return &Dir{Path: path, Remote: remote}, err
}

// Place returns the place of a job's output.
func (d *Dir) Place(out string) (place.Place, error) {
	if !IsRemote(out) {
		return place.NewLocal(out, &d.Files), nil
	}
	if d.Remote == nil {
		return nil, fmt.Errorf("cannot reach %s: remote places are not set up", out)
	}
	return d.Remote(out, d.JobsPath(), &d.Files)
}

// IsRemote reports whether a place of output is a URL, not a directory.
func IsRemote(out string) bool { return strings.Contains(out, "://") }

// JobsPath returns the path of the jobs directory.
func (d *Dir) JobsPath() string { return filepath.Join(d.Path, "jobs") }

// JobFile returns the path of a job's file with a suffix, .db for example.
func (d *Dir) JobFile(id, suffix string) string { return jobFile(d.Path, id, suffix) }

// ReadPlan reads a job's plan from jobs/ID.json, with the absolute path of its output.
func (d *Dir) ReadPlan(id string) (s Plan, err error) {
	s, err = readPlanFile(d.Path, id)
	s.Out = ResolveOut(d.Path, s.Out)
	return s, err
}

// WasCreated reports whether a job has more files than its plan, which is written first.
func (d *Dir) WasCreated(id string) bool {
	for _, suffix := range []string{".db", ".manifest.json", ".summary.json"} {
		if _, err := os.Stat(d.JobFile(id, suffix)); err == nil {
			return true
		}
	}
	return false
}

// CheckFormat returns the *FormatError of a job that another version wrote, and
// ignores all other problems. It does not wait for a process that works on the
// job: that process has checked the format.
func (d *Dir) CheckFormat(id string) error {
	db, err := openDatabase(d.JobFile(id, ".db"), &bolt.Options{ReadOnly: true, Timeout: time.Millisecond})
	switch {
	case err == nil:
		return db.Close()
	case errors.As(err, new(*FormatError)):
		return err
	}
	return nil
}

// RelativeOut returns the path of an output relative to the directory if it lies
// inside, so that the directory can be moved or copied. ResolveOut is the inverse.
func RelativeOut(dir, out string) string {
	if IsRemote(out) {
		return out
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return out
	}
	if rel, err := filepath.Rel(absolute, out); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return out
}

// ResolveOut returns the absolute path of an output of the directory.
func ResolveOut(dir, out string) string {
	if IsRemote(out) {
		return out
	}
	if filepath.IsAbs(out) {
		return filepath.Clean(out)
	}
	return filepath.Join(dir, out)
}

// CheckExists returns ErrNoJob if the directory has no jobs directory.
func CheckExists(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "jobs")); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", dir, ErrNoJob)
	} else if err != nil {
		return err
	}
	return nil
}
