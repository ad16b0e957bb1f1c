package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
)

// Shard is the share of all targets that one of several machines harvests. Each
// has a harvest directory of its own; they may share a place of output. The zero
// Shard holds everything.
type Shard struct {
	Number int `json:"number"` // from 1
	Of     int `json:"of"`
}

func (s Shard) String() string {
	if s == (Shard{}) {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.Number, s.Of)
}

// Holds reports whether a target is of the shard. That depends on the two names
// alone, so that shards agree without asking each other, also when accounts come
// and go between their starts. A pattern is of each: what it stands for is not.
func (s Shard) Holds(t Target) bool {
	if s == (Shard{}) || t.IsPattern() {
		return true
	}
	sum := sha256.Sum256([]byte(t.String()))
	return binary.BigEndian.Uint64(sum[:])%uint64(s.Of) == uint64(s.Number-1)
}

// Dir is the shard's harvest directory.
func (s Shard) Dir(dir string) string {
	if s == (Shard{}) {
		return dir
	}
	return filepath.Join(dir, s.name())
}

// name is part of the names of the shard's directory, jobs and claim.
func (s Shard) name() string { return fmt.Sprintf("shard-%d-of-%d", s.Number, s.Of) }

var shardForm = regexp.MustCompile(`^shard-([1-9]\d{0,5})-of-([1-9]\d{0,5})$`)

// Shards returns those that have jobs in harvest directories of dir, in their
// order.
func Shards(dir string) (all []Shard, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	for _, e := range entries {
		m := shardForm.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		number, _ := strconv.Atoi(m[1]) // has six digits at most
		of, _ := strconv.Atoi(m[2])
		if has, hasErr := hasJobs(filepath.Join(dir, e.Name())); has {
			all = append(all, Shard{number, of})
		} else {
			err = errors.Join(err, hasErr)
		}
	}
	slices.SortFunc(all, func(a, b Shard) int {
		if a.Of != b.Of {
			return a.Of - b.Of
		}
		return a.Number - b.Number
	})
	return all, err
}

// Check refuses a directory that is divided otherwise: a target would be
// harvested by two, and each row be there twice.
func (s Shard) Check(dir string) error {
	others, err := Shards(dir)
	if err != nil {
		return err
	}
	whole, err := hasJobs(dir)
	if err != nil {
		return err
	}
	for _, o := range others {
		switch {
		case s == (Shard{}):
			return &DividedError{fmt.Sprintf("%s holds %d shards: give --shard N/%d, or another --dir", dir, o.Of, o.Of)}
		case o.Of != s.Of:
			return &DividedError{fmt.Sprintf("%s holds %d shards, not %d, and targets would be harvested twice: give --shard N/%d, or another --dir", dir, o.Of, s.Of, o.Of)}
		}
	}
	if whole && s != (Shard{}) {
		return &DividedError{fmt.Sprintf("%s was harvested without shards, and targets would be harvested twice: leave --shard out, or give another --dir", dir)}
	}
	return nil
}

func hasJobs(dir string) (bool, error) {
	ids, err := jobIDs(dir)
	if errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	return len(ids) > 0, err
}

// DividedError says that a directory is divided into other shards than asked.
type DividedError struct{ text string }

func (e *DividedError) Error() string { return e.text }

// sibling reports whether a job is another shard's of the same division.
func (s Shard) sibling(job string) bool {
	if s == (Shard{}) {
		return false
	}
	m := siblingForm.FindStringSubmatch(job)
	return m != nil && m[1] != strconv.Itoa(s.Number) && m[2] == strconv.Itoa(s.Of)
}

// siblingForm is the id of a shard's job: see newJobID.
var siblingForm = regexp.MustCompile(`-shard-(\d+)-of-(\d+)-\d{4}-\d\d-\d\d[0-9A-Za-z-]*-[0-9a-f]{6}$`)
