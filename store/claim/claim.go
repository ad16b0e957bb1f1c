// Package claim marks a place of output as the property of one harvest directory. If
// two directories wrote to one place, each row would be there twice.
//
// A directory claims a place before it creates its first job there, and the claim is
// never removed. A place that has jobs but no claim is therefore another place: the
// mount point of a disk that is not mounted, or another bucket. [Check] reports it as
// an [AbsentError], because absence is never damage: nothing may be judged by such a
// place, repaired for it or written to it.
package claim

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"cwharvest/store/place"
	"cwharvest/store/record"
)

// Name is the file by which a harvest directory claims a place of output. The same file
// in the directory itself holds the identity of the directory.
const Name = ".cwharvest.json"

// ClaimedError reports a place of output that belongs to another harvest
// directory.
type ClaimedError struct{ Out, Directory, file string }

func (e *ClaimedError) Error() string {
	return fmt.Sprintf("out %s belongs to the harvest directory %s: each row would be there twice", e.Out, e.Directory)
}

// Hint returns what to do next.
func (e *ClaimedError) Hint() string {
	return fmt.Sprintf("choose another out, or remove %s from there if that directory no longer exists", e.file)
}

// BadClaimError reports a claim that cannot be read.
type BadClaimError struct {
	File string
	Err  error
}

func (e *BadClaimError) Error() string { return fmt.Sprintf("%s is damaged: %v", e.File, e.Err) }

func (e *BadClaimError) Unwrap() error { return e.Err }

// errNoContent reports a claim that does not exist yet, although its file does.
var errNoContent error = noContent{}

type noContent struct{}

func (noContent) Error() string { return "it is empty" }

func (noContent) Is(target error) bool { return target == fs.ErrNotExist }

// Hint returns what to do next.
func (e *BadClaimError) Hint() string { return "remove it if no other harvest directory writes there" }

// Claim is the content of a claim file.
type Claim struct {
	ID        string `json:"id"`
	Directory string `json:"directory"` // for people

	file string // its name
}

// For returns the claims that a directory with the identity own makes, in their order.
// Shards share the first one, which keeps out other divisions and directories without
// shards, and each shard makes one of its own.
func For(own Claim, shard record.Shard) []Claim {
	if shard == (record.Shard{}) {
		own.file = Name
		return []Claim{own}
	}
	division := fmt.Sprintf("%d shards", shard.Of)
	own.file = strings.TrimSuffix(Name, ".json") + "-" + shard.Name() + ".json"
	return []Claim{{ID: division, Directory: "of " + division, file: Name}, own}
}

// Make writes the claim unless the place has one. Create succeeds for one of
// several directories that claim the place at the same time.
func (c Claim) Make(ctx context.Context, at place.Place) error {
	err := c.Check(ctx, at)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err = at.Create(ctx, c.file, append(data, '\n')); errors.Is(err, fs.ErrExist) {
		return c.Check(ctx, at)
	}
	return err
}

// Check compares the claim with the one that the place has; fs.ErrNotExist if it
// has none.
func (c Claim) Check(ctx context.Context, at place.Place) error {
	held, err := read(ctx, at, c.file)
	if err == nil && held.ID != c.ID {
		return &ClaimedError{Out: at.String(), Directory: held.Directory, file: c.file}
	}
	return err
}

// read reads a claim. An empty one is another process's that is being
// created, or was when the process died: it does not exist yet, and Create
// decides.
func read(ctx context.Context, at place.Place, file string) (c Claim, err error) {
	object, err := at.Open(ctx, file)
	if err != nil {
		return c, err
	}
	data, err := io.ReadAll(io.NewSectionReader(object, 0, min(object.Size(), 4096)))
	if err = errors.Join(err, object.Close()); err != nil {
		return c, err
	}
	name := at.String() + "/" + file
	if len(bytes.Trim(data, "\x00")) == 0 {
		return c, &BadClaimError{File: name, Err: errNoContent}
	}
	return parse(name, data)
}

// parse refuses a claim without an id: two damaged ones would be equal.
func parse(name string, data []byte) (c Claim, err error) {
	err = json.Unmarshal(data, &c)
	if err == nil && c.ID == "" {
		err = errors.New("it has no id")
	}
	if err != nil {
		return c, &BadClaimError{File: name, Err: err}
	}
	return c, nil
}

