package zstdframe

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
)

var encoder = NewEncoder()

// decode reads a frame without any code of this package.
func decode(t *testing.T, frame []byte) []byte {
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

// page returns n values as a page holds them. Its content depends on n alone.
func page(n int, value generator) []byte {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	next := value(random)
	src := make([]byte, 0, 8*n)
	for range n {
		src = binary.LittleEndian.AppendUint64(src, math.Float64bits(next()))
	}
	return src
}

// TestFrames checks frames of many lengths, with heads of many lengths, and with
// chunks that share other bytes than the chunk before.
func TestFrames(t *testing.T) {
	mixed := each(func(r *rand.Rand) float64 {
		switch r.IntN(4000) {
		case 0:
			return math.Float64frombits(r.Uint64() &^ (1 << 62))
		case 1:
			return -1 / float64(1+r.IntN(100))
		}
		return float64(r.IntN(1 << 20))
	})
	for _, n := range []int{0, 1, 2, 3, 17, chunk - 1, chunk, chunk + 1, 3*chunk + 5, 20_000} {
		for name, value := range kinds {
			checkFrame(t, name, page(n, value), n%9)
		}
		checkFrame(t, "mixed", page(n, mixed), n%5)
	}
	for head := range 20 {
		checkFrame(t, "head", page(50, kinds["simulated"]), head)
	}
}

func checkFrame(t *testing.T, name string, values []byte, head int) {
	t.Helper()
	src := append(bytes.Repeat([]byte{7}, head), values...)
	const before = "before"
	frame, kept := bytes.CutPrefix(appendShared([]byte(before), src, head), []byte(before))
	checkBlocks(t, name, frame)
	if got := decode(t, frame); !kept || !bytes.Equal(got, src) {
		t.Errorf("%s: %d bytes behind a head of %d are decoded as %d others", name, len(values), head, len(got))
	}
	chosen, kept := bytes.CutPrefix(encoder.AppendDoubles([]byte(before), src, head), []byte(before))
	if got := decode(t, chosen); !kept || !bytes.Equal(got, src) {
		t.Errorf("%s: AppendDoubles of %d bytes is decoded as %d others", name, len(values), len(got))
	}
}

// checkBlocks checks that each compressed block is shorter than its content, which
// zstd requires and some decoders do not check.
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
	f.Add(page(3, kinds["simulated"]), uint8(2), uint16(1000))
	f.Add(page(9, kinds["averages"]), uint8(0), uint16(300))
	f.Fuzz(func(t *testing.T, some []byte, head uint8, times uint16) {
		values := bytes.Repeat(some[:len(some)/8*8], 1+int(times)%2000)
		checkFrame(t, "fuzz", values[:min(len(values), 64<<10)], int(head))
	})
}
