package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"cwharvest/store/encode"

	bolt "go.etcd.io/bbolt"
)

// EachSpooled decodes and yields every value of the spool.
func EachSpooled(tx *bolt.Tx, yield func(key []byte, g *Grid) error) error {
	var g Grid
	spool := tx.Bucket(BucketSpool)
	return spool.ForEachBucket(func(segment []byte) error {
		return spool.Bucket(segment).ForEach(func(key, value []byte) error {
			if err := g.Decode(key, value); err != nil {
				return err
			}
			return yield(key, &g)
		})
	})
}

// SpooledRows counts the rows of the spool.
func SpooledRows(tx *bolt.Tx) (rows int64, err error) {
	err = EachSpooled(tx, func(_ []byte, g *Grid) error {
		rows += int64(g.Rows())
		return nil
	})
	return rows, err
}

// Rows counts the points with a datapoint.
func (g *Grid) Rows() (n int) {
	for i := range g.Points {
		for s := range g.Statistics {
			if x := g.Column(s)[i]; x == x { // not NaN
				n++
				break
			}
		}
	}
	return n
}

// DefaultSpoolLimit is the default limit, in bytes, of data that are committed and
// not yet published. At the limit, commits wait for the builder, and so does fetching.
const DefaultSpoolLimit = 2 << 30

// spoolVersion is the first byte of a spool value; doc.go draws the format.
const spoolVersion = 2

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Grid is a decoded spool value: one column of points for each statistic.
type Grid struct {
	Start, Period int64
	Points        int
	Statistics    int
	values        []float64
	Whole         bool // every column has a value at every point
}

// Column returns the values of one statistic; NaN marks missing ones.
func (g *Grid) Column(i int) []float64 { return g.values[i*g.Points : (i+1)*g.Points] }

// SpoolEncoder encodes the spool values of one transaction. bbolt refers to their
// memory until the transaction ends; the next transaction reuses it.
type SpoolEncoder struct {
	slab    []byte
	surveys []survey // of the columns being encoded
}

// Begin starts a transaction.
func (e *SpoolEncoder) Begin() { e.slab = e.slab[:0] }

const slabSize = 1 << 20

// Encode returns the spool value of rows [from, to) of the columns, and the numbers
// of rows and datapoints in it. The value is nil if there are no datapoints.
func (e *SpoolEncoder) Encode(key []byte, w Window, columns [][]float64, from, to int) (value []byte, rows int, datapoints int64) {
	if rows = e.survey(columns, from, to); rows < to-from {
		if from, to, rows = trim(columns, from, to); rows == 0 {
			return nil, 0, 0
		}
		e.survey(columns, from, to)
	}
	const head = 1 + 4*binary.MaxVarintLen64 + 4
	if most := head + len(columns)*mostColumn(to-from); cap(e.slab)-len(e.slab) < most {
		e.slab = make([]byte, 0, max(slabSize, most, 2*cap(e.slab))) // bbolt may refer to the old slab
	}
	value = append(e.slab[len(e.slab):], spoolVersion)
	value = binary.AppendUvarint(value, uint64(w.Start+int64(from)*w.Period))
	value = binary.AppendUvarint(value, uint64(w.Period))
	value = binary.AppendUvarint(value, uint64(to-from))
	value = binary.AppendUvarint(value, uint64(len(columns)))
	for i, column := range columns {
		value = appendColumn(value, column[from:to], e.surveys[i])
		datapoints += int64(e.surveys[i].values)
	}
	value = binary.LittleEndian.AppendUint32(value, spoolSum(key, value))
	e.slab = e.slab[:len(e.slab)+len(value)]
	return value[:len(value):len(value)], rows, datapoints
}

// survey describes the columns and returns the largest number of values in one of
// them. If it equals the number of rows, no row is empty.
func (e *SpoolEncoder) survey(columns [][]float64, from, to int) (most int) {
	e.surveys = e.surveys[:0]
	for _, column := range columns {
		s := surveyOf(column[from:to])
		e.surveys = append(e.surveys, s)
		most = max(most, s.values)
	}
	return most
}

// trim narrows [from, to) to the rows between the first and the last one with a
// datapoint, and counts the rows with a datapoint.
func trim(columns [][]float64, from, to int) (first, end, rows int) {
	for _, c := range columns {
		if encode.Complete(c[from:to]) {
			return from, to, to - from
		}
	}
	first, end = to, to
	for i := from; i < to; i++ {
		if !anyValue(columns, i) {
			continue
		}
		if rows == 0 {
			first = i
		}
		rows++
		end = i + 1
	}
	return first, end, rows
}

func anyValue(columns [][]float64, i int) bool {
	for _, c := range columns {
		if c[i] == c[i] { // not NaN
			return true
		}
	}
	return false
}

// spoolSum returns the checksum of a key and its value: bbolt has none.
func spoolSum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// Decode decodes a value into g and reuses its memory.
func (g *Grid) Decode(key, value []byte) error {
	const sum = 4
	if len(value) < 1+sum || value[0] != spoolVersion {
		return errSpoolDamaged
	}
	body := value[:len(value)-sum]
	if spoolSum(key, body) != binary.LittleEndian.Uint32(value[len(body):]) {
		return errSpoolDamaged
	}
	body = body[1:]
	var header [4]uint64
	for i := range header {
		v, n := binary.Uvarint(body)
		if n <= 0 {
			return errSpoolDamaged
		}
		header[i], body = v, body[n:]
	}
	if max(header[2], header[3]) > maxSpoolPoints || min(header[2], header[3]) == 0 || max(header[0], header[1]) > uint64(encode.LastSecond) {
		return fmt.Errorf("spool value holds %d x %d datapoints from %d by %d: %w", header[2], header[3], header[0], header[1], errSpoolDamaged)
	}
	g.Start, g.Period = int64(header[0]), int64(header[1])
	g.Points, g.Statistics = int(header[2]), int(header[3])
	if !(Window{g.Start, g.Start + int64(g.Points)*g.Period, g.Period}).possible(g.Statistics) {
		return errSpoolDamaged
	}
	n := g.Points * g.Statistics
	if cap(g.values) < n {
		g.values = make([]float64, n)
	}
	g.values = g.values[:n]
	return g.unpack(body)
}

func (g *Grid) unpack(body []byte) (err error) {
	g.Whole = len(g.values) > 0
	for i := range g.Statistics {
		var whole bool
		if body, whole, err = readColumn(body, g.Column(i)); err != nil {
			return err
		}
		g.Whole = g.Whole && whole
	}
	if len(body) > 0 {
		return errSpoolDamaged
	}
	return nil
}
