package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/klauspost/compress/s2"
)

// A spool value holds the datapoints of one series-window on one UTC date:
//
//	version byte | start, period, points, statistics as uvarints | S2 block of
//	points*statistics float64 (little endian, one column after the other, NaN
//	where there is no datapoint) | CRC-32C of key and all before it
//
// bbolt has no checksums of its own.
const spoolVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// grid is a spool value taken apart: values has statistics columns of points.
type grid struct {
	start, period int64
	points        int
	statistics    int
	values        []float64
}

func (g *grid) column(i int) []float64 { return g.values[i*g.points : (i+1)*g.points] }

// spoolEncoder builds spool values in reused buffers.
type spoolEncoder struct {
	raw, packed []byte
}

// encode returns the value of rows [from, to) of the columns and the number of
// rows with at least one datapoint; nil and 0 when there are none. The value
// is fresh: bbolt keeps it until the transaction ends.
func (e *spoolEncoder) encode(key []byte, w Window, columns [][]float64, from, to int) (value []byte, rows int) {
	from, to, rows = trim(columns, from, to)
	if rows == 0 {
		return nil, 0
	}
	e.raw = e.raw[:0]
	for _, column := range columns {
		for _, v := range column[from:to] {
			e.raw = binary.LittleEndian.AppendUint64(e.raw, math.Float64bits(v))
		}
	}
	e.packed = s2.Encode(e.packed[:cap(e.packed)], e.raw)
	value = make([]byte, 0, len(e.packed)+32)
	value = append(value, spoolVersion)
	value = binary.AppendUvarint(value, uint64(w.Start+int64(from)*w.Period))
	value = binary.AppendUvarint(value, uint64(w.Period))
	value = binary.AppendUvarint(value, uint64(to-from))
	value = binary.AppendUvarint(value, uint64(len(columns)))
	value = append(value, e.packed...)
	return binary.LittleEndian.AppendUint32(value, spoolSum(key, value)), rows
}

// trim narrows [from, to) to the rows between the first and the last that hold
// a datapoint, and counts those that do.
func trim(columns [][]float64, from, to int) (first, end, rows int) {
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

func spoolSum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

var errSpoolDamaged = errors.New("spool value is damaged (checksum mismatch)")

// maxSpoolPoints bounds what a damaged value can make us allocate.
const maxSpoolPoints = 1 << 20

// decode reads a value into g, reusing its memory.
func (g *grid) decode(key, value []byte, raw *[]byte) error {
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
	if max(header[2], header[3]) > maxSpoolPoints || min(header[2], header[3]) == 0 || max(header[0], header[1]) > uint64(lastSecond) {
		return fmt.Errorf("spool value holds %d x %d datapoints from %d by %d: %w", header[2], header[3], header[0], header[1], errSpoolDamaged)
	}
	g.start, g.period = int64(header[0]), int64(header[1])
	g.points, g.statistics = int(header[2]), int(header[3])
	if !(Window{g.start, g.start + int64(g.points)*g.period, g.period}).possible(g.statistics) {
		return errSpoolDamaged
	}
	return g.unpack(body, raw)
}

func (g *grid) unpack(body []byte, raw *[]byte) error {
	n := g.points * g.statistics
	if size, err := s2.DecodedLen(body); err != nil || size != 8*n {
		return errSpoolDamaged
	}
	decoded, err := s2.Decode((*raw)[:cap(*raw)], body)
	if err != nil {
		return fmt.Errorf("%w: %v", errSpoolDamaged, err)
	}
	*raw = decoded
	if cap(g.values) < n {
		g.values = make([]float64, n)
	}
	g.values = g.values[:n]
	for i := range g.values {
		g.values[i] = math.Float64frombits(binary.LittleEndian.Uint64(decoded[8*i:]))
	}
	return nil
}