// Identify returns the identity of a directory, which it creates once.
func Identify(ctx context.Context, d *record.Dir) (Claim, error) {
	at := place.NewLocal(d.JobsPath(), &d.Files)
	held, err := read(ctx, at, Name)
	if !errors.Is(err, fs.ErrNotExist) {
		return held, err
	}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return Claim{}, err
	}
	own := Claim{ID: hex.EncodeToString(id[:]), Directory: d.Path, file: Name}
	return own, own.Make(ctx, at)
}

// AbsentError reports that a place of output is not there. Schedulers may retry, since
// it works again when the disk is mounted or the bucket restored.
type AbsentError struct {
	Out, Dir string
	Err      error // of a file system that does not respond; nil: it is another place
}

func (e *AbsentError) Unwrap() error { return e.Err }

func (e *AbsentError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("out %s cannot be read: %v; nothing was judged or changed", e.Out, e.Err)
	}
	return fmt.Sprintf("out %s is not there: it has neither the claim nor any part of harvest directory %s; nothing was judged or changed", e.Out, e.Dir)
}

// Unavailable reports that the place cannot be used now.
func (*AbsentError) Unavailable() bool { return true }

// CheckPresent returns an error unless a place of output of a job that was created is
// there and belongs to the directory. It only reads. It accepts a place without a claim
// if a part of any job of the directory is there: copying a directory often leaves out
// files whose names begin with a dot.
func CheckPresent(ctx context.Context, d *record.Dir, out string, shard record.Shard) error {
	at, err := d.Place(out)
	if err == nil {
		err = checkPlace(ctx, d, at, shard)
	}
	if slices.ContainsFunc(lostFileSystem, func(code syscall.Errno) bool { return errors.Is(err, code) }) && !record.IsRemote(out) {
		return &AbsentError{Out: out, Dir: d.Path, Err: err}
	}
	return err
}

// lostFileSystem holds the errors of a disk that is gone, and of a server or process
// behind a mounted directory that does not respond (errno(3)).
var lostFileSystem = []syscall.Errno{syscall.EIO, syscall.ESTALE, syscall.ENOTCONN, syscall.EHOSTDOWN, syscall.ETIMEDOUT, syscall.ENXIO, syscall.ENODEV}

func checkPlace(ctx context.Context, d *record.Dir, at place.Place, shard record.Shard) error {
	claimed, err := isClaimed(ctx, d, at, shard)
	if err != nil || claimed {
		return err
	}
	ids, err := record.JobIDs(d.Path)
	if err != nil {
		return err
	}
	names, err := at.List(ctx, record.EveryPart)
	if err != nil {
		return err
	}
	for _, name := range names {
		if m := record.PartForm.FindStringSubmatch(path.Base(name)); m != nil && slices.Contains(ids, m[1]) {
			return nil
		}
	}
	return &AbsentError{Out: at.String(), Dir: d.Path}
}

// CheckAllPresent checks the places of output of several jobs.
func CheckAllPresent(ctx context.Context, d *record.Dir, jobs []record.JobInfo) error {
	checked := map[string]bool{}
	for i := range jobs {
		plan := &jobs[i].Plan
		if checked[plan.Out] {
			continue
		}
		checked[plan.Out] = true
		if err := CheckPresent(ctx, d, plan.Out, plan.Shard); err != nil {
			return err
		}
	}
	return nil
}

// Renew claims the places of output of jobs that are not there, as empty ones, so that
// their rows count as missing. It changes nothing in a place that is there.
func Renew(ctx context.Context, d *record.Dir, jobs []record.JobInfo) error {
	own, err := Identify(ctx, d)
	if err != nil {
		return err
	}
	for i := range jobs {
		plan := &jobs[i].Plan
		if err := CheckPresent(ctx, d, plan.Out, plan.Shard); !errors.As(err, new(*AbsentError)) {
			if err != nil {
				return err
			}
			continue
		}
		at, err := d.Place(plan.Out)
		if err != nil {
			return err
		}
		for _, c := range For(own, plan.Shard) {
			if err := c.Make(ctx, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// isClaimed reports whether the place has every claim of the directory. A directory
// without an identity cannot recognize its claims.
func isClaimed(ctx context.Context, d *record.Dir, at place.Place, shard record.Shard) (bool, error) {
	own, err := read(ctx, place.NewLocal(d.JobsPath(), &d.Files), Name)
	for _, c := range For(own, shard) {
		if err == nil {
			err = c.Check(ctx, at)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
