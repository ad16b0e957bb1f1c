package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"cwharvest/store/claim"
	"cwharvest/store/record"
)

// Pruned is a job whose database was removed.
type Pruned struct {
	Job   string
	Bytes int64 // of its database
}

// Prune removes the databases of finished jobs that ended before a time. Their plans,
// manifests and summaries stay, so that no later job fetches their ranges again, and
// so do their parts. Prune never removes the latest job's database.
//
// Nothing is removed unless every place of output is there: a database that is lost
// cannot be rebuilt from parts that are not there.
func Prune(ctx context.Context, dir string, before time.Time, cfg Config) ([]Pruned, error) {
	if err := record.CheckExists(dir); err != nil {
		return nil, err
	}
	d, err := Open(dir, cfg)
	if err != nil {
		return nil, err
	}
	pruned, err := d.prune(ctx, before)
	return pruned, errors.Join(err, d.Close())
}

func (d *Dir) prune(ctx context.Context, before time.Time) (all []Pruned, err error) {
	jobs, err := d.Jobs()
	if err != nil {
		return nil, err
	}
	if len(jobs) == 0 {
		return nil, fmt.Errorf("%s: %w", d.disk.Path, record.ErrNoJob)
	}
	if err := claim.CheckAllPresent(ctx, &d.disk, jobs); err != nil {
		return nil, err
	}
	for _, job := range jobs[:len(jobs)-1] {
		if job.Pruned || job.State == record.Unfinished {
			continue
		}
		p, err := d.pruneJob(&job.Plan, before)
		if err != nil {
			return all, fmt.Errorf("cannot prune job %s: %w", job.Plan.ID, err)
		}
		if p != nil {
			all = append(all, *p)
		}
	}
	return all, nil
}

// pruneJob writes a job's summary, then removes its database, which commits it.
func (d *Dir) pruneJob(plan *record.Plan, before time.Time) (*Pruned, error) {
	path := d.disk.JobFile(plan.ID, ".db")
	db, err := record.OpenForReading(path)
	if err != nil {
		return nil, err
	}
	s, err := db.Status(plan)
	parts, lostErr := db.Lost()
	if err = errors.Join(err, lostErr, db.Close()); err != nil {
		return nil, err
	}
	n := len(s.Attempts)
	if len(s.Redo) > 0 || len(parts) > 0 || n > 0 && (s.Attempts[n-1].Ended.IsZero() || !s.Attempts[n-1].Ended.Before(before)) {
		return nil, nil
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := d.disk.Files.Write(d.disk.JobFile(plan.ID, ".summary.json"), append(data, '\n'), 0o600); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return &Pruned{Job: plan.ID, Bytes: info.Size()}, d.disk.Files.Remove(path)
}
