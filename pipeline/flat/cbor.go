package flat

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
)

// The parts of CBOR (RFC 8949) that responses use. Every function reads one item and
// returns ErrUnexpected for a form that it does not know.

var errEnd = errors.New("end of body")

// need makes n bytes, at most the buffer's size, available at d.r. At the end
// of the body it returns errEnd.
func (d *decoder) need(n int) error {
	if n > len(d.buf) {
		return ErrUnexpected
	}
	if len(d.buf)-d.r < n {
		d.w = copy(d.buf, d.buf[d.r:d.w])
		d.r, d.slid = 0, true
	}
	for d.w-d.r < n {
		got, err := d.src.Read(d.buf[d.w:])
		d.w += got
		switch {
		case d.w-d.r >= n:
		case err == io.EOF:
			return errEnd
		case err != nil:
			return err
		}
	}
	return nil
}

// want makes n bytes available as need does, but at the end of the body it returns
// ErrUnexpected: the document is incomplete.
func (d *decoder) want(n int) error {
	if d.w-d.r >= n {
		return nil
	}
	err := d.need(n)
	if err == errEnd {
		return ErrUnexpected
	}
	return err
}

// head reads the head of an item of the given major type. It returns the argument,
// or open for an item of indefinite length.
func (d *decoder) head(major byte) (n int, open bool, err error) {
	if err := d.want(1); err != nil {
		return 0, false, err
	}
	first := d.buf[d.r]
	if first>>5 != major {
		return 0, false, ErrUnexpected
	}
	minor := first & 31
	size := 0
	switch {
	case minor < 24:
		d.r++
		return int(minor), false, nil
	case minor < 28:
		size = 1 << (minor - 24)
	case minor == 31 && (major == majorArray || major == majorMap):
		d.r++
		return 0, true, nil
	default:
		return 0, false, ErrUnexpected
	}
	if err := d.want(1 + size); err != nil {
		return 0, false, err
	}
	var wide [8]byte
	copy(wide[8-size:], d.buf[d.r+1:d.r+1+size])
	argument := binary.BigEndian.Uint64(wide[:])
	if argument > 1<<53 { // beyond what a float64 holds exactly
		return 0, false, ErrUnexpected
	}
	d.r += 1 + size
	return int(argument), false, nil
}

// is reports whether the next item begins with the byte, and if so consumes it.
func (d *decoder) is(head byte) (bool, error) {
	if err := d.want(1); err != nil || d.buf[d.r] != head {
		return false, err
	}
	d.r++
	return true, nil
}

// elements reads an array. It calls take with the number of remaining elements at
// most; take reads one or more and returns their number.
func (d *decoder) elements(take func(most int) (int, error)) error {
	n, open, err := d.head(majorArray)
	for open {
		if over, err := d.is(headBreak); over || err != nil {
			return err
		}
		if _, err := take(math.MaxInt); err != nil {
			return err
		}
	}
	for err == nil && n > 0 {
		var took int
		took, err = take(n)
		n -= took
	}
	return err
}

// list reads an array element by element.
func (d *decoder) list(element func() error) error {
	return d.elements(func(int) (int, error) { return 1, element() })
}

// members reads a map with text keys. It leaves out members that are null.
func (d *decoder) members(member func(name string) error) error {
	n, open, err := d.head(majorMap)
	for ; err == nil && (open || n > 0); n-- {
		if open {
			if over, err := d.is(headBreak); over || err != nil {
				return err
			}
		}
		err = d.member(member)
	}
	return err
}

func (d *decoder) member(member func(name string) error) error {
	word, err := d.word()
	if err != nil {
		return err
	}
	name := known[string(word)] // word is in the buffer, which changes
	for _, nothing := range []byte{headNull, headNothing} {
		if yes, err := d.is(nothing); yes || err != nil {
			return err
		}
	}
	return member(name)
}

