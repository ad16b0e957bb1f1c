package cloudwatch

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestKeptFor(t *testing.T) {
	for period, want := range map[int64]time.Duration{
		1: 3 * time.Hour, 30: 3 * time.Hour, 90: 3 * time.Hour,
		60: 15 * day, 420: 15 * day,
		300: 63 * day, 900: 63 * day, 5400: 63 * day,
		3600: 455 * day, 86_400: 455 * day,
	} {
		if got := KeptFor(period); got != want {
			t.Errorf("period %d is kept for %v; want %v", period, got, want)
		}
	}
}

func TestDatapointsPerSecond(t *testing.T) {
	for age, want := range map[time.Duration]float64{
		-time.Minute: 180_000, 3 * time.Hour: 180_000, 3*time.Hour + time.Second: 396_000, 400 * day: 396_000,
	} {
		if got := DatapointsPerSecond(age); got != want {
			t.Errorf("age %v: %v datapoints a second; want %v", age, got, want)
		}
	}
}

func TestIsStatistic(t *testing.T) {
	for name, want := range map[string]bool{
		"Average": true, "SampleCount": true, "p99": true, "p99.9": true, "p100": true, "tm90": true, "wm98": true, "tc90": true,
		"ts90": true, "IQM": true, "TM(10%:90%)": true, "TM(150:1000)": true, "TS(80%:)": true, "TC(:0.5)": true, "WM(10%:90%)": true,
		"PR(:300)": true, "PR(100:2000)": true,
		"average": false, "p": false, "p101": false, "p99.": false, "P99": false, "iqm": false, "TM": false, "TM(:)": false,
		"TM(%:)": false, "TM(10%:90)": false, "TM(1.2.3:4)": false, "PR(10%:90%)": false, "PR(1:2": false, "xTM(1:2)": false, "": false,
	} {
		if got := IsStatistic(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func TestSortStatistics(t *testing.T) {
	got := SortStatistics([]string{"p99", "SampleCount", "IQM", "Maximum", "p50", "Average"})
	if want := []string{"Average", "Maximum", "SampleCount", "IQM", "p50", "p99"}; !slices.Equal(got, want) {
		t.Errorf("%v; want %v", got, want)
	}
}

func TestStatisticsCalls(t *testing.T) {
	mixed := []string{"Average", "p1", "p2", "Sum", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10", "p11", "Maximum", "Minimum", "SampleCount"}
	got := StatisticsCalls(mixed)
	want := [][]int{{0, 3, 13, 14, 15}, {1, 2, 4, 5, 6, 7, 8, 9, 10, 11}, {12}}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%v; want %v", got, want)
	}
	if calls := StatisticsCalls(nil); len(calls) != 0 {
		t.Errorf("%v for no statistics", calls)
	}
}

func TestPrices(t *testing.T) {
	p := DefaultPrices()
	for statistics, want := range map[int][2]float64{1: {0.00001, 0.00001}, 5: {0.00001, 0.00005}, 6: {0.00002, 0.00006}} {
		if usd, worst := p.MetricData(statistics); !near(usd, want[0]) || !near(worst, want[1]) {
			t.Errorf("%d statistics cost %g, at worst %g; want %v", statistics, usd, worst, want)
		}
	}
	if usd := p.MetricStatistics(3) + p.Listing(2); !near(usd, 0.00005) {
		t.Errorf("five calls cost %g", usd)
	}
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-12 }
