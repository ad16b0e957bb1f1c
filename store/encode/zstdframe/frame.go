package zstdframe

import (
	"encoding/binary"
	"math/bits"
)

const (
	chunk      = 1024 // values whose shared bytes are looked for together
	leastChunk = 64   // values; smaller blocks would save less than their headers cost
	leastMatch = 3    // bytes; zstd has no shorter match

	// mostMatch leaves a literal for each value. Without literals, code 0 would not
	// mean the previous distance (RFC 8878, 3.1.1.5).
	mostMatch = 7

	// leastSequences make a compressed block shorter than its content, as it must
	// be (RFC 8878, 3.1.1.2.3).
	leastSequences = 8

	maxBlock = 128 << 10 // bytes of content
)

// appendShared appends a shared-bytes frame of src, which is a head and then
// values of eight bytes.
func appendShared(dst, src []byte, head int) []byte {
	f := frame{out: dst, src: src}
	f.out = binary.LittleEndian.AppendUint32(f.out, 0xFD2FB528)
	f.out = append(f.out, 0b10_1_00000) // four bytes of size, one segment, no checksum
	f.out = binary.LittleEndian.AppendUint32(f.out, uint32(len(src)))
	f.raw(min(head+8, len(src)))
	for from := head + 8; from < len(src); from += chunk * 8 {
		f.chunk(head, min(from+chunk*8, len(src)))
	}
	f.raw(len(src) - f.done)
	f.header(blockRaw, 0, true)
	return f.out
}

const blockRaw, blockCompressed = 0, 2

// frame is a shared-bytes frame in the making.
type frame struct {
	out, src []byte
	done     int  // bytes of src that are in out
	distance bool // a sequence has set the decoder's previous distance to 8
}

// header appends the header of a block of size bytes.
func (f *frame) header(kind, size int, last bool) {
	h := size<<3 | kind<<1
	if last {
		h |= 1
	}
	f.out = append(f.out, byte(h), byte(h>>8), byte(h>>16))
}

// raw appends the next n bytes of src as they are.
func (f *frame) raw(n int) {
	for n > 0 {
		size := min(n, maxBlock)
		f.header(blockRaw, size, false)
		f.out = append(f.out, f.src[f.done:f.done+size]...)
		f.done, n = f.done+size, n-size
	}
}

// chunk appends src up to end. It halves a chunk whose values share too little: an
// outlier then leaves only its neighbours without shared bytes. An incomplete
// match at the end, and values that are too few for a block, are left to the next
// chunk.
func (f *frame) chunk(head, end int) {
	first, match := sharedBytes(f.src, f.done-(f.done-head)%8, end)
	if n := (end - f.done) / 8; match < leastMatch && n >= 2*leastChunk {
		f.chunk(head, end-n/2*8)
		f.chunk(head, end)
		return
	}
	if match < leastMatch {
		f.raw(end - f.done)
		return
	}
	// A sequence ends with its match, so it begins behind the shared bytes.
	f.raw(min((first+match-(f.done-head)%8+8)%8, end-f.done))
	if (end-f.done)/8 >= leastSequences && !f.distance {
		f.sequences(leastSequences, match)
		f.distance = true
	}
	if n := (end - f.done) / 8; n >= leastSequences {
		f.sequences(n, match)
	}
}

// distances are the bits that follow the code of the distance, 011 for each of
// leastSequences: 2^3 + 3 is the distance 8, because 1 to 3 mean previous ones.
const distances = "\xdb\xb6\x6d"

// sequences appends a block of n values.
func (f *frame) sequences(n, match int) {
	const (
		literalsHeader  = 3
		sequencesHeader = 1 + 1 + 3 // their number up to 127, the modes, three codes
		sameCodes       = 0b01_01_01_00
	)
	literals := 8 - match
	size := literalsHeader + n*literals + sequencesHeader + 1
	if n > 127 {
		size++
	}
	if !f.distance {
		size += len(distances)
	}
	f.header(blockCompressed, size, false)
	h := n*literals<<4 | 0b11_00 // raw, 20 bits of size
	f.out = append(f.out, byte(h), byte(h>>8), byte(h>>16))
	f.out = appendLiterals(f.out, f.src[f.done:f.done+8*n], literals)
	if n > 127 {
		f.out = append(f.out, byte(n>>8)+128, byte(n))
	} else {
		f.out = append(f.out, byte(n))
	}
	f.out = append(f.out, sameCodes, byte(literals))
	if f.distance {
		f.out = append(f.out, 0, byte(match-leastMatch), 1) // the previous distance, and no bits
	} else {
		f.out = append(append(f.out, 3, byte(match-leastMatch)), distances...)
		f.out = append(f.out, 1)
	}
	f.done += 8 * n
}

// appendLiterals appends the first n bytes of every eight of src.
func appendLiterals(dst, src []byte, n int) []byte {
	at := len(dst)
	end := at + len(src)/8*n
	if cap(dst) < end+8 {
		dst = append(make([]byte, 0, 2*end+8), dst...)
	}
	dst = dst[:end+8] // each write is eight bytes; the next overwrites the excess
	for ; len(src) >= 8; src = src[8:] {
		binary.LittleEndian.PutUint64(dst[at:], binary.LittleEndian.Uint64(src))
		at += n
	}
	return dst[:end]
}

// sharedBytes finds the longest row of bytes that each value of src[from:end]
// shares with the value before it. The row may wrap around, from the last byte of
// a value to the first byte of the next one. The value before from must be in src.
func sharedBytes(src []byte, from, end int) (first, length int) {
	var differ uint64
	before := binary.LittleEndian.Uint64(src[from-8:])
	for s := src[from:end]; len(s) >= 8; s = s[8:] {
		v := binary.LittleEndian.Uint64(s)
		differ |= v ^ before
		before = v
	}
	for i := range 8 {
		n := 0
		for n < mostMatch && bits.RotateLeft64(differ, -8*(i+n))&0xff == 0 {
			n++
		}
		if n > length {
			first, length = i, n
		}
	}
	return first, length
}
