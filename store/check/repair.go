package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// Repair rebuilds the databases of a directory that are damaged or lost from
// specification, manifest and parts. What is published counts as done; what was
// only in the spool, empty or failed is asked again.
func Repair(ctx context.Context, dir string, remote record.Remote) ([]Repaired, error) {
	d, err := record.OpenDir(dir, remote)
	if err != nil {
		return nil, err
	}
	lock, err := record.LockDir(d.Path)
	if err != nil {
		return nil, err
	}
	all, err := repair(ctx, d)
	return all, errors.Join(err, lock.Close())
}

func repair(ctx context.Context, d *record.Dir) (all []Repaired, err error) {
	ids, err := record.JobIDs(d.Path)
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%s: %w", d.Path, record.ErrNoJob)
	}
	for _, id := range ids {
		if err := d.CheckFormat(id); err != nil {
			return nil, fmt.Errorf("repair job %s: %w", id, err)
		}
	}
	for _, id := range ids {
		r := Repaired{Job: id}
		problem, err := examine(ctx, d, id)
		switch r.Sound = problem == nil; {
		case err != nil:
		case problem != nil:
			r.Problem, _, _ = strings.Cut(problem.Error(), "; it was not changed")
			err = rebuild(ctx, d, id, &r)
		default:
			err = mendJob(ctx, d, id, &r)
		}
		if err != nil {
			return all, fmt.Errorf("repair job %s: %w", id, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// mendJob mends what lies beside a sound database. Parts that are missing or
// altered are mended by rebuilding it without them.
func mendJob(ctx context.Context, d *record.Dir, id string, r *Repaired) error {
	if err := mendFiles(d, id, r); err != nil {
		return err
	}
	job, err := record.ReadJob(d.Path, id)
	if err != nil || job.Pruned {
		if errors.Is(err, record.ErrNotCreated) {
			return nil
		}
		return err
	}
	job.Plan.Out = record.ResolveOut(d.Path, job.Plan.Out)
	report := &Report{}
	if err := verifyJob(ctx, d, &job, report, nil); err != nil {
		return err
	}
	damaged := slices.DeleteFunc(slices.Clone(report.Damaged), func(name string) bool { return strings.HasPrefix(name, job.Plan.InventoryPath()+"/") })
	switch {
	case len(report.Damaged) == 0:
		return nil
	case len(damaged) == 0:
		r.Files = report.Damaged[0] + " is missing or altered"
		return reopen(d, id)
	}
	r.Sound, r.Problem = false, strings.Join(report.Damaged, ", ")+" missing or altered"
	return rebuild(ctx, d, id, r)
}

// reopen has the next run finish a job once more, which makes its inventory anew.
func reopen(d *record.Dir, id string) error {
	db, err := record.OpenForWriting(d.JobFile(id, ".db"))
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		var r record.JobRecord
		if err := record.GetJSON(tx.Bucket(record.BucketMeta), record.KeyJob, &r); err != nil {
			return err
		}
		r.State = record.Unfinished
		return record.PutJSON(tx.Bucket(record.BucketMeta), record.KeyJob, r)
	})
	return errors.Join(err, db.Close())
}

// mendFiles writes specification and manifest of a sound database anew where they
// are damaged.
func mendFiles(d *record.Dir, id string, r *Repaired) error {
	db, err := record.OpenForReading(d.JobFile(id, ".db"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // pruned, or never made
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

// examine says what is damaged of a job's database, looking at every page. That
// it is newer than this program, in use or out of reach is no damage, but an
// error: it must stay as it is.
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
	problem = db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			return db.Damaged(err)
		}
		_, err := record.SpooledRows(tx)
		return err
	})
	return problem, db.Close()
}

// examineMissing tells a lost database from one that was pruned or never made.
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
