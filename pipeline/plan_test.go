package pipeline

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"cwharvest/store"
	"cwharvest/store/record"
)

// fleet serves pending instances as the store does.
type fleet []store.Pending

func (f fleet) pending(after string, limit int) ([]store.Pending, error) {
	i, _ := slices.BinarySearchFunc(f, after+"\x00", func(p store.Pending, key string) int {
		return cmpStrings(p.Instance.Key(), key)
	})
	return f[i:min(i+limit, len(f))], nil
}

func cmpStrings(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func newFleet(n int, missing func(i int) []record.SeriesWindow) fleet {
	f := make(fleet, n)
	for i := range f {
		f[i].Instance = record.Instance{
			Namespace:  "AWS/EC2",
			Dimensions: []record.Dimension{{Name: "InstanceId", Value: fmt.Sprintf("i-%017d", i)}},
		}
		f[i].Missing = missing(i)
	}
	return f
}

func allRequests(t *testing.T, series []record.Series, f fleet) []*request {
	t.Helper()
	p := planner{pack: packer{series: series}, pending: f.pending}
	var all []*request
	for {
		r, err := p.next()
		if err != nil {
			t.Fatal(err)
		}
		if r == nil {
			return all
		}
		all = append(all, r)
	}
}

func randomSeries(rng *rand.Rand) []record.Series {
	periods := []int64{60, 300, 3600}
	series := make([]record.Series, 1+rng.IntN(6))
	shared := make([]record.Window, 1+rng.IntN(4))
	start := int64(0)
	for i := range shared {
		period := periods[rng.IntN(len(periods))]
		points := 1 + rng.Int64N(4032)
		shared[i] = record.Window{Start: start, End: start + points*period, Period: period}
		start = shared[i].End
	}
	for i := range series {
		series[i] = record.Series{
			Namespace: "AWS/EC2", Metric: fmt.Sprintf("M%d", i),
			Statistics: []string{"Average", "Maximum", "Minimum", "Sum", "SampleCount", "p50", "p99"}[:1+rng.IntN(7)],
			Windows:    shared,
		}
	}
	return series
}

// The requests ask everything pending exactly once, stay within the limits, and
// their items have the window of the request.
func TestPlanAsksEverythingOnce(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		series := randomSeries(rng)
		want := map[string]int{}
		f := newFleet(rng.IntN(1500), func(i int) []record.SeriesWindow {
			var missing []record.SeriesWindow
			for s := range series {
				for w := range series[s].Windows {
					if rng.IntN(4) > 0 {
						missing = append(missing, record.SeriesWindow{Series: s, Window: w})
						want[fmt.Sprintf("AWS/EC2\x00InstanceId\x00InstanceId=i-%017d %d %d", i, s, w)]++
					}
				}
			}
			return missing
		})
		// The store returns only instances with something pending.
		f = slices.DeleteFunc(f, func(p store.Pending) bool { return len(p.Missing) == 0 })
		got := map[string]int{}
		for _, r := range allRequests(t, series, f) {
			checkRequest(t, r, series)
			for _, it := range r.items {
				got[fmt.Sprintf("%s %d %d", it.instance, it.series, it.window)]++
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: %d series-windows asked, %d pending, or some not once", seed, len(got), len(want))
		}
	}
}

func checkRequest(t *testing.T, r *request, series []record.Series) {
	t.Helper()
	queries, points := 0, 0
	for _, it := range r.items {
		s := series[it.series]
		if s.Windows[it.window] != r.window {
			t.Fatalf("item of window %v in a request for %v", s.Windows[it.window], r.window)
		}
		queries += len(s.Statistics)
		points += len(s.Statistics) * r.window.Points()
	}
	if queries != r.queries || points != r.points {
		t.Fatalf("request counts %d queries, %d points; holds %d, %d", r.queries, r.points, queries, points)
	}
	if queries > 500 || points > 100_800 || len(r.items) == 0 {
		t.Fatalf("request of %d items has %d queries, %d datapoints", len(r.items), queries, points)
	}
}

// For n equal series the number of requests is the least that the API allows:
// ceil(n / min(floor(500/statistics), floor(100800/datapoints))).
func TestPlanMeetsTheBound(t *testing.T) {
	for _, c := range []struct{ instances, metrics, statistics, points int }{
		{400, 5, 3, 288}, {350, 1, 1, 288}, {1000, 10, 1, 4032}, {501, 1, 1, 1}, {7, 3, 5, 20160}, {100, 1, 2, 12},
	} {
		var series []record.Series
		var missing []record.SeriesWindow
		for m := range c.metrics {
			series = append(series, record.Series{
				Namespace: "AWS/EC2", Metric: fmt.Sprintf("M%02d", m),
				Statistics: []string{"Average", "Maximum", "Minimum", "Sum", "SampleCount"}[:c.statistics],
				Windows:    []record.Window{{Start: 0, End: int64(c.points) * 300, Period: 300}},
			})
			missing = append(missing, record.SeriesWindow{Series: m})
		}
		f := newFleet(c.instances, func(int) []record.SeriesWindow { return missing })
		perRequest := min(500/c.statistics, 100_800/(c.points*c.statistics))
		n := c.instances * c.metrics
		want := (n + perRequest - 1) / perRequest
		if got := len(allRequests(t, series, f)); got != want {
			t.Errorf("%+v: %d requests, the bound is %d", c, got, want)
		}
	}
}
