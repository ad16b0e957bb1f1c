package encode

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// readFrame decodes with nothing of ours.
func readFrame(t *testing.T, frame []byte) []byte {
	t.Helper()
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	out, err := d.DecodeAll(frame, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func valuesOf(n int, value func(*rand.Rand) float64) (src []byte) {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	for range n {
		src = binary.LittleEndian.AppendUint64(src, math.Float64bits(value(random)))
	}
	return src
}

// Frames of every length, with heads of every length, and of chunks that share
// other bytes than those before.
func TestSharedFrames(t *testing.T) {
	mixed := func(r *rand.Rand) float64 {
		switch r.IntN(4000) {
		case 0:
			return math.Float64frombits(r.Uint64() &^ (1 << 62))
		case 1:
			return -1 / float64(1+r.IntN(100))
		}
		return float64(r.IntN(1 << 20))
	}
	for _, n := range []int{0, 1, 2, 3, 17, sharedChunk - 1, sharedChunk, sharedChunk + 1, 3*sharedChunk + 5, 20_000} {
		for name, kind := range kinds {
			checkFrame(t, name, valuesOf(n, kind), n%9)
		}
		checkFrame(t, "mixed", valuesOf(n, mixed), n%5)
	}
	for head := range 20 {
		checkFrame(t, "head", valuesOf(50, kinds["eighths"]), head)
	}
}

func checkFrame(t *testing.T, name string, values []byte, head int) {
	t.Helper()
	src := append(bytes.Repeat([]byte{7}, head), values...)
	frame := appendShared(nil, src, head)
	checkBlocks(t, name, frame)
	if got := readFrame(t, frame); !bytes.Equal(got, src) {
		t.Errorf("%s: %d bytes behind a head of %d come back as %d others", name, len(values), head, len(got))
	}
	if got := readFrame(t, parquetCodec.encodeValues(nil, src, head)); !bytes.Equal(got, src) {
		t.Errorf("%s: %d bytes as values come back as %d others", name, len(values), len(got))
	}
}

// checkBlocks refuses a compressed block that is as long as what it stands for.
func checkBlocks(t *testing.T, name string, frame []byte) {
	t.Helper()
	const head = 4 + 1 + 4
	for rest := frame[head:]; len(rest) > 0; {
		h := int(rest[0]) | int(rest[1])<<8 | int(rest[2])<<16
		block := rest[3 : 3+h>>3]
		rest = rest[3+len(block):]
		if h>>1&3 != blockCompressed {
			continue
		}
		literals := (int(block[0]) | int(block[1])<<8 | int(block[2])<<16) >> 4
		n := int(block[3+literals])
		if n > 127 {
			n = (n-128)<<8 + int(block[3+literals+1])
		}
		if len(block) >= 8*n {
			t.Fatalf("%s: a block of %d bytes for %d", name, len(block), 8*n)
		}
	}
}

func FuzzSharedFrame(f *testing.F) {
	f.Add(valuesOf(3, kinds["eighths"]), uint8(2), uint16(1000))
	f.Add(valuesOf(9, kinds["averages"]), uint8(0), uint16(300))
	f.Fuzz(func(t *testing.T, some []byte, head uint8, times uint16) {
		values := bytes.Repeat(some[:len(some)/8*8], 1+int(times)%2000)
		checkFrame(t, "fuzz", values[:min(len(values), 64<<10)], int(head))
	})
}

// What is saved in time must not cost much room.
func TestSharedFramesAreSmall(t *testing.T) {
	for name, kind := range kinds {
		src := valuesOf(rowGroup, kind)
		general, ours := len(parquetCodec.Encode(nil, src)), len(parquetCodec.encodeValues(nil, src, 0))
		if ours > general*9/8+general/100 {
			t.Errorf("%s: %d bytes, where the general matcher needs %d", name, ours, general)
		}
	}
	if n := len(parquetCodec.encodeValues(nil, valuesOf(rowGroup, kinds["eighths"]), 0)); n > rowGroup*31/10 {
		t.Errorf("values that share five bytes take %d bytes each", n/rowGroup)
	}
}
