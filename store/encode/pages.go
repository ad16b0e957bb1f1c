package encode

import (
	"encoding/binary"
	"math/bits"
)

// Encodings of Parquet pages (parquet-format, Encodings.md).

// runs is a column of numbers as runs of equal ones, so that the cost of a run does
// not depend on its number of rows.
type runs []run

type run struct{ value, rows int32 }

func (r *runs) add(value int32, rows int) {
	if rows == 0 {
		return
	}
	if last := len(*r) - 1; last >= 0 && (*r)[last].value == value {
		(*r)[last].rows += int32(rows)
		return
	}
	*r = append(*r, run{value, int32(rows)})
}

// appendHybrid appends the column as RLE/bit-packing hybrid of width bits: runs of at
// least eight rows as runs, and the numbers between them packed.
func (r runs) appendHybrid(page []byte, width int) []byte {
	h := hybrid{page: page, width: width}
	for _, run := range r {
		h.add(run.value, int(run.rows))
	}
	for len(h.loose)%group != 0 {
		h.loose = append(h.loose, 0) // padding; the page header has the number of values
	}
	h.pack()
	return h.page
}

// Packed numbers form groups of eight. The number of consecutive groups fits into one
// byte, as other writers have it.
const (
	group      = 8
	mostGroups = 63
)

type hybrid struct {
	page  []byte
	width int
	loose []uint64 // numbers that will be packed
}

func (h *hybrid) add(value int32, rows int) {
	for ; rows > 0 && (rows < group || len(h.loose)%group != 0); rows-- {
		h.loose = append(h.loose, uint64(value))
		if len(h.loose) == mostGroups*group {
			h.pack()
		}
	}
	if rows == 0 {
		return
	}
	h.pack()
	h.page = binary.AppendUvarint(h.page, uint64(rows)<<1)
	for bit := 0; bit < h.width; bit += 8 {
		h.page = append(h.page, byte(value>>bit))
	}
}

func (h *hybrid) pack() {
	if len(h.loose) == 0 {
		return
	}
	h.page = binary.AppendUvarint(h.page, uint64(len(h.loose)/group)<<1|1)
	h.page = appendPacked(h.page, h.loose, h.width)
	h.loose = h.loose[:0]
}

// appendPacked appends numbers of width bits, the least significant bit first. Together
// their bits must fill whole bytes.
func appendPacked(page []byte, numbers []uint64, width int) []byte {
	var held uint64 // n bits that are not yet appended
	n := 0
	for _, v := range numbers {
		held |= v << n
		if n+width < 64 {
			n += width
			continue
		}
		page = binary.LittleEndian.AppendUint64(page, held)
		held = v >> (64 - n)
		n += width - 64
	}
	for ; n > 0; n -= 8 {
		page = append(page, byte(held))
		held >>= 8
	}
	return page
}

// DELTA_BINARY_PACKED has blocks of deltaBlock numbers. Each of the deltaParts parts
// of a block has its own width.
const (
	deltaBlock = 128
	deltaParts = 4
)

// appendDelta appends numbers as DELTA_BINARY_PACKED.
func appendDelta(page []byte, numbers []int64) []byte {
	page = binary.AppendUvarint(page, deltaBlock)
	page = binary.AppendUvarint(page, deltaParts)
	page = binary.AppendUvarint(page, uint64(len(numbers)))
	if len(numbers) == 0 {
		return binary.AppendVarint(page, 0)
	}
	page = binary.AppendVarint(page, numbers[0])
	var deltas [deltaBlock]int64
	for from := 1; from < len(numbers); from += deltaBlock {
		n := min(deltaBlock, len(numbers)-from)
		if step, steady := stepOf(numbers[from-1 : from+n]); steady {
			page = append(binary.AppendVarint(page, step), make([]byte, deltaParts)...)
			continue
		}
		for i := range n {
			deltas[i] = numbers[from+i] - numbers[from+i-1]
		}
		page = appendDeltaBlock(page, deltas[:n])
	}
	return page
}

// stepOf returns the difference between the first two numbers, and whether all
// neighbours have the same difference, as timestamps without gaps do.
func stepOf(numbers []int64) (step int64, steady bool) {
	step = numbers[1] - numbers[0]
	previous := numbers[1]
	for _, n := range numbers[2:] {
		if n-previous != step {
			return step, false
		}
		previous = n
	}
	return step, true
}

// appendDeltaBlock appends the least difference, and then the excess of each one over
// it.
func appendDeltaBlock(page []byte, deltas []int64) []byte {
	least := deltas[0]
	for _, d := range deltas {
		least = min(least, d)
	}
	page = binary.AppendVarint(page, least)
	const size = deltaBlock / deltaParts
	var above [deltaBlock]uint64
	var widths [deltaParts]byte
	for part := range widths {
		var all uint64
		for i := part * size; i < min((part+1)*size, len(deltas)); i++ {
			above[i] = uint64(deltas[i] - least)
			all |= above[i]
		}
		widths[part] = byte(bits.Len64(all))
	}
	page = append(page, widths[:]...)
	for part, width := range widths {
		if width > 0 {
			page = appendPacked(page, above[part*size:(part+1)*size], int(width))
		}
	}
	return page
}
