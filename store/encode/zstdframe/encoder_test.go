package zstdframe

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// A generator returns a function that returns one value after the other.
type generator func(*rand.Rand) func() float64

// each makes a generator of values that do not depend on each other.
func each(value func(*rand.Rand) float64) generator {
	return func(r *rand.Rand) func() float64 { return func() float64 { return value(r) } }
}

// kinds are values like those of CloudWatch.
var kinds = map[string]generator{
	"simulated":     each(func(r *rand.Rand) float64 { return float64(r.Uint64()>>44) / 8 }), // as pipeline/awssim makes them
	"30-bit counts": each(func(r *rand.Rand) float64 { return float64(r.IntN(1 << 30)) }),
	"below 1e9":     each(func(r *rand.Rand) float64 { return float64(r.IntN(1e9)) }),
	"below 1e6":     each(func(r *rand.Rand) float64 { return float64(r.IntN(1e6)) }),
	"2^16 to 2^17":  each(func(r *rand.Rand) float64 { return 65536 + float64(r.IntN(65536)) }),
	"below 1e4":     each(func(r *rand.Rand) float64 { return float64(r.IntN(1e4)) }),
	"below 10":      each(func(r *rand.Rand) float64 { return float64(r.IntN(10)) }),
	"mostly zero":   each(func(r *rand.Rand) float64 { return max(0, float64(r.IntN(100_000))-90_000) }),
	"constant":      each(func(*rand.Rand) float64 { return 5 }),
	"averages":      each(func(r *rand.Rand) float64 { return float64(r.IntN(1_000_000)) / 5 }),
	"rounded sums":  each(roundedSum),
	"fractions":     each(func(r *rand.Rand) float64 { return 100 * r.Float64() }),
	"repeats":       repeats,
	"two metrics":   twoMetrics,
}

// roundedSum is an average with last bits that depend on rounding.
func roundedSum(r *rand.Rand) float64 {
	sum := 0.0
	for range 5 {
		sum += float64(r.IntN(500)) / 1000
	}
	return sum / 5
}

// repeats holds each value for twenty points on average.
func repeats(r *rand.Rand) func() float64 {
	held := 0.0
	return func() float64 {
		if r.IntN(20) == 0 {
			held = float64(r.IntN(1_000_000))
		}
		return held
	}
}

// twoMetrics alternates a day of whole numbers with a day of fractions.
func twoMetrics(r *rand.Rand) func() float64 {
	n := 0
	return func() float64 {
		if n++; n/288%2 == 0 {
			return float64(r.IntN(1 << 30))
		}
		return 100 * r.Float64()
	}
}

// fullPage is the number of values in a row group, and so in most pages.
const fullPage = 128 << 10

// pages returns a page of each kind, and pages of the measured values.
func pages(t testing.TB, n int) map[string][]byte {
	all := make(map[string][]byte)
	for name, value := range kinds {
		all[name] = page(n, value)
	}
	series := measured(t)
	if series == nil {
		return all
	}
	all["measured"] = encodePage(slices.Concat(series...), n)
	var days []float64 // of one series after the other, as in a row group
	for day := range 14 {
		for _, s := range series {
			days = append(days, s[min(288*day, len(s)):min(288*(day+1), len(s))]...)
		}
	}
	all["measured days"] = encodePage(days, n)
	for i, s := range series {
		if n >= len(s) {
			all[fmt.Sprint("measured series ", i+1)] = encodePage(s, n)
		}
	}
	return all
}

func encodePage(values []float64, most int) (src []byte) {
	for _, v := range values[:min(len(values), most)] {
		src = binary.LittleEndian.AppendUint64(src, math.Float64bits(v))
	}
	return src
}

// measured returns series of real machines, or nil. They are not in the repository but
// may be in a directory beside it.
func measured(t testing.TB) (series [][]float64) {
	t.Helper()
	const path = "../../../../shared/measured/aws-cloudwatch.txt"
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Logf("skipping the measured values: no file %s", path)
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	series = [][]float64{nil}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if lines.Text() == "" {
			series = append(series, nil)
			continue
		}
		v, err := strconv.ParseFloat(lines.Text(), 64)
		if err != nil {
			t.Fatal(err)
		}
		series[len(series)-1] = append(series[len(series)-1], v)
	}
	return slices.DeleteFunc(series, func(s []float64) bool { return len(s) == 0 })
}

