package zstdframe

import "github.com/klauspost/compress/zstd"

const (
	// window is how far back the general encoder looks. A Parquet page is about
	// as long. The encoder keeps twice its window in memory, and its default
	// window is eight times as large.
	window = 1 << 20

	smallPage = 2 * maxBlock // bytes; a sample of a smaller page would be a large part of it
)

// Encoder compresses pages. It is safe for concurrent use.
type Encoder struct{ general *zstd.Encoder }

// NewEncoder returns an encoder for pages of about 1 MB.
func NewEncoder() *Encoder {
	general, err := zstd.NewWriter(nil, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1),
		zstd.WithZeroFrames(true), zstd.WithLowerEncoderMem(true), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		panic("zstd options: " + err.Error()) // constants; cannot happen
	}
	return &Encoder{general}
}

// Append appends the general encoder's frame of src to dst.
func (e *Encoder) Append(dst, src []byte) []byte { return e.general.EncodeAll(src, dst) }

// AppendDoubles appends a frame of src, which is a head of any length and then
// values of eight bytes, little-endian.
//
// The frame is the shared-bytes frame where that is smaller, and otherwise the
// general encoder's. A page of up to 256 KB is encoded both ways. For a larger
// page the choice depends on a sample, and the shared-bytes frame must be smaller
// by a margin that covers the difference between the sample and the page. Of 1,820
// such pages of whole numbers two still get a larger frame, by at most 4.7 %
// (BenchmarkChoice).
func (e *Encoder) AppendDoubles(dst, src []byte, head int) []byte {
	some := sample(src[head:])
	shared := sharedRatio(some)
	switch {
	case shared > mostShared:
		return e.Append(dst, src)
	case len(src) <= smallPage:
		return e.appendSmaller(dst, src, head, shared)
	}
	limit := e.generalRatio(some) * margin
	if shared > limit {
		return e.Append(dst, src)
	}
	frame := appendShared(dst, src, head)
	if ratio(len(frame)-len(dst), len(src)) > limit { // other parts of the page share less than the sample
		return e.Append(dst, src)
	}
	return frame
}

// appendSmaller appends the smaller of both frames. It does not build the shared-bytes
// frame when its estimated ratio, shared, is too high.
func (e *Encoder) appendSmaller(dst, src []byte, head int, shared float64) []byte {
	out := e.Append(dst, src)
	general := len(out) - len(dst)
	if ratio(general, len(src)) <= shared {
		return out
	}
	if frame := appendShared(nil, src, head); len(frame) < general {
		return append(dst, frame...)
	}
	return out
}

// Ratios are compressed bytes for each byte of values.
const (
	mostShared = 0.8  // a page whose sample shares less goes to the general encoder
	margin     = 0.95 // of the general encoder's ratio on a sample
	unmatched  = 0.75 // assumed for a page whose sample has no match
)

func ratio(compressed, size int) float64 { return float64(compressed) / float64(max(size, 1)) }

// generalRatio returns the ratio that the general encoder reaches on a sample, and
// at most unmatched. The encoder stores a block uncompressed when it finds no match
// in it, although Huffman codes alone would make it smaller. A block of the page is
// larger than the sample and more likely to have a match.
func (e *Encoder) generalRatio(some []byte) float64 {
	return min(ratio(len(e.Append(nil, some)), len(some)), unmatched)
}

// A sample consists of stretches of neighbouring values. Their number is prime, so
// that they do not all fall on one metric when series of equal length take turns.
const (
	stretches = 17
	stretch   = 8 * 240 // bytes
)

// sample returns evenly spread stretches of the values, or all values when they are
// few.
func sample(values []byte) []byte {
	if len(values) <= stretches*stretch {
		return values
	}
	some := make([]byte, 0, stretches*stretch)
	for i := range stretches {
		at := len(values) / 8 * i / stretches * 8
		some = append(some, values[at:at+stretch]...)
	}
	return some
}

// sharedRatio estimates the ratio of a shared-bytes frame: it counts only literals.
func sharedRatio(some []byte) float64 {
	literals, whole := 0, len(some)
	for ; len(some) >= 16; some = some[min(stretch, len(some)):] {
		values := some[:min(stretch, len(some))]
		_, match := sharedBytes(values, 8, len(values)/8*8)
		if match < leastMatch {
			match = 0
		}
		literals += len(values) / 8 * (8 - match)
	}
	return ratio(literals, whole)
}
