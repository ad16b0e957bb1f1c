package store

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"cwharvest/store/record"
)

// Dir is a harvest directory that this process holds until Close.
type Dir struct {
	disk   record.Dir
	lock   *os.File
	config Config
	log    *slog.Logger
	spool  spool  // of all open jobs
	nights nights // the open jobs and their status
}

// Config configures a directory.
type Config struct {
	Remote     record.Remote // nil: every place of output is a directory
	SpoolLimit int64         // bytes, of all jobs together; 0: record.DefaultSpoolLimit
	Options    string        // of the command line, for the record of attempts
	Log        *slog.Logger  // nil: discards
}

// Open takes the harvest directory at path and creates it if necessary. It waits up to
// 2 s for another process to release it; then the error is a *record.LockedError.
func Open(path string, cfg Config) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	d := &Dir{disk: record.Dir{Path: path, Remote: cfg.Remote}, config: cfg, log: cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))}
	d.spool.init(cmp.Or(cfg.SpoolLimit, record.DefaultSpoolLimit))
	if err := d.disk.Files.MakeDir(d.disk.JobsPath(), 0o777); err != nil {
		return nil, fmt.Errorf("cannot create harvest directory: %w", err)
	}
	if d.lock, err = record.LockDir(path); err != nil {
		return nil, err
	}
	return d, nil
}

// reportUnanswered logs that a place of output is unavailable.
func (d *Dir) reportUnanswered(err error) {
	d.log.Warn("the place of output is unavailable; trying again", "error", err)
}

// Close releases the directory.
func (d *Dir) Close() error { return d.lock.Close() }

// Jobs returns all jobs of the directory, sorted by the start of their range, also
// those that are open now.
func (d *Dir) Jobs() ([]record.JobInfo, error) {
	jobs, err := record.ReadJobs(d.disk.Path, d.nights.infos()...)
	if err == nil {
		err = d.nights.note(d.disk.Path, jobs)
	}
	return jobs, err
}

// reportBlocked logs that a job or its claim cannot be written yet: the disk is full,
// or another process is creating the same claim.
func (d *Dir) reportBlocked(err error) {
	d.log.Warn("cannot write the job or its claim; trying again", "error", err)
}
