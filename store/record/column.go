package record

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
)

// Kinds of columns of a spool value; doc.go draws the format. The values of a column
// have bytes in common: the low ones, which are zero in whole numbers, and the
// exponent. Storing only the bytes that differ takes a fraction of the time of a
// general compressor.
const (
	columnSome    = 1 << iota // some values are missing
	columnRepeats             // values equal to the previous one are not stored
	columnNone                // all values are missing, and nothing follows
)

// mostColumn returns the largest size of a column with so many points, and room to
// write eight bytes at once.
func mostColumn(points int) int { return 2 + 8 + 2*((points+7)/8) + 8*points + 8 }

// survey describes the values of a column.
type survey struct {
	first   uint64 // bits of the first value
	differ  uint64 // bits in which any other value differs from it
	values  int    // not missing
	repeats int    // equal to the previous one
}

func surveyOf(column []float64) (s survey) {
	var before uint64
	for _, v := range column {
		if v != v { // NaN
			continue
		}
		now := math.Float64bits(v)
		if s.values == 0 {
			s.first = now
		} else if now == before {
			s.repeats++
		}
		s.differ |= now ^ s.first
		s.values++
		before = now
	}
	return s
}

// kind chooses the bitmaps of a column: those that save more bytes than they take.
func (s *survey) kind(points int) (kind byte) {
	if s.values == 0 {
		return columnNone
	}
	if s.values < points {
		kind |= columnSome
	}
	if _, width := shapeOf(s.differ); s.repeats*width > (points+7)/8 {
		kind |= columnRepeats
	}
	return kind
}

// appendColumn appends a column, in which NaN marks missing values. dst must have
// room for mostColumn.
func appendColumn(dst []byte, column []float64, s survey) []byte {
	kind := s.kind(len(column))
	dst = append(dst, kind)
	if kind == columnNone {
		return dst
	}
	if kind&columnSome != 0 {
		dst = appendPresence(dst, column)
	}
	var changed []byte
	if kind&columnRepeats != 0 {
		dst, changed = appendBitmap(dst, len(column))
	}
	lowest, width := shapeOf(s.differ)
	dst = append(dst, byte(lowest<<4|width))
	dst = binary.LittleEndian.AppendUint64(dst, s.first)
	at := len(dst)
	dst = dst[:at+s.values*width+8] // bytes written beyond a value are overwritten by the next
	if kind == 0 {
		for _, v := range column {
			binary.LittleEndian.PutUint64(dst[at:], math.Float64bits(v)>>(8*lowest))
			at += width
		}
		return dst[:at]
	}
	before := ^s.first
	for i, v := range column {
		now := math.Float64bits(v)
		switch {
		case v != v: // NaN
			continue
		case changed == nil:
		case now == before:
			continue
		default:
			SetBit(changed, i)
			before = now
		}
		binary.LittleEndian.PutUint64(dst[at:], now>>(8*lowest))
		at += width
	}
	return dst[:at]
}

// shapeOf returns the lowest byte that differs, and the number of bytes from there to
// the highest that differs.
func shapeOf(differ uint64) (lowest, width int) {
	if differ == 0 {
		return 0, 0
	}
	lowest = bits.TrailingZeros64(differ) / 8
	return lowest, (bits.Len64(differ)+7)/8 - lowest
}

// appendBitmap appends a clear bit for each point.
func appendBitmap(dst []byte, points int) (_, bitmap []byte) {
	at := len(dst)
	dst = append(dst, make([]byte, (points+7)/8)...)
	return dst, dst[at:]
}

func appendPresence(dst []byte, column []float64) []byte {
	dst, bitmap := appendBitmap(dst, len(column))
	for i, v := range column {
		if v == v { // not NaN
			SetBit(bitmap, i)
		}
	}
	return dst
}

// readColumn reads a column with as many points as into has. It returns the bytes
// after it, and whether it has a value at every point.
func readColumn(src []byte, into []float64) (rest []byte, whole bool, err error) {
	size := (len(into) + 7) / 8
	p := packed{src: src}
	kind := p.take(1)
	if kind == nil || kind[0] > columnNone {
		return nil, false, errSpoolDamaged
	}
	if kind[0] == columnNone {
		for i := range into {
			into[i] = math.NaN()
		}
		return p.src, false, nil
	}
	some, repeats := kind[0]&columnSome != 0, kind[0]&columnRepeats != 0
	var presence, changed []byte
	if some {
		presence = p.take(size)
	}
	if repeats {
		changed = p.take(size)
	}
	if !p.open() || some && presence == nil || repeats && changed == nil {
		return nil, false, errSpoolDamaged
	}
	if kind[0] == 0 {
		if len(p.src) < len(into)*p.width {
			return nil, false, errSpoolDamaged
		}
		for i := range into {
			into[i] = p.next()
		}
		return p.src, true, nil
	}
	var v float64
	for i := range into {
		switch {
		case some && !BitSet(presence, i):
			into[i] = math.NaN()
			continue
		case repeats && !BitSet(changed, i):
		case len(p.src) < p.width:
			return nil, false, errSpoolDamaged
		default:
			v = p.next()
		}
		into[i] = v
	}
	return p.src, !some, nil
}

// packed holds the remaining values of a column.
type packed struct {
	common        uint64
	src           []byte
	lowest, width int // in bits and bytes
}

// take returns the next n bytes; nil if there are fewer.
func (p *packed) take(n int) []byte {
	if len(p.src) < n {
		return nil
	}
	taken := p.src[:n:n]
	p.src = p.src[n:]
	return taken
}

// open reads the shape and the first value, and reports whether they are valid.
func (p *packed) open() bool {
	shape, first := p.take(1), p.take(8)
	if first == nil || shape == nil {
		return false
	}
	p.lowest, p.width = 8*int(shape[0]>>4), int(shape[0]&15)
	p.common = binary.LittleEndian.Uint64(first)
	return p.lowest+8*p.width <= 64
}

func (p *packed) next() float64 {
	var bytes uint64
	if len(p.src) >= 8 {
		bytes = binary.LittleEndian.Uint64(p.src)
	} else {
		for i := range p.width {
			bytes |= uint64(p.src[i]) << (8 * i)
		}
	}
	p.src = p.src[p.width:]
	differ := uint64(1)<<(8*p.width) - 1 // all ones for 8: the shift gives 0
	return math.Float64frombits(p.common&^(differ<<p.lowest) | bytes&differ<<p.lowest)
}

var errSpoolDamaged = errors.New("spool value is damaged (checksum mismatch)")
