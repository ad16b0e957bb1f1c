package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"cwharvest/store/claim"
	"cwharvest/store/place"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// Verify checks every job of a directory. Each planned instance must have one
// outcome. Each published part must exist unaltered, with no file beside them, and
// their rows must add up to the number in the database. With everyRow it also
// reads every row. A directory in use is a *record.LockedError, without waiting. Nothing
// is judged by a place of output that is not there, which is an error.
func Verify(ctx context.Context, dir string, remote record.Remote, everyRow bool) (*Report, error) {
	d, err := record.OpenDir(dir, remote)
	if err != nil {
		return nil, err
	}
	lock, err := record.ShareLock(dir)
	if err != nil {
		return nil, err
	}
	if lock == nil {
		return nil, &record.LockedError{Dir: dir, Owner: record.ReadOwner(dir)}
	}
	defer lock.Close()
	jobs, err := record.ReadJobs(dir)
	if err != nil {
		return nil, err
	}
	if len(jobs) == 0 {
		return nil, fmt.Errorf("%s: %w", dir, record.ErrNoJob)
	}
	if err := claim.CheckAllPresent(ctx, d, jobs); err != nil {
		return nil, err
	}
	report := &Report{}
	var rows *deep
	if everyRow {
		rows = newDeep(ctx, report)
	}
	for i := range jobs {
		report.Jobs++
		if err := verifyJob(ctx, d, &jobs[i], report, rows); err != nil {
			return nil, fmt.Errorf("cannot verify job %s: %w", jobs[i].Plan.ID, err)
		}
	}
	if err := verifyPlaces(ctx, d, jobs, report); err != nil {
		return nil, err
	}
	if everyRow {
		return report, verifyRows(d, rows)
	}
	return report, nil
}

// verifyPlaces looks for parts of unknown jobs, and for other files that query
// engines would read as data.
func verifyPlaces(ctx context.Context, d *record.Dir, jobs []record.JobInfo, report *Report) error {
	places := map[string]record.Shard{}
	var known []string
	for i := range jobs {
		known = append(known, jobs[i].Plan.ID)
		places[jobs[i].Plan.Out] = jobs[i].Plan.Shard
	}
	for out, shard := range places {
		at, err := d.Place(out)
		if err != nil {
			return err
		}
		all, err := at.List(ctx, record.EveryPart)
		if err != nil {
			return err
		}
		for _, name := range record.UnknownParts(all, known, shard) {
			report.problem(MoveFileAway, "%s/%s belongs to no job of this directory: its rows may be there twice", at, name)
		}
		for _, name := range all {
			if base := path.Base(name); record.DataForm.MatchString(base) && !record.PartForm.MatchString(base) {
				report.problem(MoveFileAway, "%s/%s is not a part of any job, and query engines read it", at, name)
			}
		}
	}
	return nil
}

