package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Repaired tells what Repair did to one job.
type Repaired struct {
	Job     string
	Sound   bool   // nothing was wrong with the database
	Problem string // what was
	Files   string // what was wrong with specification or manifest, which were written anew
	Backup  string // where the damaged database went; empty when there was none

	Rows    int64    // that are published and not fetched again
	Dropped []string // parts that were damaged, or of one segment with such: their rows are fetched again
}

// Repair rebuilds the databases of a directory that are damaged or lost from
// specification, manifest and parts. What is published counts as done; what was
// only in the spool, empty or failed is asked again.
func Repair(ctx context.Context, dir string, cfg Config) ([]Repaired, error) {
	if err := exists(dir); err != nil {
		return nil, err
	}
	d, err := Open(dir, cfg)
	if err != nil {
		return nil, err
	}
	all, err := d.repair(ctx)
	return all, errors.Join(err, d.Close())
}

func (d *Dir) repair(ctx context.Context) (all []Repaired, err error) {
	ids, err := jobIDs(d.path)
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%s: %w", d.path, ErrNoJob)
	}
	for _, id := range ids {
		if err := d.checkFormat(id); err != nil {
			return nil, fmt.Errorf("repair job %s: %w", id, err)
		}
	}
	for _, id := range ids {
		r := Repaired{Job: id}
		problem, err := d.examine(ctx, id)
		switch r.Sound = problem == nil; {
		case err != nil:
		case problem != nil:
			r.Problem, _, _ = strings.Cut(problem.Error(), "; it was not changed")
			err = d.rebuild(ctx, id, &r)
		default:
			err = d.mendJob(ctx, id, &r)
		}
		if err != nil {
			return all, fmt.Errorf("repair job %s: %w", id, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// checkFormat returns the *FormatError of a job that another version has written,
// and nothing else that may be wrong with it. It does not wait for a process that
// works on the job: that process has checked the format.
func (d *Dir) checkFormat(id string) error {
	db, err := openDatabase(d.jobFile(id, ".db"), &bolt.Options{ReadOnly: true, Timeout: time.Millisecond})
	switch {
	case err == nil:
		return db.close()
	case errors.As(err, new(*FormatError)):
		return err
	}
	return nil
}

// mendJob mends what lies beside a sound database. Parts that are missing or
// altered are mended by rebuilding it without them.
func (d *Dir) mendJob(ctx context.Context, id string, r *Repaired) error {
	if err := d.mendFiles(id, r); err != nil {
		return err
	}
	job, err := readJob(d.path, id)
	if err != nil || job.Pruned {
		if errors.Is(err, errNeverWas) {
			return nil
		}
		return err
	}
	job.Plan.Out = resolveOut(d.path, job.Plan.Out)
	report := &Report{}
	if err := d.verify(ctx, &job, report, nil); err != nil {
		return err
	}
	damaged := slices.DeleteFunc(slices.Clone(report.Damaged), func(name string) bool { return strings.HasPrefix(name, job.Plan.inventories()+"/") })
	switch {
	case len(report.Damaged) == 0:
		return nil
	case len(damaged) == 0:
		r.Files = report.Damaged[0] + " is missing or altered"
		return d.reopen(id)
	}
	r.Sound, r.Problem = false, strings.Join(report.Damaged, ", ")+" missing or altered"
	return d.rebuild(ctx, id, r)
}

// reopen has the next run finish a job once more, which makes its inventory anew.
func (d *Dir) reopen(id string) error {
	j, err := d.OpenJob(id)
	if err != nil {
		return err
	}
	return errors.Join(j.changeRecord(func(r *jobRecord) { r.State = Unfinished }), j.Discard())
}

// mendFiles writes specification and manifest of a sound database anew where they
// are damaged.
func (d *Dir) mendFiles(id string, r *Repaired) error {
	db, err := openForReading(d.jobFile(id, ".db"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // pruned, or never made
	}
	if err != nil {
		return err
	}
	problem := d.checkFiles(db, id)
	if problem != nil {
		var info JobInfo
		r.Files = problem.Error()
		if info, err = db.info(); err == nil {
			err = errors.Join(d.writePlan(&info.Plan), d.writeManifest(db))
		}
	}
	return errors.Join(err, db.close())
}

func (d *Dir) readPlan(id string) (s Plan, err error) {
	s, err = readPlanFile(d.path, id)
	s.Out = resolveOut(d.path, s.Out)
	return s, err
}

// examine says what is damaged of a job's database, looking at every page. That
// it is newer than this program, in use or out of reach is no damage, but an
// error: it must stay as it is.
func (d *Dir) examine(ctx context.Context, id string) (problem, err error) {
	db, err := openForReading(d.jobFile(id, ".db"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d.examineMissing(ctx, id)
	case errors.As(err, new(*damagedError)):
		return err, nil
	case err != nil:
		return nil, err
	}
	problem = db.view(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			return db.damaged(err)
		}
		_, err := spooledRows(tx)
		return err
	})
	return problem, db.close()
}

// examineMissing tells a lost database from one that was pruned or never made.
func (d *Dir) examineMissing(ctx context.Context, id string) (problem, err error) {
	_, err = readSummary(d.path, id)
	switch {
	case err == nil:
		return nil, nil
	case errors.Is(err, errNeverWas):
		plan, err := d.readPlan(id)
		if err != nil {
			return nil, err
		}
		at, err := d.place(plan.Out)
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
