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

// The files beside a database are JSON, which anybody can write. What of them
// becomes a path, an index or a length is checked here, before anything is done.

// readPlanFile reads jobs/ID.json.
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

// ErrNoJob says that a directory holds no job.
var ErrNoJob = errors.New("no job there")

// Remote returns a place of output that is not a directory; what is in the
// making lies in the given one.
type Remote func(out, temporary string, files *durable.Files) (place.Place, error)

// recordDir is a harvest directory on disk. It holds no lock.
type Dir struct {
	Path   string // absolute
	Files  durable.Files
	Remote Remote // nil: there are none such
}

// openDir returns the directory at path, which must hold a trace of a harvest.
func OpenDir(path string, remote Remote) (*Dir, error) {
	if err := CheckExists(path); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(path)
	return &Dir{Path: path, Remote: remote}, err
}

// place returns the place of a job's output.
func (d *Dir) Place(out string) (place.Place, error) {
	if !IsRemote(out) {
		return place.NewLocal(out, &d.Files), nil
	}
	if d.Remote == nil {
		return nil, fmt.Errorf("no way to %s is set up", out)
	}
	return d.Remote(out, d.JobsPath(), &d.Files)
}

func IsRemote(out string) bool { return strings.Contains(out, "://") }

func (d *Dir) JobsPath() string { return filepath.Join(d.Path, "jobs") }

func (d *Dir) JobFile(id, suffix string) string { return jobFile(d.Path, id, suffix) }

func (d *Dir) ReadPlan(id string) (s Plan, err error) {
	s, err = readPlanFile(d.Path, id)
	s.Out = ResolveOut(d.Path, s.Out)
	return s, err
}

// checkFormat returns the *FormatError of a job that another version has written,
// and nothing else that may be wrong with it. It does not wait for a process that
// works on the job: that process has checked the format.
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

// relativeOut keeps a place inside the directory relative to it, so that the
// whole can be moved or copied; resolveOut finds it again.
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

func ResolveOut(dir, out string) string {
	if IsRemote(out) {
		return out
	}
	if filepath.IsAbs(out) {
		return filepath.Clean(out)
	}
	return filepath.Join(dir, out)
}

// exists reports whether the directory holds any trace of a harvest.
func CheckExists(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "jobs")); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", dir, ErrNoJob)
	} else if err != nil {
		return err
	}
	return nil
}
