package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"cwharvest/store/place"

	bolt "go.etcd.io/bbolt"
)

// Report is what Verify found. It is good when Problems is empty.
type Report struct {
	Jobs     int
	Parts    int
	Rows     int64 // in parts and in the spool
	Bytes    int64 // of parts
	Problems []string
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// Verify proves of every job of a directory that what was planned is
// accounted for, and that the parts are those that were published: present,
// unaltered, none too many, with the rows that the database counts. It waits
// for nobody: a directory in use is a *LockedError.
func Verify(ctx context.Context, dir string, cfg Config) (*Report, error) {
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
	for _, job := range jobs {
		report.Jobs++
		if err := d.verify(ctx, &job.Spec, report); err != nil {
			return nil, fmt.Errorf("verify job %s: %w", job.Spec.ID, err)
		}
	}
	return report, nil
}

// verify checks one job.
func (d *Dir) verify(ctx context.Context, spec *Spec, report *Report) error {
	at, err := d.place(spec.Out)
	if err != nil {
		return err
	}
	db, err := openForReading(d.jobFile(spec.ID, ".db"))
	if err != nil {
		return err
	}
	v := verification{ctx: ctx, db: db, place: at, spec: spec, report: report}
	return errors.Join(v.run(), db.close())
}

// verification checks one job.
type verification struct {
	ctx    context.Context
	db     *database
	place  place.Place
	spec   *Spec
	report *Report
}

func (v *verification) run() error {
	parts, err := v.db.parts()
	if err != nil {
		return err
	}
	var rows int64
	named := map[string]bool{}
	for _, p := range parts {
		named[p.Name] = true
		rows += p.Rows
		if err := v.part(p); err != nil {
			return err
		}
	}
	spooled, recorded, err := v.database(named)
	if err != nil {
		return err
	}
	if rows+spooled != recorded {
		v.report.problem("job %s: %d rows in parts and %d in the spool, but %d were committed",
			v.spec.ID, rows, spooled, recorded)
	}
	v.report.Parts += len(parts)
	v.report.Rows += rows + spooled
	return v.strays(named)
}

// part checks that one file is what the manifest says.
func (v *verification) part(p Part) error {
	sum, size, err := v.place.Sum(v.ctx, p.Name, true)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.report.problem("%s/%s is missing", v.place, p.Name)
	case err != nil:
		return fmt.Errorf("%s/%s: %w", v.place, p.Name, err)
	case size != p.Bytes:
		v.report.problem("%s/%s has %d bytes, the manifest says %d", v.place, p.Name, size, p.Bytes)
	case sum != p.SHA256:
		v.report.problem("%s/%s was altered: its SHA-256 differs from the manifest's", v.place, p.Name)
	default:
		v.report.Bytes += p.Bytes
	}
	return nil
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
			}
			return nil
		})
	})
	return spooled, recorded, err
}

func spooledRows(tx *bolt.Tx) (rows int64, err error) {
	var g grid
	var raw []byte
	spool := tx.Bucket(bucketSpool)
	err = spool.ForEachBucket(func(segment []byte) error {
		return spool.Bucket(segment).ForEach(func(key, value []byte) error {
			if err := g.decode(key, value, &raw); err != nil {
				return err
			}
			for i := range g.points {
				for s := range g.statistics {
					if x := g.column(s)[i]; x == x { // not NaN
						rows++
						break
					}
				}
			}
			return nil
		})
	})
	return rows, err
}

// instances recounts every target's instances by their progress.
func (v *verification) instances(tx *bolt.Tx) error {
	targets := map[Target]targetRecord{}
	if err := readTargets(tx, targets); err != nil {
		return err
	}
	shapes := newShapes(v.spec.Series)
	for t, recorded := range targets {
		counted, err := recount(tx, t, shapes)
		if err != nil {
			return fmt.Errorf("target %s: %w", t, err)
		}
		if counted.Planned != recorded.Planned || counted.Done != recorded.Done ||
			counted.Empty != recorded.Empty || counted.Failed != recorded.Failed {
			v.report.problem("%s: instances counted planned %d done %d empty %d failed %d, recorded %d %d %d %d", t,
				counted.Planned, counted.Done, counted.Empty, counted.Failed,
				recorded.Planned, recorded.Done, recorded.Empty, recorded.Failed)
		}
	}
	return nil
}

func recount(tx *bolt.Tx, t Target, shapes map[string]*shape) (counted targetRecord, err error) {
	if b := tx.Bucket(bucketInstances).Bucket(targetKey(t)); b != nil {
		err = b.ForEach(func(_, _ []byte) error { counted.Planned++; return nil })
	}
	b := tx.Bucket(bucketProgress).Bucket(targetKey(t))
	if b == nil || err != nil {
		return counted, err
	}
	err = b.ForEach(func(key, value []byte) error {
		sh := shapes[groupOf(key)]
		if sh == nil {
			return fmt.Errorf("instance %q has a namespace or dimensions that are not in the plan", key)
		}
		p, err := decodeProgress(value, len(sh.bits))
		if p.complete {
			counted.complete(&p)
		}
		return err
	})
	return counted, err
}

// strays finds files of this job that the manifest does not know. Temporary
// files of an interrupted build are not published: they have no rows.
func (v *verification) strays(named map[string]bool) error {
	names, err := v.place.List(v.ctx, "date=*/"+v.spec.ID+"-*")
	if err != nil {
		return err
	}
	for _, name := range names {
		if !named[name] {
			v.report.problem("%s/%s is not in the manifest", v.place, name)
		}
	}
	return nil
}
