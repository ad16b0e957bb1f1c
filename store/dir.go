package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cwharvest/store/durable"
	"cwharvest/store/place"

	bolt "go.etcd.io/bbolt"
)

// Dir is a harvest directory, held by this process alone until Close.
type Dir struct {
	path   string
	lock   *os.File
	files  durable.Files
	config Config
	log    *slog.Logger
}

// Config is what a directory needs of its surroundings.
type Config struct {
	// Remote returns a place of output that is not a directory; what is in the
	// making lies in the given one. Nil: there are none such.
	Remote func(out, temporary string, files *durable.Files) (place.Place, error)

	SpoolLimit int64        // bytes; 0: SpoolLimit
	Log        *slog.Logger // nil: discards
}

func (d *Dir) spoolLimit() int64 { return cmp.Or(d.config.SpoolLimit, SpoolLimit) }

// place returns the place of a job's output.
func (d *Dir) place(out string) (place.Place, error) {
	if !isRemote(out) {
		return place.NewLocal(out, &d.files), nil
	}
	if d.config.Remote == nil {
		return nil, fmt.Errorf("no way to %s is set up", out)
	}
	return d.config.Remote(out, filepath.Join(d.path, "jobs"), &d.files)
}

func isRemote(out string) bool { return strings.Contains(out, "://") }

// ErrNoJob says that a directory holds no job.
var ErrNoJob = errors.New("no job there")

// Open takes the harvest directory at path, making it if need be. It waits at
// most 2 s for another process to leave; then the error is a *LockedError.
func Open(path string, cfg Config) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	d := newDir(path, cfg)
	if err := d.files.MakeDir(d.jobs(), 0o777); err != nil {
		return nil, fmt.Errorf("make harvest directory: %w", err)
	}
	if d.lock, err = lockDir(path); err != nil {
		return nil, err
	}
	return d, nil
}

func newDir(path string, cfg Config) *Dir {
	d := &Dir{path: path, config: cfg, log: cfg.Log}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	return d
}

// unanswered tells of a place of output that does not answer.
func (d *Dir) unanswered(err error) {
	d.log.Warn("the place of output does not answer and is asked again", "error", err)
}

// Close gives the directory back.
func (d *Dir) Close() error { return d.lock.Close() }

func (d *Dir) jobs() string { return filepath.Join(d.path, "jobs") }

func (d *Dir) jobFile(id, suffix string) string { return filepath.Join(d.jobs(), id+suffix) }

// Create makes a job with its targets, durably and as a whole: the rename of
// its database is the one step that makes it exist.
func (d *Dir) Create(ctx context.Context, plan Plan, targets []Target) (*Job, error) {
	id, err := newJobID(plan)
	if err != nil {
		return nil, err
	}
	plan.ID, plan.Out, plan.Targets = id, relativeOut(d.path, plan.Out), targets
	if err := d.takeOut(ctx, plan.Out, plan.Shard); err != nil {
		return nil, err
	}
	denied, err := d.deniedBefore()
	if err != nil {
		return nil, err
	}
	if err := retryTransient(ctx, d.full, func() error { return d.makeJob(&plan, targets, denied) }); err != nil {
		return nil, fmt.Errorf("create job %s: %w", id, err)
	}
	return d.OpenJob(id)
}

// takeOut makes a place of output the directory's own, and leaves another's as it
// is.
func (d *Dir) takeOut(ctx context.Context, out string, shard Shard) error {
	out = resolveOut(d.path, out)
	if err := d.checkClaims(ctx, out, shard); err != nil {
		return err
	}
	if err := retryTransient(ctx, d.unanswered, func() error { return d.checkStrangers(ctx, out, shard) }); err != nil {
		return err
	}
	return d.claimOut(ctx, out, shard)
}

// makeJob writes the specification and an empty database, whose name is what makes
// it a job. What a full disk has stopped can be done anew.
func (d *Dir) makeJob(plan *Plan, targets []Target, denied map[string]time.Time) error {
	if err := d.writePlan(plan); err != nil {
		return err
	}
	temporary := durable.Temporary(d.jobFile(plan.ID, ".db"))
	if err := initialise(temporary, *plan, targets, denied); err != nil {
		return err
	}
	return d.files.Publish(temporary, d.jobFile(plan.ID, ".db"))
}

// full tells of a job that a full disk has no room for.
func (d *Dir) full(err error) {
	d.log.Warn("a job has no room and is tried again", "error", err)
}

// deniedBefore returns the targets that the latest job was denied, and since
// when.
func (d *Dir) deniedBefore() (map[string]time.Time, error) {
	denied := map[string]time.Time{}
	jobs, err := d.Jobs()
	if err != nil || len(jobs) == 0 || jobs[len(jobs)-1].Pruned {
		return denied, err
	}
	db, err := openForReading(d.jobFile(jobs[len(jobs)-1].Plan.ID, ".db"))
	if err != nil {
		return nil, err
	}
	targets := map[Target]targetRecord{}
	err = db.view(func(tx *bolt.Tx) error { return readTargets(tx, targets) })
	for t, r := range targets {
		if r.Denied != nil {
			denied[t.String()] = r.DeniedSince
		}
	}
	return denied, errors.Join(err, db.close())
}

// relativeOut keeps a place inside the directory relative to it, so that the
// whole can be moved or copied; resolveOut finds it again.
func relativeOut(dir, out string) string {
	if isRemote(out) {
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

func resolveOut(dir, out string) string {
	if isRemote(out) {
		return out
	}
	if filepath.IsAbs(out) {
		return filepath.Clean(out)
	}
	return filepath.Join(dir, out)
}

// newJobID is a name for people that is also unique: parts of different
// directories may meet in one place.
func newJobID(plan Plan) (string, error) {
	var suffix [3]byte
	if _, err := rand.Read(suffix[:]); err != nil {
		return "", err
	}
	name := safeName(plan.Name)
	if plan.Shard != (Shard{}) {
		name += "-" + plan.Shard.name()
	}
	return strings.Join([]string{name, rangeName(plan.Start, plan.End), hex.EncodeToString(suffix[:])}, "-"), nil
}

// safeName keeps a name from leaving its directory or being hidden in it.
func safeName(name string) string {
	safe := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '-'
	}, name)
	safe = strings.TrimLeft(safe, "-_")
	if safe == "" {
		return "job"
	}
	return safe[:min(len(safe), 64)]
}

func rangeName(start, end time.Time) string {
	start, end = start.UTC(), end.UTC()
	midnight := start.Truncate(24*time.Hour).Equal(start) && end.Truncate(24*time.Hour).Equal(end)
	switch {
	case midnight && end.Sub(start) == 24*time.Hour:
		return start.Format(time.DateOnly)
	case midnight:
		return start.Format(time.DateOnly) + "-to-" + end.Format(time.DateOnly)
	default:
		const minute = "2006-01-02T1504Z"
		return start.Format(minute) + "-to-" + end.Format(minute)
	}
}

// exists reports whether the directory holds any trace of a harvest.
func exists(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "jobs")); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", dir, ErrNoJob)
	} else if err != nil {
		return err
	}
	return nil
}
