package flat

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"sync"

	"cwharvest/pipeline/cloudwatch"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// Bounds of the decoder's memory. A body that exceeds one has an unexpected form.
const (
	bufferSize = 128 << 10
	longText   = 32 << 10 // bytes; NextToken is the longest text of a response
	mostPoints = cloudwatch.MaxDatapoints
	deepest    = 8 // nesting of skipped members
)

// CBOR major types, and heads with them (RFC 8949, section 3).
const (
	majorUint, majorNegative, majorBytes, majorText = 0, 1, 2, 3
	majorArray, majorMap, majorTag, majorOther      = 4, 5, 6, 7

	headEpoch             = 0xc1 // tag 1: seconds since 1970
	headNull, headNothing = 0xf6, 0xf7
	headFloat32           = 0xfa
	headFloat64           = 0xfb
	headBreak             = 0xff
)

// farthest bounds timestamps, in seconds from 1970: later milliseconds would not be
// exact.
const farthest = 1 << 43

var decoders = sync.Pool{New: func() any { return &decoder{buf: make([]byte, bufferSize)} }}

// decoder reads one response. It holds the columns of one result and no more of the
// body than its buffer.
type decoder struct {
	src    io.Reader
	sink   Sink
	buf    []byte // buf[r:w] is unread
	r, w   int
	slid   bool // the beginning of the body is no longer in buf
	listed bool // MetricDataResults has begun

	delivered bool // the sink has received a result
	result    Result
	token     string
}

func (d *decoder) start(src io.Reader, sink Sink) {
	*d = decoder{src: src, sink: sink, buf: d.buf, result: Result{Times: d.result.Times[:0], Values: d.result.Values[:0]}}
}

func (d *decoder) release() {
	d.src, d.sink = nil, nil
	decoders.Put(d)
}

// rest returns the whole body. It must not have slid.
func (d *decoder) rest() io.Reader {
	return io.MultiReader(bytes.NewReader(bytes.Clone(d.buf[:d.w])), d.src)
}

// output reads a GetMetricDataOutput and the end of the body, so that the
// connection can be reused.
func (d *decoder) output() error {
	if err := d.members(d.outputMember); err != nil {
		return err
	}
	switch err := d.need(1); err {
	case errEnd:
		return nil
	case nil:
		return ErrUnexpected // the body is longer
	default:
		return err
	}
}

func (d *decoder) outputMember(name string) (err error) {
	switch name {
	case "MetricDataResults":
		if d.listed {
			return ErrUnexpected
		}
		d.listed = true
		return d.list(d.metricDataResult)
	case "NextToken":
		d.token, err = d.text()
		return err
	case "Messages":
		return d.list(func() error { return d.members(d.messageMember) })
	default:
		return d.skip(deepest)
	}
}

func (d *decoder) metricDataResult() error {
	r := &d.result
	*r = Result{Times: r.Times[:0], Values: r.Values[:0]}
	if err := d.members(d.resultMember); err != nil {
		return err
	}
	d.delivered = true
	d.sink(r)
	return nil
}

func (d *decoder) resultMember(name string) (err error) {
	switch r := &d.result; name {
	case "Id":
		r.ID, err = d.text()
	case "Label":
		_, err = d.word()
	case "StatusCode":
		r.Status, err = d.status()
	case "Timestamps":
		if len(r.Times) > 0 {
			return ErrUnexpected // the member occurs twice
		}
		err = d.elements(d.takeTimes)
	case "Values":
		if len(r.Values) > 0 {
			return ErrUnexpected
		}
		err = d.elements(d.takeValues)
	case "Messages":
		r.Message = ""
		err = d.list(func() error { return d.members(d.messageMember) })
	default:
		err = d.skip(deepest)
	}
	return err
}

func (d *decoder) messageMember(name string) (err error) {
	switch name {
	case "Value":
		d.result.Message, err = d.text()
	case "Code":
		_, err = d.word()
	default:
		err = d.skip(deepest)
	}
	return err
}

func (d *decoder) status() (types.StatusCode, error) {
	word, err := d.word()
	if string(word) == string(types.StatusCodeComplete) {
		return types.StatusCodeComplete, err // needs no allocation
	}
	return types.StatusCode(word), err
}

// takeTimes reads some of the next timestamps, most at most, and returns their
// number. It reads those in the buffer that are floats, as nearly all are, or else
// one.
func (d *decoder) takeTimes(most int) (int, error) {
	times := d.result.Times
	before := len(times)
	buf := d.buf[d.r:d.w]
	for len(buf) >= 10 && buf[0] == headEpoch && buf[1] == headFloat64 && len(times)-before < most {
		seconds := math.Float64frombits(binary.BigEndian.Uint64(buf[2:]))
		if !(math.Abs(seconds) < farthest) {
			return 0, ErrUnexpected
		}
		times = append(times, int64(seconds*1e3))
		buf = buf[10:]
	}
	d.r = d.w - len(buf)
	if len(times) == before {
		t, err := d.time()
		if err != nil {
			return 0, err
		}
		times = append(times, t)
	}
	d.result.Times = times
	return len(times) - before, d.enough(len(times))
}

// takeValues reads values in the same way.
func (d *decoder) takeValues(most int) (int, error) {
	values := d.result.Values
	before := len(values)
	buf := d.buf[d.r:d.w]
	for len(buf) >= 9 && buf[0] == headFloat64 && len(values)-before < most {
		values = append(values, math.Float64frombits(binary.BigEndian.Uint64(buf[1:])))
		buf = buf[9:]
	}
	d.r = d.w - len(buf)
	if len(values) == before {
		v, err := d.number()
		if err != nil {
			return 0, err
		}
		values = append(values, v)
	}
	d.result.Values = values
	return len(values) - before, d.enough(len(values))
}

func (d *decoder) enough(points int) error {
	if points > mostPoints {
		return ErrUnexpected
	}
	return nil
}
