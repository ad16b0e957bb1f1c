package store

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"

	"cwharvest/store/durable"
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

// Dir is the shard's harvest directory in dir.
func (s Shard) Dir(dir string) string {
	if s == (Shard{}) {
		return dir
	}
	return filepath.Join(dir, s.name())
}

// base is the directory that holds the shard's own.
func (s Shard) base(own string) string {
	if s == (Shard{}) {
		return own
	}
	return filepath.Dir(own)
}

// name is part of the names of the shard's directory, jobs and claim.
func (s Shard) name() string { return fmt.Sprintf("shard-%d-of-%d", s.Number, s.Of) }

// division is what shards of one directory have in common.
func (s Shard) division() string {
	if s == (Shard{}) {
		return "whole"
	}
	return fmt.Sprintf("%d shards", s.Of)
}

var shardForm = regexp.MustCompile(`^shard-([1-9]\d{0,5})-of-([1-9]\d{0,5})$`)

// Shards returns those that have jobs in harvest directories of dir, or may have
// them: what this user may not read is somebody's. There are none in a directory
// that is whole.
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
		has, hasErr := hasJobs(filepath.Join(dir, e.Name()))
		if has || errors.Is(hasErr, fs.ErrPermission) {
			all = append(all, Shard{number, of})
		} else {
			err = errors.Join(err, hasErr)
		}
	}
	slices.SortFunc(all, func(a, b Shard) int { return cmp.Or(a.Of-b.Of, a.Number-b.Number) })
	return all, err
}

func hasJobs(dir string) (bool, error) {
	ids, err := jobIDs(dir)
	if errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	return len(ids) > 0, err
}

// DividedError says that a directory is divided into other shards than asked:
// targets would be harvested twice.
type DividedError struct{ text string }

func (e *DividedError) Error() string { return e.text }

// divisionName is the file that says for good how a directory is divided.
const divisionName = ".cwharvest-division.json"

// claim makes the division of dir, which holds the harvest directories of shards,
// or is one. Of those that begin at once and want different ones one gets it.
func (s Shard) claim(files *durable.Files, dir string) error {
	if err := s.Check(dir); err != nil {
		return err
	}
	var by [8]byte
	if _, err := rand.Read(by[:]); err != nil {
		return err
	}
	err := claimLocal(files, dir, claim{ID: s.division(), Directory: s.division(), file: divisionName, by: hex.EncodeToString(by[:])})
	var claimed *ClaimedError
	if errors.As(err, &claimed) {
		return s.divided(dir, claimed.Directory)
	}
	return err
}

// Check refuses a directory that is divided otherwise.
func (s Shard) Check(dir string) error {
	held, err := readClaim(filepath.Join(dir, divisionName))
	if err == nil && held.ID != s.division() {
		return s.divided(dir, held.ID)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	begun, err := Shards(dir) // moved here, or put together by hand
	if err != nil {
		return err
	}
	for _, o := range begun {
		if o.Of != s.Of {
			return s.divided(dir, o.division())
		}
	}
	whole, err := hasJobs(dir)
	if err == nil && whole && s != (Shard{}) {
		err = s.divided(dir, Shard{}.division())
	}
	return err
}

// divided says how else dir is divided.
func (s Shard) divided(dir, division string) error {
	switch {
	case shardForm.MatchString(filepath.Base(dir)) && s != (Shard{}):
		return &DividedError{fmt.Sprintf("%s is the directory of one shard: leave its last part out of --dir", dir)}
	case division == Shard{}.division():
		return &DividedError{fmt.Sprintf("%s is harvested without shards, and targets would be harvested twice: leave --shard out, or give another --dir", dir)}
	case s == (Shard{}):
		return &DividedError{fmt.Sprintf("%s holds %s: give --shard N/M, or another --dir", dir, division)}
	}
	return &DividedError{fmt.Sprintf("%s holds %s, not %d, and targets would be harvested twice: give its --shard N/M, or another --dir", dir, division, s.Of)}
}

// CheckJobs refuses the jobs of another shard in a harvest directory.
func (s Shard) CheckJobs(dir string, jobs []JobInfo) error {
	for i := range jobs {
		switch has := jobs[i].Spec.Shard; {
		case has == s:
		case has == (Shard{}):
			return s.divided(dir, has.division())
		default:
			return &DividedError{fmt.Sprintf("%s is the directory of shard %s: give --shard %s and, as --dir, the directory that it is in", dir, has, has)}
		}
	}
	return nil
}

// sibling reports whether a job is another shard's of the same division.
func (s Shard) sibling(job string) bool {
	if s == (Shard{}) {
		return false
	}
	m := siblingForm.FindStringSubmatch(job)
	return m != nil && m[1] != strconv.Itoa(s.Number) && m[2] == strconv.Itoa(s.Of)
}

// siblingForm is the id of a shard's job: see newJobID. A name may hold the same.
var siblingForm = regexp.MustCompile(`^.*-shard-([1-9]\d*)-of-([1-9]\d*)-` + timeForm + `(?:-to-` + timeForm + `)?-[0-9a-f]{6}$`)

const timeForm = `\d{4}-\d\d-\d\d(?:T\d{4}Z)?`
