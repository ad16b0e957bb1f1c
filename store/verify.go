package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"cwharvest/store/place"

	bolt "go.etcd.io/bbolt"
)

// Report is what Verify found. It is good when Problems is empty.
type Report struct {
	Jobs  int
	Parts int
	Rows  int64 // in parts and in the spool
	Bytes int64 // of parts

	// Of all jobs whose database is there: planned is the sum of the rest.
	Instances InstanceCounts
	Targets   TargetCounts

	Problems []string
	Damaged  []string // parts and inventories that are missing or altered
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// Verify proves of every job of a directory that what was planned is
// accounted for, and that the parts are those that were published: present,
// unaltered, none too many, with the rows that the database counts. With deep it
// reads every row. It waits for nobody: a directory in use is a *LockedError.
func Verify(ctx context.Context, dir string, cfg Config, everyRow bool) (*Report, error) {
	if err := exists(dir); err != nil {
		return nil, err
	}
	lock, err := shareLock(dir)
	if err != nil {
		return nil, err
	}
	if lock == nil {
		return nil, &LockedError{Dir: dir, Owner: readOwner(dir)}
	}
	defer lock.Close()
	jobs, err := readJobs(dir)
	if err != nil {
		return nil, err
	}
	if len(jobs) == 0 {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoJob)
	}
	d, report := newDir(dir, cfg), &Report{}
	var rows *deep
	if everyRow {
		rows = newDeep(ctx, report)
	}
	for i := range jobs {
		report.Jobs++
		if err := d.verify(ctx, &jobs[i], report, rows); err != nil {
			return nil, fmt.Errorf("verify job %s: %w", jobs[i].Plan.ID, err)
		}
	}
	if err := d.verifyPlaces(ctx, jobs, report); err != nil {
		return nil, err
	}
	if everyRow {
		return report, d.verifyRows(rows)
	}
	return report, nil
}

// verifyPlaces looks for parts of jobs that nobody knows, and for what is no part
// and looks like one.
func (d *Dir) verifyPlaces(ctx context.Context, jobs []JobInfo, report *Report) error {
	places := map[string]Shard{}
	var known []string
	for i := range jobs {
		known = append(known, jobs[i].Plan.ID)
		places[jobs[i].Plan.Out] = jobs[i].Plan.Shard
	}
	for out, shard := range places {
		at, err := d.place(out)
		if err != nil {
			return err
		}
		all, err := at.List(ctx, everyPart)
		if err != nil {
			return err
		}
		for _, name := range strangers(all, known, shard) {
			report.problem("%s/%s is of no job of this directory: its rows may be there twice", at, name)
		}
		for _, name := range all {
			if base := path.Base(name); dataForm.MatchString(base) && !partForm.MatchString(base) {
				report.problem("%s/%s is no part of any job, and who reads the place reads it: move it away", at, name)
			}
		}
	}
	return nil
}

// verifyRows reads every row, then counts those of each instance.
func (d *Dir) verifyRows(rows *deep) error {
	if err := rows.run(); err != nil {
		return err
	}
	for _, job := range rows.jobs {
		db, err := openForReading(d.jobFile(job.plan.ID, ".db"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // pruned
		}
		if err != nil {
			return err
		}
		if err := errors.Join(rows.compare(db, job), db.close()); err != nil {
			return fmt.Errorf("job %s: %w", job.plan.ID, err)
		}
	}
	return nil
}

// verify checks one job.
func (d *Dir) verify(ctx context.Context, job *JobInfo, report *Report, rows *deep) error {
	at, err := d.place(job.Plan.Out)
	if err != nil {
		return err
	}
	v := verification{ctx: ctx, dir: d, place: at, plan: &job.Plan, report: report}
	if job.Pruned {
		err = v.summary()
	} else {
		if v.db, err = openForReading(d.jobFile(job.Plan.ID, ".db")); err != nil {
			return err
		}
		err = errors.Join(v.run(), v.db.close())
	}
	if rows != nil {
		rows.add(v.plan, at, v.good)
	}
	return err
}

// verification checks one job.
type verification struct {
	ctx    context.Context
	dir    *Dir
	db     *database
	place  place.Place
	plan   *Plan
	report *Report
	good   []Part // that are what the manifest says
}

// summary checks a pruned job by its manifest.
func (v *verification) summary() error {
	m, err := readManifest(v.dir.path, v.plan.ID)
	if err != nil {
		return err
	}
	var s Status
	if err := readJSON(v.dir.jobFile(v.plan.ID, ".summary.json"), &s); err != nil {
		return err
	}
	rows, named, err := v.parts(m.Parts, m.Inventory)
	if err != nil {
		return err
	}
	if rows != s.Rows {
		v.report.problem("job %s: %d rows in parts, but its summary says %d", v.plan.ID, rows, s.Rows)
	}
	v.report.Rows += rows
	return v.strays(named)
}

// parts checks the files of a manifest and returns their rows and names.
func (v *verification) parts(parts []Part, inventory *Part) (rows int64, named map[string]bool, err error) {
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
	m, err := v.db.manifest()
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
	if rows+spooled != recorded { // those of a redo count on both sides
		v.report.problem("job %s: %d rows in parts and %d in the spool, but %d were committed",
			v.plan.ID, rows, spooled, recorded)
	}
	v.report.Rows += rows + spooled
	return v.strays(named)
}

// files checks those that export and repair go by. Of an open job they may be
// behind.
func (v *verification) files() error {
	state, err := v.db.info()
	if err != nil || state.State == Unfinished {
		return err
	}
	if problem := v.dir.checkFiles(v.db, v.plan.ID); problem != nil {
		v.report.problem("%v: `cwharvest repair %s` writes it anew", problem, v.dir.path)
	}
	return nil
}

// staged checks that a part of a redo is there still, without its name.
func (v *verification) staged(p Part) {
	path, err := v.place.Temporary(p.Name)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err == nil {
		return
	}
	if sum, _, sumErr := v.place.Sum(v.ctx, p.Name, false); sumErr == nil && sum == p.SHA256 {
		return // it has its name already
	}
	v.report.Damaged = append(v.report.Damaged, p.Name)
	v.report.problem("%s, built by a redo, is gone: `cwharvest repair %s` gives the redo up and keeps the old rows", path, v.dir.path)
}

// part reports whether one file is what the manifest says.
func (v *verification) part(p Part) (bool, error) {
	sum, size, err := v.place.Sum(v.ctx, p.Name, true)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.report.problem("%s/%s is missing; `cwharvest repair %s` has its rows fetched again", v.place, p.Name, v.dir.path)
	case err != nil:
		return false, fmt.Errorf("%s/%s: %w", v.place, p.Name, err)
	case size != p.Bytes:
		v.report.problem("%s/%s has %d bytes, the manifest says %d; `cwharvest repair %s` has its rows fetched again", v.place, p.Name, size, p.Bytes, v.dir.path)
	case sum != p.SHA256:
		v.report.problem("%s/%s was altered: its SHA-256 differs from the manifest's; `cwharvest repair %s` has its rows fetched again", v.place, p.Name, v.dir.path)
	default:
		v.report.Bytes += p.Bytes
		return true, nil
	}
	v.report.Damaged = append(v.report.Damaged, p.Name)
	return false, nil
}

