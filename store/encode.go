package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"cwharvest/store/encode"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// encodeDate writes the rows of one date of a segment in the job's format.
func (j *Job) encodeDate(ctx context.Context, w io.Writer, segment uint64, part *record.Part) (err error) {
	rows, err := j.newPartWriter(w)
	if err != nil {
		return err
	}
	statistics := j.plan.Statistics()
	e := dateEncoder{job: j, out: rows, part: part, place: columnPlaces(j.plan.Series, statistics)}
	e.run.Columns = make([][]float64, len(statistics))
	part.Reset()
	day, err := time.Parse(time.DateOnly, part.Date)
	if err != nil {
		return errors.Join(err, rows.Close())
	}
	prefix := binary.BigEndian.AppendUint32(nil, uint32(day.Unix()/record.SecondsPerDay))
	err = j.readSegment(segment, prefix, func(v spooledValue) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return e.write(v)
	})
	return errors.Join(err, rows.Close())
}

func (j *Job) newPartWriter(w io.Writer) (encode.Writer, error) {
	return j.plan.OutputFormat().NewWriter(w, j.plan.Statistics(), map[string]string{
		"cwharvest.job":  j.plan.ID,
		"cwharvest.plan": string(j.plan.Settings),
	})
}

// columnPlaces returns, for each series, where its statistics stand among all.
func columnPlaces(series []record.Series, statistics []string) [][]int {
	index := map[string]int{}
	for i, s := range statistics {
		index[s] = i
	}
	places := make([][]int, len(series))
	for i := range series {
		for _, s := range series[i].Statistics {
			places[i] = append(places[i], index[s])
		}
	}
	return places
}

// dateEncoder turns spool values into runs; its buffers are reused.
type dateEncoder struct {
	job   *Job
	out   encode.Writer
	part  *record.Part
	place [][]int

	run     encode.Run
	columns [][]float64
	grid    record.Grid
}

func (e *dateEncoder) write(v spooledValue) error {
	name, err := record.ParseSpoolKey(v.key)
	if err != nil {
		return err
	}
	if name.Series >= len(e.place) {
		return fmt.Errorf("spool key %x names series %d of %d", v.key, name.Series, len(e.place))
	}
	if err := e.grid.Decode(v.key, v.value); err != nil {
		return fmt.Errorf("%s %s/%s: %w", name.Dimensions, name.Account, name.Region, err)
	}
	places := e.place[name.Series]
	if e.grid.Statistics != len(places) {
		return fmt.Errorf("spool value of %s has %d statistics, want %d", name.Dimensions, e.grid.Statistics, len(places))
	}
	e.name(name)
	clear(e.run.Columns)
	for i, place := range places {
		e.run.Columns[place] = e.grid.Column(i)
	}
	e.run.Start, e.run.Period, e.run.Points, e.run.Whole = e.grid.Start, e.grid.Period, e.grid.Points, e.grid.Whole
	e.describe()
	return e.out.WriteRun(&e.run)
}

func (e *dateEncoder) name(n record.SpoolName) {
	e.run.Account, e.run.Region, e.run.Namespace, e.run.Dimensions = n.Account, n.Region, n.Namespace, n.Dimensions
	e.run.Metric = e.job.plan.Series[n.Series].Metric
	e.run.InstanceID = record.InstanceID(n.Dimensions)
}

// describe counts the run for the manifest.
func (e *dateEncoder) describe() {
	if g := &e.grid; g.Whole {
		e.part.Count(g.Start, g.Period, 0, g.Points, g.Points)
		return
	}
	e.columns = e.columns[:0]
	for i := range e.grid.Statistics {
		e.columns = append(e.columns, e.grid.Column(i))
	}
	e.part.CountRun(e.columns, e.grid.Start, e.grid.Period, e.grid.Points)
}

// writeManifest writes jobs/ID.manifest.json anew from the database, for
// people and other tools.
func (j *Job) writeManifest() error { return j.dir.disk.WriteManifest(j.db) }

// readBatch is how much of a segment one read transaction copies: a long
// transaction would hold back the pages that the writer could reuse.
const readBatch = 1 << 20

// spooledValue is a copy of one entry of a segment.
type spooledValue struct{ key, value []byte }

// segmentBatch is what one read transaction has copied, in memory that the next
// one reuses.
type segmentBatch struct {
	values []spooledValue
	slab   []byte
}

func (b *segmentBatch) add(key, value []byte) {
	at := len(b.slab)
	b.slab = append(append(b.slab, key...), value...) // when it moves, the values before keep the old one
	end := at + len(key)
	b.values = append(b.values, spooledValue{b.slab[at:end:end], b.slab[end:]})
}

// readSegment yields the entries of a segment whose keys begin with prefix. What
// it yields is void afterwards.
func (j *Job) readSegment(segment uint64, prefix []byte, yield func(spooledValue) error) error {
	var batch segmentBatch
	for next := prefix; next != nil; {
		after, err := j.copySegment(segment, prefix, next, &batch)
		if err != nil {
			return err
		}
		for _, v := range batch.values {
			if err := yield(v); err != nil {
				return err
			}
		}
		next = after
	}
	return nil
}

// copySegment copies entries from a key on, and returns the key to go on at,
// nil at the end.
func (j *Job) copySegment(segment uint64, prefix, from []byte, into *segmentBatch) (next []byte, err error) {
	into.values, into.slab = into.values[:0], into.slab[:0]
	err = j.db.View(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(record.BucketSpool).Bucket(record.SegmentKey(segment))
		if bucket == nil {
			return fmt.Errorf("spool segment %d is missing", segment)
		}
		c := bucket.Cursor()
		for k, v := c.Seek(from); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
			if len(into.slab) > readBatch {
				next = bytes.Clone(k)
				return nil
			}
			into.add(k, v)
		}
		return nil
	})
	return next, err
}
