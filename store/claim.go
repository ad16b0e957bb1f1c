package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cwharvest/store/durable"
	"cwharvest/store/place"
	"cwharvest/store/record"
)

// claimName is the file by which a harvest directory claims a place of output:
// of two directories each row would be there twice, and neither would know.
const claimName = ".cwharvest.json"

// ClaimedError says that another harvest directory writes to a place.
type ClaimedError struct{ Out, Directory, file string }

func (e *ClaimedError) Error() string {
	return fmt.Sprintf("out %s belongs to the harvest directory %s: each row would be there twice; choose another out, "+
		"or remove %s there if that directory is no more", e.Out, e.Directory, e.file)
}

type claim struct {
	ID        string `json:"id"`
	Directory string `json:"directory"` // for people

	file string // its name
	by   string // the id of the directory that makes it
}

// claims are what makes a place of output a directory's own. Shards share the
// first and have another one each, so that neither a whole directory comes among
// them, nor shards of another division, nor the same one twice.
func claims(own claim, shard record.Shard) []claim {
	if shard == (record.Shard{}) {
		own.file, own.by = claimName, own.ID
		return []claim{own}
	}
	division := fmt.Sprintf("%d shards", shard.Of)
	own.file, own.by = strings.TrimSuffix(claimName, ".json")+"-"+shard.Name()+".json", own.ID
	return []claim{{ID: division, Directory: "of " + division, file: claimName, by: own.ID}, own}
}

// claimsOf are a job's, in the order in which they are made.
func (d *Dir) claimsOf(ctx context.Context, shard record.Shard) (all []claim, err error) {
	err = retryTransient(ctx, d.full, func() error {
		own, err := d.identity()
		all = claims(own, shard)
		return err
	})
	return all, err
}

// checkClaims refuses a place of output that is another directory's.
func (d *Dir) checkClaims(ctx context.Context, out string, shard record.Shard) error {
	all, err := d.claimsOf(ctx, shard)
	if err != nil {
		return err
	}
	for _, c := range all {
		err := retryTransient(ctx, d.unanswered, func() error { return d.checkClaim(ctx, out, c) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// claimOut makes a place of output the directory's own.
func (d *Dir) claimOut(ctx context.Context, out string, shard record.Shard) error {
	all, err := d.claimsOf(ctx, shard)
	if err != nil {
		return err
	}
	for _, c := range all {
		if record.IsRemote(out) {
			err = retryTransient(ctx, d.unanswered, func() error { return d.claimRemote(ctx, out, c) })
		} else {
			err = retryTransient(ctx, d.full, func() error { return claimLocal(&d.disk.Files, out, c) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkClaim compares a claim with what is there; fs.ErrNotExist: nothing is.
func (d *Dir) checkClaim(ctx context.Context, out string, c claim) error {
	if !record.IsRemote(out) {
		held, err := readClaim(filepath.Join(out, c.file))
		return c.against(held, err, out)
	}
	at, err := d.disk.Place(out)
	if err != nil {
		return err
	}
	held, err := readRemoteClaim(ctx, at, c.file)
	return c.against(held, err, out)
}

// against refuses another's claim.
func (c *claim) against(held claim, err error, out string) error {
	if err == nil && held.ID != c.ID {
		return &ClaimedError{Out: out, Directory: held.Directory, file: c.file}
	}
	return err
}

// claimLocal makes a file that nobody else can make then.
func claimLocal(files *durable.Files, out string, c claim) error {
	path := filepath.Join(out, c.file)
	held, err := readClaim(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return c.against(held, err, out)
	}
	if err := files.MakeDir(out, 0o777); err != nil {
		return err
	}
	err = writeClaim(files, path, c)
	if errors.Is(err, fs.ErrExist) { // somebody was faster
		held, err = readClaim(path)
		return c.against(held, err, out)
	}
	return err
}

// claimRemote publishes the claim as an object that nobody else can publish then.
func (d *Dir) claimRemote(ctx context.Context, out string, c claim) error {
	err := d.checkClaim(ctx, out, c)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	at, err := d.disk.Place(out)
	if err != nil {
		return err
	}
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	part := record.Part{Name: c.file}
	err = build(at, &d.disk.Files, &part, func(w io.Writer) error { _, err := w.Write(data); return err })
	if err == nil {
		err = at.Publish(ctx, c.file, part.SHA256)
	}
	if errors.Is(err, place.ErrExists) { // somebody was faster
		return d.checkClaim(ctx, out, c)
	}
	return err
}

func readRemoteClaim(ctx context.Context, at place.Place, file string) (c claim, err error) {
	object, err := at.Open(ctx, file)
	if err != nil {
		return c, err
	}
	data, err := io.ReadAll(io.NewSectionReader(object, 0, min(object.Size(), 4096)))
	if err = errors.Join(err, object.Close()); err != nil {
		return c, err
	}
	return parseClaim(fmt.Sprintf("%s/%s", at, file), data)
}

// parseClaim refuses a claim without an id: two damaged ones would be the same.
func parseClaim(name string, data []byte) (c claim, err error) {
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("%s is damaged: %w; remove it if nobody else writes there", name, err)
	}
	if c.ID == "" {
		return c, fmt.Errorf("%s is damaged: it has no id; remove it if nobody else writes there", name)
	}
	return c, nil
}

// identity returns the directory's own claim, made once.
func (d *Dir) identity() (claim, error) {
	path := filepath.Join(d.disk.JobsPath(), claimName)
	c, err := readClaim(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return c, err
	}
	c = claim{ID: hex.EncodeToString(id[:]), Directory: d.disk.Path}
	c.by = c.ID
	return c, writeClaim(&d.disk.Files, path, c)
}

// readClaim gives who is writing it a second: without hard links it is there
// before its content.
func readClaim(path string) (c claim, err error) {
	for range 20 {
		data, readErr := os.ReadFile(path)
		if readErr != nil {
			return c, readErr
		}
		if c, err = parseClaim(path, data); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return c, err
}

// writeClaim may be at work in several processes at once; fs.ErrExist: another one
// was faster.
func writeClaim(files *durable.Files, path string, c claim) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return files.WriteNew(durable.Temporary(path)+"-"+c.by, path, append(data, '\n'), 0o666)
}
