package record

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
)

// someValues are columns that share different bytes, with and without gaps.
var someValues = []func(*rand.Rand) float64{
	func(r *rand.Rand) float64 {
		if r.IntN(4) > 0 {
			return math.NaN()
		}
		return r.NormFloat64()
	},
	func(r *rand.Rand) float64 { return r.NormFloat64() },
	func(r *rand.Rand) float64 { return float64(r.IntN(1000)) },
	func(r *rand.Rand) float64 { return float64(r.IntN(1<<20)) / 8 },
	func(*rand.Rand) float64 { return 5 },
	func(*rand.Rand) float64 { return math.NaN() },
	func(r *rand.Rand) float64 { return math.Copysign(0, float64(r.IntN(2))-0.5) },
	func(r *rand.Rand) float64 { return math.Float64frombits(r.Uint64() &^ (1 << 62)) }, // none is NaN
}

func TestSpoolRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var e SpoolEncoder
	var g Grid
	for round := range 600 {
		points, statistics := 1+rng.IntN(400), 1+rng.IntN(4)
		draw := someValues[round%len(someValues)]
		columns := make([][]float64, statistics)
		for s := range columns {
			columns[s] = make([]float64, points)
			for i := range columns[s] {
				columns[s][i] = draw(rng)
			}
		}
		key := []byte("key")
		w := Window{Start: 600, End: 600 + int64(points)*60, Period: 60}
		value, rows, datapoints := e.Encode(key, w, columns, 0, points)
		if want := countValues(columns); datapoints != want {
			t.Fatalf("%d datapoints, want %d", datapoints, want)
		}
		if rows == 0 {
			continue
		}
		if err := g.Decode(key, value); err != nil {
			t.Fatal(err)
		}
		shift := int((g.Start - w.Start) / w.Period)
		for i := range points {
			for s := range columns {
				want, got := columns[s][i], math.NaN()
				if j := i - shift; j >= 0 && j < g.Points {
					got = g.Column(s)[j]
				}
				if math.Float64bits(want) != math.Float64bits(got) && (want == want || got == got) {
					t.Fatalf("point %d of statistic %d: %v, want %v", i, s, got, want)
				}
			}
		}
		value[rng.IntN(len(value))] ^= 0x10
		if err := g.Decode(key, value); err == nil {
			t.Fatal("a damaged value was read")
		}
	}
}

func TestProgressRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for range 500 {
		bits := 1 + rng.IntN(40)
		p, err := DecodeProgress(nil, bits)
		if err != nil {
			t.Fatal(err)
		}
		settled := map[int]bool{}
		for i := range bits {
			if rng.IntN(3) > 0 {
				complete := p.Mark(i, bits, rng.IntN(5) == 0)
				settled[i] = true
				if complete != (len(settled) == bits) {
					t.Fatalf("complete %v after %d of %d", complete, len(settled), bits)
				}
			}
		}
		p.Rows = rng.Uint64N(1 << 40)
		q, err := DecodeProgress(p.Encode(), bits)
		if err != nil || q.Rows != p.Rows || q.Complete != p.Complete || !bytes.Equal(q.Failed, p.Failed) {
			t.Fatalf("%+v became %+v, %v", p, q, err)
		}
		for i := range bits {
			if q.Marked(i) != settled[i] {
				t.Fatalf("bit %d is %v", i, q.Marked(i))
			}
		}
	}
}

// BenchmarkSpool packs and unpacks a day of five minutes.
func BenchmarkSpool(b *testing.B) {
	rng := rand.New(rand.NewPCG(5, 5))
	for name, value := range map[string]func() float64{
		"eighths":  func() float64 { return float64(rng.Uint64()>>44) / 8 },
		"averages": func() float64 { return float64(rng.IntN(1_000_000)) / 5 },
		"zeros":    func() float64 { return max(0, float64(rng.IntN(100_000))-90_000) },
	} {
		columns := [][]float64{make([]float64, 288), make([]float64, 288)}
		for _, c := range columns {
			for i := range c {
				c[i] = value()
			}
		}
		b.Run(name, func(b *testing.B) {
			var e SpoolEncoder
			var g Grid
			key, size := []byte("key"), 0
			for b.Loop() {
				e.Begin()
				packed, _, _ := e.Encode(key, Window{0, 288 * 300, 300}, columns, 0, 288)
				if err := g.Decode(key, packed); err != nil {
					b.Fatal(err)
				}
				size = len(packed)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(2*288), "ns/datapoint")
			b.ReportMetric(float64(size)/(2*288), "B/datapoint")
		})
	}
}

func countValues(columns [][]float64) (n int64) {
	for _, column := range columns {
		for _, v := range column {
			if v == v { // not NaN
				n++
			}
		}
	}
	return n
}
