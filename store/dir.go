package store

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"cwharvest/store/record"
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

// Jobs returns all jobs of the directory by start of their range.
func (d *Dir) Jobs() ([]record.JobInfo, error) { return record.ReadJobs(d.disk.Path) }

// full tells of a job that a full disk has no room for.
func (d *Dir) full(err error) {
	d.log.Warn("a job has no room and is tried again", "error", err)
}

// SpoolLimit bounds the data committed and not yet published, unless Config says
// otherwise: when it is reached, commits wait for the builder, and so does
// fetching.
const SpoolLimit = 2 << 30
