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

// checkStrangers refuses a place with parts that no job of the directory knows.
func (d *Dir) checkStrangers(ctx context.Context, out string, shard record.Shard) error {
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
		next := "move away what is there, or choose another out"
		if len(known) > 0 {
			next = fmt.Sprintf("try `cwharvest repair %s`, or move away what it tells", d.disk.Path)
		}
		err = fmt.Errorf("%s/%s is a part of a job that %s does not know: its rows might come twice; %s", at, names[0], d.disk.Path, next)
	}
	return err
}
