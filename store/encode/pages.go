package encode

import (
	"encoding/binary"
	"math/bits"
)

// Encodings of Parquet's pages (parquet-format, Encodings.md), of columns that
// are kept as runs: what a run costs does not depend on its rows.

// runs is a column of numbers in which equal ones follow each other.
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

// appendHybrid appends the column as RLE: runs of eight and more as such, what
// lies between them packed, width bits a number.
func (r runs) appendHybrid(page []byte, width int) []byte {
	h := hybrid{page: page, width: width}
	for _, run := range r {
		h.add(run.value, int(run.rows))
	}
	for len(h.loose)%group != 0 {
		h.loose = append(h.loose, 0) // beyond the number of values that the page says
	}
	h.pack()
	return h.page
}

// Packed numbers come in groups of eight, at most so many in a row that one byte
// tells their number, as other writers have it.
const (
	group      = 8
	mostGroups = 63
)

type hybrid struct {
	page  []byte
	width int
	loose []uint64 // to be packed
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

// appendPacked appends numbers of width bits, the least significant bit first.
// Together their bits must fill whole bytes.
func appendPacked(page []byte, numbers []uint64, width int) []byte {
	var held uint64 // bits not yet appended
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

// A block of DELTA_BINARY_PACKED and its parts, each with a width of its own.
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

// stepOf returns the difference of the first two numbers, and whether all that
// follow each other have it: on a grid without gaps.
func stepOf(numbers []int64) (step int64, steady bool) {
	step = numbers[1] - numbers[0]
	before := numbers[1]
	for _, n := range numbers[2:] {
		if n-before != step {
			return step, false
		}
		before = n
	}
	return step, true
}

// appendDeltaBlock appends what each difference has above the least one.
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