// verifyRows reads every row, then compares the counts of each instance.
func verifyRows(d *record.Dir, rows *deep) error {
	if err := rows.run(); err != nil {
		return err
	}
	for _, job := range rows.jobs {
		db, err := record.OpenForReading(d.JobFile(job.plan.ID, ".db"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // pruned
		}
		if err != nil {
			return err
		}
		if err := errors.Join(rows.compare(db, job), db.Close()); err != nil {
			return fmt.Errorf("job %s: %w", job.plan.ID, err)
		}
	}
	return nil
}

// verifyJob checks one job.
func verifyJob(ctx context.Context, d *record.Dir, job *record.JobInfo, report *Report, rows *deep) error {
	at, err := d.Place(job.Plan.Out)
	if err != nil {
		return err
	}
	v := verification{ctx: ctx, dir: d, place: at, plan: &job.Plan, report: report}
	if job.Pruned {
		err = v.summary()
	} else {
		if v.db, err = record.OpenForReading(d.JobFile(job.Plan.ID, ".db")); err != nil {
			return err
		}
		err = errors.Join(v.run(), v.db.Close())
	}
	if rows != nil {
		rows.add(v.plan, at, v.good)
	}
	return err
}

// verification is the check of one job.
type verification struct {
	ctx    context.Context
	dir    *record.Dir
	db     *record.Database
	place  place.Place
	plan   *record.Plan
	report *Report
	good   []record.Part // parts that match the manifest
	staged []record.Part // of a redo, without a name yet
}

// summary compares a pruned job with its manifest and its summary.
func (v *verification) summary() error {
	m, err := record.ReadManifest(v.dir.Path, v.plan.ID)
	if err != nil {
		return err
	}
	var s record.Status
	if err := record.ReadJSON(v.dir.JobFile(v.plan.ID, ".summary.json"), &s); err != nil {
		return err
	}
	rows, named, err := v.parts(m.Parts, m.Inventory)
	if err != nil {
		return err
	}
	if rows != s.Rows {
		v.report.problem(RepairJob, "job %s: %d rows in parts, but %d in its summary", v.plan.ID, rows, s.Rows)
	}
	v.report.Rows += rows
	return v.strays(named)
}

// parts checks the files of a manifest, and returns their number of rows and their
// names.
func (v *verification) parts(parts []record.Part, inventory *record.Part) (rows int64, named map[string]bool, err error) {
	named = map[string]bool{}
	for _, p := range parts {
		named[p.Name] = true
		rows += p.Rows
		ok, err := v.part(p)
		if err != nil {
			return 0, nil, err
		}
		if ok {
			v.good = append(v.good, p)
		}
	}
	v.report.Parts += len(parts)
	if inventory != nil {
		named[inventory.Name] = true
		_, err = v.part(*inventory)
	}
	return rows, named, err
}

func (v *verification) run() error {
	m, err := v.db.Manifest()
	if err != nil {
		return err
	}
	rows, named, err := v.parts(m.Parts, m.Inventory)
	if err != nil {
		return err
	}
	if err := v.files(); err != nil {
		return err
	}
	spooled, recorded, err := v.database(named)
	if err != nil {
		return err
	}
	for _, p := range v.staged {
		if err := v.checkStaged(p); err != nil {
			return err
		}
	}
	v.total(rows, spooled, recorded)
	v.report.Rows += rows + spooled
	return v.strays(named)
}

// total compares the rows with those committed. Rows of a redo count on both sides.
func (v *verification) total(rows, spooled, recorded int64) {
	if rows+spooled != recorded {
		v.report.problem(RepairJob, "job %s: %d rows in parts and %d in the spool, but %d were committed", v.plan.ID, rows, spooled, recorded)
	}
}

// recount checks the records of a database alone, and returns the first problem. Its
// pages may be sound while a byte of a record has changed.
func recount(ctx context.Context, d *record.Dir, db *record.Database) error {
	job, err := db.Info()
	if err != nil {
		return err
	}
	m, err := db.Manifest()
	if err != nil {
		return err
	}
	v := verification{ctx: ctx, dir: d, db: db, plan: &job.Plan, report: &Report{}}
	spooled, recorded, err := v.database(map[string]bool{})
	if err != nil {
		return err
	}
	var rows int64
	for _, p := range m.Parts {
		rows += p.Rows
	}
	v.total(rows, spooled, recorded)
	if len(v.report.Problems) > 0 {
		return errors.New(v.report.Problems[0].Fact)
	}
	_, err = db.Status(v.plan) // reads the records of failures
	return err
}

// files checks the plan and the manifest, on which export and repair rely. Those of
// an open job may be older than its database.
func (v *verification) files() error {
	state, err := v.db.Info()
	if err != nil || state.State == record.Unfinished {
		return err
	}
	if problem := v.dir.CheckFiles(v.db, v.plan.ID); problem != nil {
		v.report.problem(RepairJob, "%v", problem)
	}
	return nil
}

// checkStaged checks a part of a redo that has no name yet.
func (v *verification) checkStaged(p record.Part) error {
	path, err := v.place.Temporary(p.Name)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err == nil {
		return nil
	}
	sum, _, err := v.place.Sum(v.ctx, p.Name, false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && sum == p.SHA256 {
		return nil // the redo has named it already
	}
	v.report.Damaged = append(v.report.Damaged, p.Name)
	v.report.problem(RepairJob, "%s, a part of an unfinished redo, is missing; repairing the job drops the redo and keeps the old rows", path)
	return nil
}

// part reports whether a file matches the manifest.
func (v *verification) part(p record.Part) (bool, error) {
	sum, size, err := v.place.Sum(v.ctx, p.Name, true)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.report.problem(RepairJob, "%s/%s is missing", v.place, p.Name)
	case err != nil:
		return false, fmt.Errorf("%s/%s: %w", v.place, p.Name, err)
	case size != p.Bytes:
		v.report.problem(RepairJob, "%s/%s has %d bytes, but %d in the manifest", v.place, p.Name, size, p.Bytes)
	case sum != p.SHA256:
		v.report.problem(RepairJob, "%s/%s was altered: its SHA-256 differs from the manifest", v.place, p.Name)
	default:
		v.report.Bytes += p.Bytes
		return true, nil
	}
	v.report.Damaged = append(v.report.Damaged, p.Name)
	return false, nil
}

// database recounts the instances and the spool, and compares them with the records.
// It adds the parts of intents to the known names.
func (v *verification) database(named map[string]bool) (spooled, recorded int64, err error) {
	err = v.db.View(func(tx *bolt.Tx) error {
		var r record.JobRecord
		if err := record.GetJSON(tx.Bucket(record.BucketMeta), record.KeyJob, &r); err != nil {
			return err
		}
		recorded = r.Rows
		if r.Redo != nil {
			recorded += r.Redo.OldRows
			for _, p := range r.Redo.Parts {
				named[p.Name] = true
			}
		}
		if err := v.instances(tx); err != nil {
			return err
		}
		if spooled, err = record.SpooledRows(tx); err != nil {
			return err
		}
		return tx.Bucket(record.BucketIntents).ForEach(func(key, _ []byte) error {
			var in record.Intent
			if err := record.GetJSON(tx.Bucket(record.BucketIntents), key, &in); err != nil {
				return err
			}
			for _, p := range in.Parts {
				named[p.Name] = true
				if in.Staged {
					spooled += p.Rows
					v.staged = append(v.staged, p)
				}
			}
			return nil
		})
	})
	if err != nil {
		return 0, 0, &record.RepairError{Dir: v.dir.Path, Err: err} // no other reason than damage
	}
	garbage, err := v.db.Garbage()
	for _, name := range garbage {
		named[name] = true // the next run removes it
	}
	parts, lostErr := v.db.Lost()
	for _, p := range parts {
		named[p.Name] = true // removed when its rows are published again
	}
	return spooled, recorded, errors.Join(err, lostErr)
}

// instances recounts the instances of every target by their progress.
func (v *verification) instances(tx *bolt.Tx) error {
	targets := map[record.Target]record.TargetRecord{}
	if err := record.ReadTargets(tx, targets); err != nil {
		return err
	}
	shapes := record.NewShapes(v.plan.Series)
	for t, recorded := range targets {
		counted, err := v.countTarget(tx, t, shapes)
		if err != nil {
			return fmt.Errorf("target %s: %w", t, err)
		}
		c := counted
		if c.Planned != c.Done+c.Empty+c.Failed+c.Pending || c.Planned != recorded.Planned ||
			c.Done != recorded.Done || c.Empty != recorded.Empty || c.Failed != recorded.Failed {
			v.report.problem(RepairJob, "%s: instances counted planned %d done %d empty %d failed %d pending %d, recorded %d %d %d %d", t,
				c.Planned, c.Done, c.Empty, c.Failed, c.Pending, recorded.Planned, recorded.Done, recorded.Empty, recorded.Failed)
		}
		v.report.Targets.Planned++
		switch {
		case recorded.Denied != nil:
			counted.Denied, counted.Pending = counted.Pending, 0
			v.report.Targets.Denied++
		case recorded.Enumerated && counted.Pending == 0:
			v.report.Targets.Done++
		default:
			v.report.Targets.Pending++
		}
		v.report.Instances.Add(counted)
	}
	return nil
}

// countTarget counts the instances of a target by outcome, and reports progress without
// an instance.
func (v *verification) countTarget(tx *bolt.Tx, t record.Target, shapes map[string]*record.Shape) (counted record.InstanceCounts, err error) {
	instances, done := tx.Bucket(record.BucketInstances).Bucket(record.TargetKey(t)), tx.Bucket(record.BucketProgress).Bucket(record.TargetKey(t))
	if instances != nil {
		err = instances.ForEach(func(key, value []byte) error {
			var in record.Instance
			if err := json.Unmarshal(value, &in); err != nil || in.Key() != string(key) {
				return fmt.Errorf("the record of instance %q is damaged", key)
			}
			counted.Planned++
			if done == nil || done.Get(key) == nil {
				counted.Pending++
			}
			return nil
		})
	}
	if done == nil || err != nil {
		return counted, err
	}
	err = done.ForEach(func(key, value []byte) error {
		sh := shapes[record.GroupOf(key)]
		if sh == nil {
			return fmt.Errorf("instance %q has a namespace or dimensions that are not in the plan", key)
		}
		if instances == nil || instances.Get(key) == nil {
			v.report.problem(RepairJob, "%s: progress of %q, which is not an instance of the target", t, key)
		}
		p, err := record.DecodeProgress(value, len(sh.Bits))
		switch outcome, _ := p.Outcome(nil); outcome {
		case "done":
			counted.Done++
		case "empty":
			counted.Empty++
		case "failed":
			counted.Failed++
		default:
			counted.Pending++
		}
		return err
	})
	return counted, err
}

// strays reports files of this job that are not in the manifest. Temporary files of
// an interrupted build are not published, so they do not count.
func (v *verification) strays(named map[string]bool) error {
	for _, pattern := range []string{"date=*/", v.plan.InventoryPath() + "/date=*/"} {
		names, err := v.place.List(v.ctx, pattern+v.plan.ID+"-*")
		if err != nil {
			return err
		}
		for _, name := range names {
			switch {
			case named[name]:
			case pattern == "date=*/" && !isPartOf(name, v.plan.ID):
				v.report.problem(MoveFileAway, "%s/%s is not in the manifest", v.place, name)
			default:
				v.report.strays = append(v.report.strays, name)
				v.report.problem(RepairJob, "%s/%s is not in the manifest", v.place, name)
			}
		}
	}
	return nil
}

// isPartOf reports whether a file has the name of a part of the job.
func isPartOf(name, id string) bool {
	form := record.PartForm.FindStringSubmatch(path.Base(name))
	return strings.HasPrefix(name, "date=") && form != nil && form[1] == id
}
