package awssim

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

// everyStatistic calls do with all statistics of the instances' metrics over a day.
func everyStatistic(do func(metric string, at time.Time, of func(statistic string) float64)) {
	c := Config{}
	day := time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC)
	for i := range 60 {
		set := "InstanceId=" + c.Instance("111122223333", "us-east-1", i).ID
		for _, metric := range publishers[0].metrics {
			for at := day; at.Before(day.Add(24 * time.Hour)); at = at.Add(5 * time.Minute) {
				of := func(statistic string) float64 {
					v, ok := c.Datapoint("111122223333", "us-east-1", "AWS/EC2", metric, set, statistic, at)
					if !ok {
						return math.NaN()
					}
					return v
				}
				if !math.IsNaN(of("Average") + of("Maximum")) {
					do(metric, at, of)
				}
			}
		}
	}
}

// TestStatisticsOfADatapointAgree holds the statistics of each datapoint against each other.
func TestStatisticsOfADatapointAgree(t *testing.T) {
	points := 0
	everyStatistic(func(metric string, at time.Time, of func(string) float64) {
		points++
		lowest, highest, average := of("Minimum"), of("Maximum"), of("Average")
		ordered := []float64{0, lowest, of("p1"), of("p50"), of("p90"), of("p99.9"), highest}
		if !slices.IsSorted(ordered) || average < lowest || average > highest {
			t.Fatalf("%s at %v: average %v, in order %v", metric, at, average, ordered)
		}
		if sum := of("Sum"); math.Abs(sum-average*of("SampleCount")) > 1e-9*sum {
			t.Fatalf("%s at %v: sum %v, average %v", metric, at, sum, average)
		}
		if metric == "CPUUtilization" && highest > 100 {
			t.Fatalf("%s at %v: %v percent", metric, at, highest)
		}
		if trimmed := of("TM(10%:90%)"); trimmed < lowest-1e-9 || trimmed > highest+1e-9 {
			t.Fatalf("%s at %v: trimmed mean %v", metric, at, trimmed)
		}
	})
	if points < 100_000 {
		t.Fatalf("%d datapoints", points)
	}
}

// TestValuesLookLikeMeasuredOnes holds the averages of a fleet against the real series of
// AWS CloudWatch in the Numenta Anomaly Benchmark: of 8 series of CPUUtilization, the
// quietest repeat a third of their values and the busiest none, and the median of five
// is below 10 percent; of 2 series of EBS and disk bytes, 81 and 90 percent are zero.
func TestValuesLookLikeMeasuredOnes(t *testing.T) {
	type seen struct {
		last                            float64
		count, repeats, zeros, uneven   int
		sum, night, noon, nights, noons float64
	}
	all := map[string]*seen{}
	everyStatistic(func(metric string, at time.Time, of func(string) float64) {
		v := of("Average")
		s := all[metric]
		if s == nil {
			s = &seen{}
			all[metric] = s
		}
		s.count++
		s.sum += v
		if v == s.last {
			s.repeats++
		}
		if v == 0 {
			s.zeros++
		}
		if v*1000 != math.Trunc(v*1000) {
			s.uneven++
		}
		switch s.last = v; at.Hour() {
		case 0, 5, 23:
			s.night, s.nights = s.night+v, s.nights+1
		case 11, 12, 13:
			s.noon, s.noons = s.noon+v, s.noons+1
		}
	})
	share := func(n, of int) float64 { return float64(n) / float64(of) }
	for _, want := range []struct {
		metric, property string
		of               func(*seen) float64
		least, most      float64
	}{
		{"CPUUtilization", "mean", func(s *seen) float64 { return s.sum / float64(s.count) }, 5, 35},
		{"CPUUtilization", "repeats", func(s *seen) float64 { return share(s.repeats, s.count) }, 0.05, 0.35},
		{"CPUUtilization", "with rounding errors", func(s *seen) float64 { return share(s.uneven, s.count) }, 0.02, 0.5},
		{"CPUUtilization", "noon to night", func(s *seen) float64 { return s.noon / s.noons / (s.night / s.nights) }, 1.2, 10},
		{"EBSReadBytes", "zeros", func(s *seen) float64 { return share(s.zeros, s.count) }, 0.3, 0.9},
		{"NetworkIn", "mean", func(s *seen) float64 { return s.sum / float64(s.count) }, 1e5, 1e9},
	} {
		got := want.of(all[want.metric])
		t.Logf("%s, %s: %.3g", want.metric, want.property, got)
		if !(got >= want.least && got <= want.most) {
			t.Errorf("%s, %s: %v, want %v to %v", want.metric, want.property, got, want.least, want.most)
		}
	}
}

// BenchmarkDatapoints measures a datapoint of each kind of values.
func BenchmarkDatapoints(b *testing.B) {
	for _, distinct := range []bool{true, false} {
		c := Config{Distinct: distinct}
		id := c.Instance("111122223333", "us-east-1", 3).ID
		for _, metric := range []string{"CPUUtilization", "EBSReadOps", "NetworkIn"} {
			b.Run(fmt.Sprintf("distinct=%v/%s", distinct, metric), func(b *testing.B) {
				s := c.newSource("111122223333", "us-east-1", "AWS/EC2", metric, "InstanceId="+id, "Average")
				for i := range b.N {
					s.at(int64(i) * 300)
				}
			})
		}
	}
}
