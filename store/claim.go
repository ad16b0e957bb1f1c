package store

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
	"strings"

	"cwharvest/store/place"
	"cwharvest/store/record"
)

// claimName is the file by which a harvest directory claims a place of output.
// If two directories wrote to one place, each row would be there twice.
const claimName = ".cwharvest.json"

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

// claim is the content of a claim file.
type claim struct {
	ID        string `json:"id"`
	Directory string `json:"directory"` // for people

	file string // its name
}

// claimsFor returns the claims that a directory makes, in their order. Shards
// share the first one, which keeps out other divisions and directories without
// shards, and each shard makes one of its own.
func claimsFor(own claim, shard record.Shard) []claim {
	if shard == (record.Shard{}) {
		own.file = claimName
		return []claim{own}
	}
	division := fmt.Sprintf("%d shards", shard.Of)
	own.file = strings.TrimSuffix(claimName, ".json") + "-" + shard.Name() + ".json"
	return []claim{{ID: division, Directory: "of " + division, file: claimName}, own}
}

// claimsOf returns the claims of a job of the shard.
func (d *Dir) claimsOf(ctx context.Context, shard record.Shard) (all []claim, err error) {
	err = retryTransient(ctx, d.reportBlocked, func() error {
		own, err := d.identity(ctx)
		all = claimsFor(own, shard)
		return err
	})
	return all, err
}

// checkClaims refuses a place of output that belongs to another directory.
func (d *Dir) checkClaims(ctx context.Context, out string, shard record.Shard) error {
	return d.eachClaim(ctx, out, shard, func(at place.Place, c claim) error {
		err := c.check(ctx, at)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// claimOut makes a place of output the directory's own.
func (d *Dir) claimOut(ctx context.Context, out string, shard record.Shard) error {
	return d.eachClaim(ctx, out, shard, func(at place.Place, c claim) error { return c.make(ctx, at) })
}

func (d *Dir) eachClaim(ctx context.Context, out string, shard record.Shard, do func(place.Place, claim) error) error {
	all, err := d.claimsOf(ctx, shard)
	if err != nil {
		return err
	}
	report := d.reportBlocked
	if record.IsRemote(out) {
		report = d.reportUnanswered
	}
	for _, c := range all {
		err := retryTransient(ctx, report, func() error {
			at, err := d.disk.Place(out)
			if err != nil {
				return err
			}
			return do(at, c)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// make writes the claim unless the place has one. Create succeeds for one of
// several directories that claim the place at the same time.
func (c claim) make(ctx context.Context, at place.Place) error {
	err := c.check(ctx, at)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err = at.Create(ctx, c.file, append(data, '\n')); errors.Is(err, fs.ErrExist) {
		return c.check(ctx, at)
	}
	return err
}

// check compares the claim with the one that the place has; fs.ErrNotExist if it
// has none.
func (c claim) check(ctx context.Context, at place.Place) error {
	held, err := readClaim(ctx, at, c.file)
	if err == nil && held.ID != c.ID {
		return &ClaimedError{Out: at.String(), Directory: held.Directory, file: c.file}
	}
	return err
}

// readClaim reads a claim. An empty one is another process's that is being
// created, or was when the process died: it does not exist yet, and Create
// decides.
func readClaim(ctx context.Context, at place.Place, file string) (c claim, err error) {
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
	return parseClaim(name, data)
}

// parseClaim refuses a claim without an id: two damaged ones would be equal.
func parseClaim(name string, data []byte) (c claim, err error) {
	err = json.Unmarshal(data, &c)
	if err == nil && c.ID == "" {
		err = errors.New("it has no id")
	}
	if err != nil {
		return c, &BadClaimError{File: name, Err: err}
	}
	return c, nil
}

// identity returns the directory's own claim, which it makes once.
func (d *Dir) identity(ctx context.Context) (claim, error) {
	at := place.NewLocal(d.disk.JobsPath(), &d.disk.Files)
	held, err := readClaim(ctx, at, claimName)
	if !errors.Is(err, fs.ErrNotExist) {
		return held, err
	}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return claim{}, err
	}
	own := claim{ID: hex.EncodeToString(id[:]), Directory: d.disk.Path, file: claimName}
	return own, own.make(ctx, at)
}
