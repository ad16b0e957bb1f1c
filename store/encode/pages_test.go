package encode

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/encoding/rle"
)

// TestHybridIsReadBack reads pages of many runs and widths with parquet-go.
func TestHybridIsReadBack(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	for round := range 500 {
		width := 1 + round%20
		var r runs
		var want []int32
		for range random.IntN(60) {
			n, v := 1+random.IntN([]int{1, 9, 30, 2000}[random.IntN(4)]), random.Int32N(1<<width)
			r.add(v, n)
			want = append(want, slices.Repeat([]int32{v}, n)...)
		}
		got, err := (&rle.Encoding{BitWidth: width}).DecodeInt32(nil, r.appendHybrid(nil, width))
		if err != nil || len(got) < len(want) || len(got) >= len(want)+group || !slices.Equal(got[:len(want)], want) {
			t.Fatalf("width %d, %d runs: %d numbers are read as %d, %v", width, len(r), len(want), len(got), err)
		}
	}
}

// TestDeltaIsReadBack reads pages of many kinds of numbers with parquet-go.
func TestDeltaIsReadBack(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 4))
	for round := range 500 {
		want := make([]int64, 1+random.IntN(700))
		for i := range want {
			switch round % 4 {
			case 0:
				want[i] = int64(random.Uint64())
			case 1:
				want[i] = 300_000 * int64(i)
			case 2:
				want[i] = 1_763_942_400_000 + 300_000*int64(i%288)
			default:
				want[i] = random.Int64N(1 << (1 + round%60))
			}
		}
		got, err := new(delta.BinaryPackedEncoding).DecodeInt64(nil, appendDelta(nil, want))
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("round %d: %d numbers are read as %d others, %v", round, len(want), len(got), err)
		}
	}
	if page := appendDelta(nil, nil); len(page) != 5 || binary.LittleEndian.Uint16(page) != deltaBlock|1<<8 {
		t.Errorf("no numbers: % x", page)
	}
}
