package encode

import "math/bits"

// recycler is an allocator for arrow that reuses freed buffers, so that all pages of a
// file share a few of them. It rounds sizes up to powers of two, so that a growing
// buffer rarely moves. It is not safe for concurrent use.
type recycler struct {
	free [64][][]byte // by class
}

// smallestBuffer is the smallest class. Arrow aligns buffers to 64 bytes.
const smallestBuffer = 6

// class returns the exponent of the power of two that holds size bytes.
func class(size int) int { return max(bits.Len(uint(size-1)), smallestBuffer) }

// Allocate returns size zeroed bytes.
func (r *recycler) Allocate(size int) []byte {
	if size == 0 {
		return nil
	}
	c := class(size)
	last := len(r.free[c]) - 1
	if last < 0 {
		return make([]byte, size, 1<<c)
	}
	b := r.free[c][last][:size]
	r.free[c] = r.free[c][:last]
	clear(b)
	return b
}

// Reallocate returns size bytes that begin with those of b.
func (r *recycler) Reallocate(size int, b []byte) []byte {
	if size <= cap(b) {
		if size > len(b) {
			clear(b[len(b):size])
		}
		return b[:size]
	}
	larger := r.Allocate(size)
	copy(larger, b)
	r.Free(b)
	return larger
}

// Free keeps a buffer for reuse. It drops a slice of a buffer.
func (r *recycler) Free(b []byte) {
	if n := cap(b); n >= 1<<smallestBuffer && n&(n-1) == 0 {
		c := class(n)
		r.free[c] = append(r.free[c], b[:0])
	}
}