// database recounts instances and the spool, and compares with the records.
// Parts that an intent has yet to finish are ours as well.
func (v *verification) database(named map[string]bool) (spooled, recorded int64, err error) {
	err = v.db.view(func(tx *bolt.Tx) error {
		var r jobRecord
		if err := getJSON(tx.Bucket(bucketMeta), keyJob, &r); err != nil {
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
		if spooled, err = spooledRows(tx); err != nil {
			return err
		}
		return tx.Bucket(bucketIntents).ForEach(func(key, _ []byte) error {
			var in intent
			if err := getJSON(tx.Bucket(bucketIntents), key, &in); err != nil {
				return err
			}
			for _, p := range in.Parts {
				named[p.Name] = true
				if in.Staged {
					spooled += p.Rows
					v.staged(p)
				}
			}
			return nil
		})
	})
	if err != nil {
		return 0, 0, err
	}
	garbage, err := v.db.garbage()
	for _, name := range garbage {
		named[name] = true // on its way out
	}
	return spooled, recorded, err
}

func spooledRows(tx *bolt.Tx) (rows int64, err error) {
	err = eachSpooled(tx, func(_ []byte, g *grid) error {
		rows += int64(g.rows())
		return nil
	})
	return rows, err
}

// eachSpooled yields every value of the spool, checked.
func eachSpooled(tx *bolt.Tx, yield func(key []byte, g *grid) error) error {
	var g grid
	spool := tx.Bucket(bucketSpool)
	return spool.ForEachBucket(func(segment []byte) error {
		return spool.Bucket(segment).ForEach(func(key, value []byte) error {
			if err := g.decode(key, value); err != nil {
				return err
			}
			return yield(key, &g)
		})
	})
}

// rows counts the points with any datapoint.
func (g *grid) rows() (n int) {
	for i := range g.points {
		for s := range g.statistics {
			if x := g.column(s)[i]; x == x { // not NaN
				n++
				break
			}
		}
	}
	return n
}

// instances recounts every target's instances by their progress.
func (v *verification) instances(tx *bolt.Tx) error {
	targets := map[Target]targetRecord{}
	if err := readTargets(tx, targets); err != nil {
		return err
	}
	shapes := newShapes(v.plan.Series)
	for t, recorded := range targets {
		counted, err := v.recount(tx, t, shapes)
		if err != nil {
			return fmt.Errorf("target %s: %w", t, err)
		}
		c := counted
		if c.Planned != c.Done+c.Empty+c.Failed+c.Pending || c.Planned != recorded.Planned ||
			c.Done != recorded.Done || c.Empty != recorded.Empty || c.Failed != recorded.Failed {
			v.report.problem("%s: instances counted planned %d done %d empty %d failed %d pending %d, recorded %d %d %d %d", t,
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
		v.report.Instances.add(counted)
	}
	return nil
}

// recount counts what came of each instance, and names progress of none.
func (v *verification) recount(tx *bolt.Tx, t Target, shapes map[string]*shape) (counted InstanceCounts, err error) {
	instances, done := tx.Bucket(bucketInstances).Bucket(targetKey(t)), tx.Bucket(bucketProgress).Bucket(targetKey(t))
	if instances != nil {
		err = instances.ForEach(func(key, _ []byte) error {
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
		sh := shapes[groupOf(key)]
		if sh == nil {
			return fmt.Errorf("instance %q has a namespace or dimensions that are not in the plan", key)
		}
		if instances == nil || instances.Get(key) == nil {
			v.report.problem("%s: progress of %q, which is no instance of it", t, key)
		}
		p, err := decodeProgress(value, len(sh.bits))
		switch what, _ := outcome(&p, nil); what {
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

// strays finds files of this job that the manifest does not know. Temporary
// files of an interrupted build are not published: they have no rows.
func (v *verification) strays(named map[string]bool) error {
	for _, pattern := range []string{"date=*/", v.plan.inventories() + "/date=*/"} {
		names, err := v.place.List(v.ctx, pattern+v.plan.ID+"-*")
		if err != nil {
			return err
		}
		for _, name := range names {
			if !named[name] {
				v.report.problem("%s/%s is not in the manifest", v.place, name)
			}
		}
	}
	return nil
}
