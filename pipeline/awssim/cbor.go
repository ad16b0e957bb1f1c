package awssim

import (
	"encoding/binary"
	"math"
)

// appendHead appends the head of a CBOR item (RFC 8949). The functions in this file
// append by hand, so that responses can be encoded into reused buffers.
func appendHead(b []byte, major byte, n int) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	default:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
}

func appendMap(b []byte, n int) []byte   { return appendHead(b, 5, n) }
func appendArray(b []byte, n int) []byte { return appendHead(b, 4, n) }

func appendText(b []byte, s string) []byte { return append(appendHead(b, 3, len(s)), s...) }

func appendFloat(b []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(append(b, 0xfb), math.Float64bits(v))
}

// appendTime appends a time as the SDK writes it: tag 1 (epoch time) and a float.
func appendTime(b []byte, unix int64) []byte { return appendFloat(append(b, 0xc1), float64(unix)) }
