package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cwharvest/store/durable"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// Create creates a job with its targets, durably and as a whole. The rename of the
// database commits it.
func (d *Dir) Create(ctx context.Context, plan record.Plan, targets []record.Target) (*Job, error) {
	id, err := record.NewJobID(plan)
	if err != nil {
		return nil, err
	}
	plan.ID, plan.Out, plan.Targets = id, record.RelativeOut(d.disk.Path, plan.Out), targets
	if err := d.acquireOut(ctx, plan.Out, plan.Shard); err != nil {
		return nil, err
	}
	denied, err := d.previouslyDenied()
	if err != nil {
		return nil, err
	}
	if err := retryTransient(ctx, d.reportBlocked, func() error { return d.makeJob(&plan, targets, denied) }); err != nil {
		return nil, fmt.Errorf("cannot create job %s: %w", id, err)
	}
	return d.OpenJob(id)
}

// acquireOut claims a place of output for the directory. It changes nothing in a place
// that belongs to another one.
func (d *Dir) acquireOut(ctx context.Context, out string, shard record.Shard) error {
	out = record.ResolveOut(d.disk.Path, out)
	if err := d.checkKnown(ctx, out); err != nil {
		return err
	}
	if err := d.checkClaims(ctx, out, shard); err != nil {
		return err
	}
	if err := retryTransient(ctx, d.reportUnanswered, func() error { return d.checkUnknownParts(ctx, out, shard) }); err != nil {
		return err
	}
	return d.claimOut(ctx, out, shard)
}

// makeJob writes the plan and an empty database. If the disk is full, the caller
// repeats it as a whole.
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

// previouslyDenied returns the targets that are denied in the latest job, and since
// when.
func (d *Dir) previouslyDenied() (map[string]time.Time, error) {
	denied := map[string]time.Time{}
	jobs, err := d.Jobs()
	if err != nil || len(jobs) == 0 || jobs[len(jobs)-1].Pruned {
		return denied, err
	}
	targets, err := d.targetsOf(jobs[len(jobs)-1].Plan.ID)
	for t, r := range targets {
		if r.Denied != nil {
			denied[t.String()] = r.DeniedSince
		}
	}
	return denied, err
}

// targetsOf returns the committed targets of a job, also of one that is open.
func (d *Dir) targetsOf(id string) (map[record.Target]record.TargetRecord, error) {
	targets := map[record.Target]record.TargetRecord{}
	if j := d.nights.find(id); j != nil {
		for _, t := range j.Targets() {
			targets[t.Target] = t.TargetRecord
		}
		return targets, nil
	}
	db, err := record.OpenForReading(d.disk.JobFile(id, ".db"))
	if err != nil {
		return nil, err
	}
	err = db.View(func(tx *bolt.Tx) error { return record.ReadTargets(tx, targets) })
	return targets, errors.Join(err, db.Close())
}

// checkUnknownParts refuses a place with parts of a job that the directory does not
// have.
func (d *Dir) checkUnknownParts(ctx context.Context, out string, shard record.Shard) error {
	at, err := d.disk.Place(out)
	if err != nil {
		return err
	}
	jobs, err := d.Jobs()
	if err != nil {
		return err
	}
	known := make([]string, len(jobs))
	for i := range jobs {
		known[i] = jobs[i].Plan.ID
	}
	all, err := at.List(ctx, record.EveryPart)
	if names := record.UnknownParts(all, known, shard); err == nil && len(names) > 0 {
		err = &UnknownPartError{Part: at.String() + "/" + names[0], Dir: d.disk.Path, HasJobs: len(known) > 0}
	}
	return err
}

// UnknownPartError reports a part of a job that the harvest directory does not have.
// A new job might write its rows a second time.
type UnknownPartError struct {
	Part, Dir string
	HasJobs   bool // repairing the directory may find the job
}

func (e *UnknownPartError) Error() string {
	return fmt.Sprintf("%s is a part of a job that %s does not have: its rows might be written twice", e.Part, e.Dir)
}