// TestChosenFrameIsNoLarger compares sizes with those of the general encoder, and
// checks that the shared-bytes frame is chosen where it saves most.
func TestChosenFrameIsNoLarger(t *testing.T) {
	for _, n := range []int{fullPage, smallPage / 8, 4032, 288, 24, 1, 0} {
		for name, src := range pages(t, n) {
			general, chosen := len(encoder.Append(nil, src)), len(encoder.AppendDoubles(nil, src, 0))
			if chosen > general {
				t.Errorf("%d values, %s: %d bytes, and the general encoder needs %d", n, name, chosen, general)
			}
		}
	}
	for name, most := range map[string]float64{"simulated": 3.03, "30-bit counts": 5.05} {
		if size := float64(len(encoder.AppendDoubles(nil, page(fullPage, kinds[name]), 0))) / fullPage; size > most {
			t.Errorf("%s: %.3f bytes a value, want at most %.3f", name, size, most)
		}
	}
}

// BenchmarkAppendDoubles compares the chosen frame with the general encoder's. Both
// run in turn, and the fastest run of each is reported, because other load on the
// machine only makes runs slower.
func BenchmarkAppendDoubles(b *testing.B) {
	all := pages(b, fullPage)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		b.Run(name, func(b *testing.B) { compare(b, all[name]) })
	}
}

func compare(b *testing.B, src []byte) {
	decoder, err := zstd.NewReader(nil)
	if err != nil {
		b.Fatal(err)
	}
	defer decoder.Close()
	values := float64(len(src) / 8)
	var general, chosen, decoded []byte
	var fastest [4]time.Duration
	for b.Loop() {
		for i, do := range []func(){
			func() { general = encoder.Append(general[:0], src) },
			func() { chosen = encoder.AppendDoubles(chosen[:0], src, 0) },
			func() { decoded, _ = decoder.DecodeAll(general, decoded[:0]) },
			func() { decoded, _ = decoder.DecodeAll(chosen, decoded[:0]) },
		} {
			start := time.Now()
			do()
			if took := time.Since(start); fastest[i] == 0 || took < fastest[i] {
				fastest[i] = took
			}
		}
	}
	b.ReportMetric(0, "ns/op") // the time of everything together is not of interest
	b.ReportMetric(float64(fastest[0])/values, "general-ns/value")
	b.ReportMetric(float64(fastest[1])/values, "chosen-ns/value")
	b.ReportMetric(float64(len(general))/values, "general-B/value")
	b.ReportMetric(float64(len(chosen))/values, "chosen-B/value")
	b.ReportMetric(float64(len(chosen))/float64(len(general)), "size-ratio")
	b.ReportMetric(float64(fastest[1])/float64(fastest[0]), "time-ratio")
	b.ReportMetric(float64(fastest[3])/float64(fastest[2]), "decoding-time-ratio")
}

// BenchmarkChoice encodes pages of many distributions of whole numbers and eighths, in
// lengths at which the choice depends on a sample. It reports for how many pages the
// shared-bytes frame was chosen, and how many frames are larger than the general
// encoder's.
func BenchmarkChoice(b *testing.B) {
	for b.Loop() {
		c := choices{worst: 1}
		for _, n := range []int{fullPage, 100_800, 60_000, 40_000} {
			for _, least := range []float64{0, 1, 128, 1024, 65536, 1 << 20, 1e8} {
				for _, spread := range []float64{4, 30, 100, 300, 1000, 3000, 10_000, 30_000, 1e5, 3e5, 1e6, 1e7, 1e9} {
					for _, value := range distributions(least, spread) {
						c.add(page(n, value))
					}
				}
			}
		}
		b.ReportMetric(float64(c.pages), "pages")
		b.ReportMetric(float64(c.shared), "shared")
		b.ReportMetric(float64(c.larger), "larger")
		b.ReportMetric(c.worst, "worst-size-ratio")
	}
}

type choices struct {
	pages, shared, larger int
	worst                 float64 // size of a chosen frame over the general encoder's
}

func (c *choices) add(src []byte) {
	chosen, general := encoder.AppendDoubles(nil, src, 0), encoder.Append(nil, src)
	c.pages++
	if len(chosen) == len(appendShared(nil, src, 0)) {
		c.shared++
	}
	if len(chosen) > len(general) {
		c.larger++
		c.worst = max(c.worst, float64(len(chosen))/float64(len(general)))
	}
}

func distributions(least, spread float64) []generator {
	whole := func(value func(*rand.Rand) float64) generator {
		return each(func(r *rand.Rand) float64 { return math.Abs(least + math.Floor(value(r)*spread)) })
	}
	return []generator{
		whole((*rand.Rand).Float64), whole((*rand.Rand).ExpFloat64), whole((*rand.Rand).NormFloat64),
		each(func(r *rand.Rand) float64 { return least + math.Floor(r.Float64()*spread)/8 }),
		func(r *rand.Rand) func() float64 {
			v := least + spread/2
			return func() float64 { v += math.Floor(r.NormFloat64() * spread / 50); return v }
		},
	}
}
