// Package lost decides about the files of lost parts: parts that a repair found missing
// or altered, and the others of their segments. Their rows are fetched again, and such a
// file is removed only when nothing is lost with it.
package lost

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sort"

	"cwharvest/store/encode"
	"cwharvest/store/place"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// Returned reports whether all lost parts of a segment exist again with their
// SHA-256, when a disk was mounted again for example.
func Returned(ctx context.Context, at place.Place, lost []record.Part) (bool, error) {
	returned := map[uint64]bool{}
	for i := range lost {
		p := &lost[i]
		if is, seen := returned[p.Segment]; p.SHA256 == "" || seen && !is {
			continue
		}
		sum, _, err := at.Sum(ctx, p.Name, true)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		returned[p.Segment] = sum == p.SHA256
	}
	for _, is := range returned {
		if is {
			return true, nil
		}
	}
	return false, nil
}

// MayRemove reports whether nothing is lost with the file of a lost part: it does not
// exist, it was altered, or the committed rows of each of its series-windows replace its
// rows. Rows of a coarser period do not.
func MayRemove(ctx context.Context, db *record.Database, at place.Place, plan *record.Plan, p *record.Part) (bool, error) {
	sum, _, err := at.Sum(ctx, p.Name, true)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	case p.SHA256 != "" && p.SHA256 != sum:
		return true, nil
	}
	c := coverage{db: db, plan: plan, shapes: record.NewShapes(plan.Series)}
	err = record.ReadRuns(ctx, at, plan.OutputFormat(), p.Name, func(run *encode.Run, _ []string) error {
		return errors.Join(ctx.Err(), c.add(run))
	})
	if err == nil {
		err = c.close()
	}
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, errNotCovered):
		return false, nil
	case place.Transient(err) || ctx.Err() != nil || p.SHA256 != "":
		return false, err
	default: // a file without a checksum that cannot be read
		return true, nil
	}
}

var errNotCovered = errors.New("rows are not published elsewhere")

// coverage compares the rows of a part with the progress of their instances.
type coverage struct {
	db     *record.Database
	plan   *record.Plan
	shapes map[string]*record.Shape

	// The current instance:
	target   record.Target
	key      string
	rows     uint64 // in the part
	progress record.Progress
}

// add returns errNotCovered for a run with rows in a series-window that is not done.
func (c *coverage) add(run *encode.Run) error {
	series := c.plan.SeriesOf(run.Namespace, run.Metric, run.Dimensions)
	if series < 0 {
		return errNotCovered
	}
	shape := c.shapes[c.plan.Series[series].Group()]
	if err := c.enter(run, series, shape); err != nil {
		return err
	}
	windows := c.plan.Series[series].Windows
	for i := range run.Points {
		if !run.HasRow(i) {
			continue
		}
		at := run.Start + int64(i)*run.Period
		w := sort.Search(len(windows), func(n int) bool { return windows[n].End > at })
		if w == len(windows) || at < windows[w].Start || windows[w].Period > run.Period {
			return errNotCovered
		}
		bit := shape.Index[record.SeriesWindow{Series: series, Window: w}]
		if !c.progress.Marked(bit) || record.BitSet(c.progress.Failed, bit) {
			return errNotCovered
		}
		c.rows++
	}
	return nil
}

// enter reads the progress of the run's instance if it is another one than before.
func (c *coverage) enter(run *encode.Run, series int, shape *record.Shape) error {
	in := record.Instance{Namespace: run.Namespace, Dimensions: record.ParseDimensions(run.Dimensions, c.plan.Series[series].Dimensions)}
	target, key := record.Target{Account: run.Account, Region: run.Region}, in.Key()
	if target == c.target && key == c.key {
		return nil
	}
	if err := c.close(); err != nil {
		return err
	}
	c.target, c.key, c.rows = target, key, 0
	return c.db.View(func(tx *bolt.Tx) (err error) {
		var value []byte
		if b := tx.Bucket(record.BucketProgress).Bucket(record.TargetKey(target)); b != nil {
			value = slices.Clone(b.Get([]byte(key)))
		}
		c.progress, err = record.DecodeProgress(value, len(shape.Bits))
		return err
	})
}

// close checks the number of rows of the current instance: a series-window that is done
// may have none.
func (c *coverage) close() error {
	if c.rows > c.progress.Rows {
		return errNotCovered
	}
	return nil
}
