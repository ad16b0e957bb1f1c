package store

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
)

func TestSpoolRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var e spoolEncoder
	var g grid
	var raw []byte
	for range 300 {
		points, statistics := 1+rng.IntN(400), 1+rng.IntN(4)
		columns := make([][]float64, statistics)
		for s := range columns {
			columns[s] = make([]float64, points)
			for i := range columns[s] {
				if columns[s][i] = rng.NormFloat64(); rng.IntN(4) > 0 {
					columns[s][i] = math.NaN()
				}
			}
		}
		key := []byte("key")
		w := Window{Start: 600, End: 600 + int64(points)*60, Period: 60}
		value, rows := e.encode(key, w, columns, 0, points)
		if rows == 0 {
			continue
		}
		if err := g.decode(key, value, &raw); err != nil {
			t.Fatal(err)
		}
		shift := int((g.start - w.Start) / w.Period)
		for i := range points {
			for s := range columns {
				want, got := columns[s][i], math.NaN()
				if j := i - shift; j >= 0 && j < g.points {
					got = g.column(s)[j]
				}
				if math.Float64bits(want) != math.Float64bits(got) && (want == want || got == got) {
					t.Fatalf("point %d of statistic %d: %v, want %v", i, s, got, want)
				}
			}
		}
		value[rng.IntN(len(value))] ^= 0x10
		if err := g.decode(key, value, &raw); err == nil {
			t.Fatal("a damaged value was read")
		}
	}
}

func TestProgressRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for range 500 {
		bits := 1 + rng.IntN(40)
		p, err := decodeProgress(nil, bits)
		if err != nil {
			t.Fatal(err)
		}
		settled := map[int]bool{}
		for i := range bits {
			if rng.IntN(3) > 0 {
				complete := p.settle(i, bits, rng.IntN(5) == 0)
				settled[i] = true
				if complete != (len(settled) == bits) {
					t.Fatalf("complete %v after %d of %d", complete, len(settled), bits)
				}
			}
		}
		p.rows = rng.Uint64N(1 << 40)
		q, err := decodeProgress(p.encode(), bits)
		if err != nil || q.rows != p.rows || q.complete != p.complete || !bytes.Equal(q.failed, p.failed) {
			t.Fatalf("%+v became %+v, %v", p, q, err)
		}
		for i := range bits {
			if q.settled(i) != settled[i] {
				t.Fatalf("bit %d is %v", i, q.settled(i))
			}
		}
	}
}
