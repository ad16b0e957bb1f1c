package encode

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"testing"
)

// kinds are values like those of CloudWatch.
var kinds = map[string]func(*rand.Rand) float64{
	"eighths":  func(r *rand.Rand) float64 { return float64(r.Uint64()>>44) / 8 }, // as the simulated AWS makes them
	"bytes":    func(r *rand.Rand) float64 { return float64(r.IntN(1 << 30)) },
	"averages": func(r *rand.Rand) float64 { return float64(r.IntN(1_000_000)) / 5 },
	"percent":  func(r *rand.Rand) float64 { return 100 * r.Float64() },
	"zeros":    func(r *rand.Rand) float64 { return max(0, float64(r.IntN(100_000))-90_000) },
	"constant": func(*rand.Rand) float64 { return 5 },
	"counts":   func(r *rand.Rand) float64 { return float64(r.IntN(10)) },
}

// series returns n runs of a day.
func series(n, points, statistics int, value func(*rand.Rand) float64, gaps bool) []Run {
	random := rand.New(rand.NewPCG(1, 2))
	runs := make([]Run, n)
	for i := range runs {
		id := fmt.Sprintf("i-%017x", i/8)
		r := &runs[i]
		*r = Run{Account: "111122223333", Region: "us-east-1", Namespace: "AWS/EC2", Metric: fmt.Sprint("Metric", i%8), InstanceID: id, Dimensions: "InstanceId=" + id,
			Start: 20_000 * daySeconds, Period: daySeconds / int64(points), Points: points}
		for range statistics {
			column := make([]float64, points)
			for k := range column {
				if column[k] = value(random); gaps && random.IntN(8) == 0 {
					column[k] = math.NaN()
				}
			}
			r.Columns = append(r.Columns, column)
		}
	}
	return runs
}

type counter int64

func (c *counter) Write(b []byte) (int, error) { *c += counter(len(b)); return len(b), nil }

func BenchmarkWriteParquet(b *testing.B) {
	measure := func(name string, runs []Run) {
		b.Run(name, func(b *testing.B) {
			var size counter
			for b.Loop() {
				size = 0
				w, err := Format{Name: "parquet"}.NewWriter(io.MultiWriter(&size), []string{"Average", "Maximum"}[:len(runs[0].Columns)], nil)
				if err != nil {
					b.Fatal(err)
				}
				for i := range runs {
					if err := w.WriteRun(&runs[i]); err != nil {
						b.Fatal(err)
					}
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
			points := float64(len(runs) * runs[0].Points * len(runs[0].Columns))
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/points, "ns/datapoint")
			b.ReportMetric(float64(size)/points, "B/datapoint")
		})
	}
	for kind, value := range kinds {
		measure(kind, series(2000, 288, 1, value, false))
	}
	measure("two statistics", series(1000, 288, 2, kinds["eighths"], false))
	measure("gaps", series(2000, 288, 1, kinds["eighths"], true))
	measure("daily", series(100_000, 1, 1, kinds["eighths"], false))
}
