package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"cwharvest/store/durable"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// Dir is a harvest directory, held by this process alone until Close.
type Dir struct {
	disk   record.Dir
	lock   *os.File
	config Config
	log    *slog.Logger
}

// Config is what a directory needs of its surroundings.
type Config struct {
	Remote     record.Remote // nil: every place of output is a directory
	SpoolLimit int64         // bytes; 0: SpoolLimit
	Log        *slog.Logger  // nil: discards
}

func (d *Dir) spoolLimit() int64 { return cmp.Or(d.config.SpoolLimit, SpoolLimit) }

// Open takes the harvest directory at path, making it if need be. It waits at
// most 2 s for another process to leave; then the error is a *LockedError.
func Open(path string, cfg Config) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	d := &Dir{disk: record.Dir{Path: path, Remote: cfg.Remote}, config: cfg, log: cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))}
	if err := d.disk.Files.MakeDir(d.disk.JobsPath(), 0o777); err != nil {
		return nil, fmt.Errorf("make harvest directory: %w", err)
	}
	if d.lock, err = record.LockDir(path); err != nil {
		return nil, err
	}
	return d, nil
}

// unanswered tells of a place of output that does not answer.
func (d *Dir) unanswered(err error) {
	d.log.Warn("the place of output does not answer and is asked again", "error", err)
}

// Close gives the directory back.
func (d *Dir) Close() error { return d.lock.Close() }

// Create makes a job with its targets, durably and as a whole: the rename of
// its database is the one step that makes it exist.
func (d *Dir) Create(ctx context.Context, plan record.Plan, targets []record.Target) (*Job, error) {
	id, err := record.NewJobID(plan)
	if err != nil {
		return nil, err
	}
	plan.ID, plan.Out, plan.Targets = id, record.RelativeOut(d.disk.Path, plan.Out), targets
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
func (d *Dir) takeOut(ctx context.Context, out string, shard record.Shard) error {
	out = record.ResolveOut(d.disk.Path, out)
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
func (d *Dir) makeJob(plan *record.Plan, targets []record.Target, denied map[string]time.Time) error {
	if err := d.disk.WritePlan(plan); err != nil {
		return err
	}
	temporary := durable.Temporary(d.disk.JobFile(plan.ID, ".db"))
	if err := record.CreateDatabase(temporary, *plan, targets, denied); err != nil {
		return err
	}
	return d.disk.Files.Publish(temporary, d.disk.JobFile(plan.ID, ".db"))
}

// Jobs returns all jobs of the directory by start of their range.
func (d *Dir) Jobs() ([]record.JobInfo, error) { return record.ReadJobs(d.disk.Path) }

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
	db, err := record.OpenForReading(d.disk.JobFile(jobs[len(jobs)-1].Plan.ID, ".db"))
	if err != nil {
		return nil, err
	}
	targets := map[record.Target]record.TargetRecord{}
	err = db.View(func(tx *bolt.Tx) error { return record.ReadTargets(tx, targets) })
	for t, r := range targets {
		if r.Denied != nil {
			denied[t.String()] = r.DeniedSince
		}
	}
	return denied, errors.Join(err, db.Close())
}