// known holds the names of members that are decoded; all others are skipped.
var known = map[string]string{
	"MetricDataResults": "MetricDataResults", "NextToken": "NextToken", "Messages": "Messages",
	"Id": "Id", "Label": "Label", "StatusCode": "StatusCode", "Timestamps": "Timestamps", "Values": "Values",
	"Value": "Value", "Code": "Code",
}

// word reads text. It is valid until the next read.
func (d *decoder) word() ([]byte, error) {
	n, _, err := d.head(majorText)
	switch {
	case err != nil:
		return nil, err
	case n > longText:
		return nil, ErrUnexpected
	}
	if err := d.want(n); err != nil {
		return nil, err
	}
	d.r += n
	return d.buf[d.r-n : d.r], nil
}

func (d *decoder) text() (string, error) {
	word, err := d.word()
	return string(word), err
}

// time reads a timestamp as Unix milliseconds.
func (d *decoder) time() (int64, error) {
	if epoch, err := d.is(headEpoch); err != nil || !epoch {
		return 0, orUnexpected(err)
	}
	if err := d.want(1); err != nil {
		return 0, err
	}
	seconds, err := d.number()
	if err != nil || !(math.Abs(seconds) < farthest) {
		return 0, orUnexpected(err)
	}
	return int64(seconds * 1e3), nil
}

// orUnexpected returns the error of a read, or ErrUnexpected if the read succeeded
// but found another item.
func orUnexpected(err error) error {
	if err != nil {
		return err
	}
	return ErrUnexpected
}

// number reads a float of 32 or 64 bits, or an integer that a float64 holds exactly.
func (d *decoder) number() (float64, error) {
	if err := d.want(1); err != nil {
		return 0, err
	}
	switch first := d.buf[d.r]; {
	case first == headFloat64:
		if err := d.want(9); err != nil {
			return 0, err
		}
		d.r += 9
		return math.Float64frombits(binary.BigEndian.Uint64(d.buf[d.r-8:])), nil
	case first == headFloat32:
		if err := d.want(5); err != nil {
			return 0, err
		}
		d.r += 5
		return float64(math.Float32frombits(binary.BigEndian.Uint32(d.buf[d.r-4:]))), nil
	case first>>5 == majorNegative:
		n, _, err := d.head(majorNegative)
		return -1 - float64(n), err
	default:
		n, _, err := d.head(majorUint)
		return float64(n), err
	}
}

// skip skips an item whose arrays and maps nest no deeper than depth.
func (d *decoder) skip(depth int) error {
	if err := d.want(1); err != nil {
		return err
	}
	switch major := d.buf[d.r] >> 5; major {
	case majorUint, majorNegative:
		_, _, err := d.head(major)
		return err
	case majorText, majorBytes:
		return d.skipBytes(major)
	case majorArray:
		if depth == 0 {
			return ErrUnexpected
		}
		return d.list(func() error { return d.skip(depth - 1) })
	case majorMap:
		if depth == 0 {
			return ErrUnexpected
		}
		return d.members(func(string) error { return d.skip(depth - 1) })
	case majorTag:
		if _, _, err := d.head(major); err != nil || depth == 0 {
			return orUnexpected(err)
		}
		return d.skip(depth - 1)
	default:
		return d.skipOther()
	}
}

func (d *decoder) skipBytes(major byte) error {
	n, _, err := d.head(major)
	for err == nil && n > 0 {
		err = d.want(1)
		some := min(n, d.w-d.r)
		d.r += some
		n -= some
	}
	return err
}

// skipOther skips a simple value or a float.
func (d *decoder) skipOther() error {
	sizes := map[byte]int{0xf4: 1, 0xf5: 1, headNull: 1, headNothing: 1, 0xf9: 3, headFloat32: 5, headFloat64: 9}
	n, simple := sizes[d.buf[d.r]]
	if !simple {
		return ErrUnexpected
	}
	if err := d.want(n); err != nil {
		return err
	}
	d.r += n
	return nil
}
