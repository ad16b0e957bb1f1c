package encode

import (
	"encoding/binary"
	"math/bits"
)

// A column of doubles is slow to compress: a general matcher finds, after much
// search, that each value shares some bytes with the one before it, such as the
// low ones, which are zero in whole numbers, and the exponent. Here these bytes
// are known beforehand, so that a zstd frame (RFC 8878) is written without a
// search: all its matches have one length and the offset 8, which are told once
// a block and cost no bit for a value.

const (
	sharedChunk = 1024 // values that share the same bytes; a block
	leastMatch  = 3    // bytes, of zstd
	mostMatch   = 7    // more is left to the general matcher: such values repeat

	// leastSequences make a block shorter than what it stands for, as it must be
	// (RFC 8878, 3.1.1.2.3).
	leastSequences = 8
)

// appendShared appends a zstd frame of src, which are values of eight bytes
// behind a head.
func appendShared(frame, src []byte, head int) []byte {
	f := sharedFrame{out: frame, src: src}
	f.out = binary.LittleEndian.AppendUint32(f.out, 0xFD2FB528)
	f.out = append(f.out, 0b10_1_00000) // four bytes of size, one segment, no checksum
	f.out = binary.LittleEndian.AppendUint32(f.out, uint32(len(src)))
	f.raw(min(head+8, len(src)))
	for from := head + 8; from < len(src); from += sharedChunk * 8 {
		f.chunk(head, min(from+sharedChunk*8, len(src)))
	}
	f.raw(len(src) - f.at)
	f.block(blockRaw, 0, true)
	return f.out
}

const blockRaw, blockCompressed = 0, 2

type sharedFrame struct {
	out, src []byte
	at       int  // of src: what comes before is in out
	offset   bool // the decoder knows the offset 8
}

// block appends the head of a block of size bytes.
func (f *sharedFrame) block(kind, size int, last bool) {
	h := size<<3 | kind<<1
	if last {
		h |= 1
	}
	f.out = append(f.out, byte(h), byte(h>>8), byte(h>>16))
}

// raw appends n bytes as they are.
func (f *sharedFrame) raw(n int) {
	const most = 128 << 10 // of a block
	for n > 0 {
		size := min(n, most)
		f.block(blockRaw, size, false)
		f.out = append(f.out, f.src[f.at:f.at+size]...)
		f.at, n = f.at+size, n-size
	}
}

// chunk appends src up to an end, but for what is no whole match, or too few.
func (f *sharedFrame) chunk(head, end int) {
	lane, match := sharedBytes(f.src, f.at-(f.at-head)%8, end)
	if match < leastMatch {
		f.raw(end - f.at)
		return
	}
	// Sequences begin behind a match.
	f.raw(min((lane+match-(f.at-head)%8+8)%8, end-f.at))
	if (end-f.at)/8 >= leastSequences && !f.offset {
		f.sequences(leastSequences, match)
		f.offset = true
	}
	if n := (end - f.at) / 8; n >= leastSequences {
		f.sequences(n, match)
	}
}

// offsets are what leastSequences have of bits: 2^3 and 3 bits of 3 stand for 8.
const offsets = "\xdb\xb6\x6d" // 011 011 ...

// sequences appends n times some literals and a match, eight bytes together.
func (f *sharedFrame) sequences(n, match int) {
	const (
		literalHead  = 3
		sequenceHead = 1 + 1 + 3 // of their number up to 127, the modes, a symbol of each kind
		rle          = 0b01_01_01_00
	)
	literals := 8 - match
	size := literalHead + n*literals + sequenceHead + 1
	if n > 127 {
		size++
	}
	if !f.offset {
		size += len(offsets)
	}
	f.block(blockCompressed, size, false)
	h := n*literals<<4 | 0b11_00 // raw, 20 bits of size
	f.out = append(f.out, byte(h), byte(h>>8), byte(h>>16))
	f.out = appendLiterals(f.out, f.src[f.at:f.at+8*n], literals)
	if n > 127 {
		f.out = append(f.out, byte(n>>8)+128, byte(n))
	} else {
		f.out = append(f.out, byte(n))
	}
	f.out = append(f.out, rle, byte(literals))
	if f.offset {
		f.out = append(f.out, 0, byte(match-leastMatch), 1) // the offset before; no bits
	} else {
		f.out = append(append(f.out, 3, byte(match-leastMatch)), offsets...)
		f.out = append(f.out, 1)
	}
	f.at += 8 * n
}

// appendLiterals appends the first bytes of each eight.
func appendLiterals(dst, src []byte, first int) []byte {
	at := len(dst)
	end := at + len(src)/8*first
	if cap(dst) < end+8 {
		dst = append(make([]byte, 0, 2*end+8), dst...)
	}
	dst = dst[:end+8] // what is written beyond is overwritten
	for ; len(src) >= 8; src = src[8:] {
		binary.LittleEndian.PutUint64(dst[at:], binary.LittleEndian.Uint64(src))
		at += first
	}
	return dst[:end]
}

// sharedBytes returns which bytes all values of src[from:end] share with the value
// before them: the first one's place in a value, and how many follow, going round.
// The value before from is there.
func sharedBytes(src []byte, from, end int) (lane, match int) {
	var differ uint64
	before := binary.LittleEndian.Uint64(src[from-8:])
	for s := src[from:end]; len(s) >= 8; s = s[8:] {
		v := binary.LittleEndian.Uint64(s)
		differ |= v ^ before
		before = v
	}
	for l := range 8 {
		n := 0
		for n < mostMatch && bits.RotateLeft64(differ, -8*(l+n))&0xff == 0 {
			n++
		}
		if n > match {
			lane, match = l, n
		}
	}
	return lane, match
}
