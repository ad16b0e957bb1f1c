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

// encodeDate writes the rows of one date of a segment in the format of the job.
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

// columnPlaces returns, for each series, the columns of its statistics.
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

// dateEncoder converts spool values to runs and reuses its buffers.
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

// describe adds the run to the counts of the part.
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

// writeManifest replaces jobs/ID.manifest.json with the manifest of the database.
func (j *Job) writeManifest() error { return j.dir.disk.WriteManifest(j.db) }

// readBatch is the number of bytes that one read transaction copies. The writer cannot
// reuse freed pages while a transaction is open, so each one is short.
const readBatch = 1 << 20

// spooledValue is a copy of one entry of a segment.
type spooledValue struct{ key, value []byte }

// segmentBatch holds the entries that one read transaction copies. The next one reuses
// its memory.
type segmentBatch struct {
	values []spooledValue
	slab   []byte
}

func (b *segmentBatch) add(key, value []byte) {
	at := len(b.slab)
	b.slab = append(append(b.slab, key...), value...) // if append moves the slab, earlier values keep the old one
	end := at + len(key)
	b.values = append(b.values, spooledValue{b.slab[at:end:end], b.slab[end:]})
}

// readSegment yields the entries of a segment whose keys begin with prefix. An entry is
// valid until yield returns.
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

// copySegment copies entries from a key on. It returns the key of the next batch; nil
// at the end.
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
