package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"cwharvest/store/claim"
	"cwharvest/store/lost"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// Repair rebuilds damaged and lost databases of a directory from plan, manifest and
// parts. Published rows count as done. Series-windows that were only in the spool,
// empty or failed become pending. Sound databases stay as they are.
//
// A place of output that is not there is an error, and nothing is changed, unless gone
// is set: then its parts are lost on purpose, and their rows become pending.
func Repair(ctx context.Context, dir string, remote record.Remote, gone bool) ([]Repaired, error) {
	d, err := record.OpenDir(dir, remote)
	if err != nil {
		return nil, err
	}
	lock, err := record.LockDir(d.Path)
	if err != nil {
		return nil, err
	}
	all, err := repair(ctx, d, gone)
	return all, errors.Join(err, lock.Close())
}

func repair(ctx context.Context, d *record.Dir, gone bool) (all []Repaired, err error) {
	ids, err := record.JobIDs(d.Path)
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%s: %w", d.Path, record.ErrNoJob)
	}
	for _, id := range ids {
		if err := d.CheckFormat(id); err != nil {
			return nil, fmt.Errorf("cannot repair job %s: %w", id, err)
		}
	}
	if err := checkOutputs(ctx, d, ids, gone); err != nil {
		return nil, err
	}
	for _, id := range ids {
		r := Repaired{Job: id}
		problem, err := examine(ctx, d, id)
		switch r.Sound = problem == nil; {
		case err != nil:
		case problem != nil:
			r.Problem = damageOf(problem)
			err = rebuild(ctx, d, id, &r)
		default:
			err = repairFiles(ctx, d, id, &r)
		}
		if err != nil {
			return all, fmt.Errorf("cannot repair job %s: %w", id, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// checkOutputs returns an error unless the output of every job that was created is
// there. The plan is that of the file, or of the database where the file is damaged.
func checkOutputs(ctx context.Context, d *record.Dir, ids []string, gone bool) error {
	var jobs []record.JobInfo
	for _, id := range ids {
		plan, err := d.ReadPlan(id)
		if err != nil {
			var job record.JobInfo
			job, err = d.ReadJob(id)
			plan = job.Plan
		}
		if err == nil && d.WasCreated(id) {
			jobs = append(jobs, record.JobInfo{Plan: plan})
		}
	}
	if gone {
		return claim.Renew(ctx, d, jobs)
	}
	return claim.CheckAllPresent(ctx, d, jobs)
}

// damageOf describes a problem for the report of a repair.
func damageOf(problem error) string {
	var damaged *record.DamagedError
	if errors.As(problem, &damaged) {
		return damaged.Damage()
	}
	return problem.Error()
}

// repairFiles checks the files of a job with a sound database. If parts are missing
// or altered, it rebuilds the database without them.
func repairFiles(ctx context.Context, d *record.Dir, id string, r *Repaired) error {
	if err := rewriteFiles(d, id, r); err != nil {
		return err
	}
	job, err := d.ReadJob(id)
	if err != nil {
		if errors.Is(err, record.ErrNotCreated) {
			return nil
		}
		return err
	}
	report := &Report{}
	if err := verifyJob(ctx, d, &job, report, nil); err != nil {
		return err
	}
	damaged := slices.DeleteFunc(slices.Clone(report.Damaged), func(name string) bool { return strings.HasPrefix(name, job.Plan.InventoryPath()+"/") })
	returned, err := hasReturned(ctx, d, &job.Plan)
	switch {
	case err != nil:
		return err
	case returned:
		r.Sound, r.Problem = false, "parts that were missing or altered are intact again"
		return rebuild(ctx, d, id, r)
	case len(report.Damaged) == 0 && len(report.strays) > 0 && !job.Pruned:
		r.Files = report.strays[0] + " is not in the manifest"
		return reopen(d, id, report.strays)
	case len(report.Damaged) == 0:
		return nil
	case len(damaged) == 0:
		r.Files = report.Damaged[0] + " is missing or altered"
		return reopen(d, id, nil)
	}
	r.Sound, r.Problem = false, strings.Join(report.Damaged, ", ")+" missing or altered"
	return rebuild(ctx, d, id, r)
}

// hasReturned reports whether a segment that an earlier repair dropped is intact again.
func hasReturned(ctx context.Context, d *record.Dir, plan *record.Plan) (bool, error) {
	db, err := record.OpenForReading(d.JobFile(plan.ID, ".db"))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil // pruned
		}
		return false, err
	}
	parts, err := db.Lost()
	if err = errors.Join(err, db.Close()); err != nil || len(parts) == 0 {
		return false, err
	}
	at, err := d.Place(plan.Out)
	if err != nil {
		return false, err
	}
	return lost.Returned(ctx, at, parts)
}

// Reinstate counts the rows of a job's lost parts again if they have returned. The
// caller holds the directory.
func Reinstate(ctx context.Context, d *record.Dir, plan *record.Plan) (*Repaired, error) {
	returned, err := hasReturned(ctx, d, plan)
	if err != nil || !returned {
		return nil, err
	}
	r := &Repaired{Job: plan.ID}
	return r, rebuild(ctx, d, plan.ID, r)
}

// reopen marks a job as unfinished. The next run finishes it and writes its inventory
// again. Strays become lost parts: that run removes them if their rows are published.
func reopen(d *record.Dir, id string, strays []string) error {
	db, err := record.OpenForWriting(d.JobFile(id, ".db"))
	if err != nil {
		return err
	}
	known, err := db.Lost()
	if err != nil {
		return errors.Join(err, db.Close())
	}
	var garbage []string
	for _, name := range strays {
		if isPartOf(name, id) {
			known = append(known, record.Part{Name: name, Date: strings.TrimPrefix(path.Dir(name), "date=")})
		} else {
			garbage = append(garbage, name)
		}
	}
	err = db.Update(func(tx *bolt.Tx) error {
		var r record.JobRecord
		if err := record.GetJSON(tx.Bucket(record.BucketMeta), record.KeyJob, &r); err != nil {
			return err
		}
		r.State = record.Unfinished
		if len(known) > 0 && r.Redo == nil {
			r.Redo = &record.Redo{From: r.Segment}
		}
		return errors.Join(record.SetLost(tx, known...), record.AddGarbage(tx, garbage...), record.PutJSON(tx.Bucket(record.BucketMeta), record.KeyJob, r))
	})
	return errors.Join(err, db.Close())
}

// rewriteFiles writes the plan and the manifest of a sound database again if they are
// damaged.
func rewriteFiles(d *record.Dir, id string, r *Repaired) error {
	db, err := record.OpenForReading(d.JobFile(id, ".db"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // pruned, or never created
	}
	if err != nil {
		return err
	}
	problem := d.CheckFiles(db, id)
	if problem != nil {
		var info record.JobInfo
		r.Files = problem.Error()
		if info, err = db.Info(); err == nil {
			err = errors.Join(d.WritePlan(&info.Plan), d.WriteManifest(db))
		}
	}
	return errors.Join(err, db.Close())
}

// examine checks every page and every record of a job's database, and returns the damage as problem.
// A database of another version, in use or unreadable is not damaged but an error,
// and stays unchanged.
func examine(ctx context.Context, d *record.Dir, id string) (problem, err error) {
	db, err := record.OpenForReading(d.JobFile(id, ".db"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return examineMissing(ctx, d, id)
	case errors.As(err, new(*record.DamagedError)):
		return err, nil
	case err != nil:
		return nil, err
	}
	problem = recount(ctx, d, db)
	return problem, db.Close()
}

// examineMissing distinguishes a lost database from one that was pruned or never
// created.
func examineMissing(ctx context.Context, d *record.Dir, id string) (problem, err error) {
	_, err = record.ReadSummary(d.Path, id)
	switch {
	case err == nil:
		return nil, nil
	case errors.Is(err, record.ErrNotCreated):
		plan, err := d.ReadPlan(id)
		if err != nil {
			return nil, err
		}
		at, err := d.Place(plan.Out)
		if err != nil {
			return nil, err
		}
		if parts, err := at.List(ctx, "date=*/"+id+"-*"); err != nil || len(parts) == 0 {
			return nil, err
		}
	case errors.Is(err, fs.ErrPermission):
		return nil, err
	}
	return errors.New("its database is missing"), nil
}
