package pipeline

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store/record"
)

// leastBins returns the fewest bins of a capacity that hold items of these sizes, by
// trying every way.
func leastBins(sizes []int, room int) int {
	slices.SortFunc(sizes, func(a, b int) int { return b - a })
	best := len(sizes)
	var place func(i int, bins []int)
	place = func(i int, bins []int) {
		switch {
		case len(bins) >= best:
			return
		case i == len(sizes):
			best = len(bins)
			return
		}
		tried := map[int]bool{}
		for b, used := range bins {
			if used+sizes[i] <= room && !tried[used] {
				tried[used] = true
				bins[b] += sizes[i]
				place(i+1, bins)
				bins[b] -= sizes[i]
			}
		}
		place(i+1, append(bins, sizes[i]))
	}
	place(0, nil)
	return best
}

// packSizes packs items of these numbers of statistics, in windows that leave
// room for so many queries a request.
func packSizes(sizes []int, room int) (requests []*request) {
	var series []record.Series
	points := int64(cloudwatch.MaxDatapoints / room)
	for i, n := range sizes {
		statistics := make([]string, n)
		for k := range statistics {
			statistics[k] = fmt.Sprintf("p%d", k)
		}
		series = append(series, record.Series{Metric: fmt.Sprint(i), Statistics: statistics, Windows: []record.Window{{End: points * 60, Period: 60}}})
	}
	p := packer{series: series}
	for i := range sizes {
		if r := p.add(item{series: i}); r != nil {
			requests = append(requests, r)
		}
	}
	for r := p.flush(); r != nil; r = p.flush() {
		requests = append(requests, r)
	}
	return requests
}

// Mixed series take at most one per cent more requests than the least there
// possible, which is found by trying every way, over many small cases.
func TestPackingIsNearTheOptimum(t *testing.T) {
	packed, least, worst := 0, 0, 0
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 8))
		room := 4 + rng.IntN(12)
		kinds := make([]int, 1+rng.IntN(4))
		for i := range kinds {
			kinds[i] = 1 + rng.IntN(min(room, 8))
		}
		sizes := make([]int, 1+rng.IntN(14))
		for i := range sizes {
			sizes[i] = kinds[rng.IntN(len(kinds))]
		}
		requests := packSizes(sizes, room)
		n := leastBins(slices.Clone(sizes), room)
		packed, least, worst = packed+len(requests), least+n, max(worst, len(requests)-n)
		items := 0
		for _, r := range requests {
			if items += len(r.items); r.queries > room {
				t.Fatalf("seed %d: %d queries, room for %d", seed, r.queries, room)
			}
		}
		if items != len(sizes) {
			t.Fatalf("seed %d: %d items of %d", seed, items, len(sizes))
		}
	}
	t.Logf("%d requests, %d at least; at most %d too many in a case", packed, least, worst)
	if float64(packed) > 1.01*float64(least) {
		t.Errorf("%d requests, %d at least", packed, least)
	}
}

// TestPackingOfAFleet proves that a fleet of mixed metrics leaves almost no room
// unused: requests stay within one per cent of the minimum, in instance order.
func TestPackingOfAFleet(t *testing.T) {
	for _, c := range []struct {
		statistics  []int
		room, least int // all queries by room; or where that cannot be, the large ones alone
	}{
		{[]int{2, 5}, 25, 560}, {[]int{1, 3, 5, 2}, 350, 63}, {[]int{7, 5, 3}, 8, 4000}, {[]int{5, 5, 5, 1}, 7, 6000}, {[]int{2, 2, 2}, 25, 500},
	} {
		var sizes []int
		for range 2000 {
			sizes = append(sizes, c.statistics...)
		}
		requests := packSizes(sizes, c.room)
		t.Logf("%v of %d: %d requests, %d at least", c.statistics, c.room, len(requests), c.least)
		if len(requests) > c.least+c.least/100 {
			t.Errorf("%v of %d: %d requests, %d at least", c.statistics, c.room, len(requests), c.least)
		}
		for i := 1; i < len(requests); i++ {
			first, before := requests[i].items[0].series, requests[i-1].items[0].series
			if before-first > c.room {
				t.Fatalf("%v of %d: request %d begins at item %d, the one before at %d", c.statistics, c.room, i, first, before)
			}
		}
	}
}

// Long dimensions make requests smaller, not too large.
func TestPackingKeepsToBytes(t *testing.T) {
	long := strings.Repeat("x", 1000)
	series := []record.Series{{Namespace: "N", Metric: "M", Statistics: []string{"Sum"}, Windows: []record.Window{{End: 300, Period: 300}}}}
	p := packer{series: series}
	n := 0
	for i := range 1000 {
		it := item{instance: fmt.Sprint(i)}
		for d := range 30 {
			it.dimensions = append(it.dimensions, record.Dimension{Name: fmt.Sprint(d), Value: long})
		}
		if r := p.add(it); r != nil {
			n += len(r.items)
			if size := len(r.items) * p.bytes(it); size > maxBytes {
				t.Fatalf("a request of about %d bytes", size)
			}
		}
	}
	for r := p.flush(); r != nil; r = p.flush() {
		n += len(r.items)
	}
	if n != 1000 {
		t.Errorf("%d items of 1000", n)
	}
}

// Long dimensions leave room for many queries that would make the request too
// large. Few of the possible choices are tried then.
func TestPackingOfLongDimensionsIsQuick(t *testing.T) {
	p := packer{series: []record.Series{{Statistics: []string{"Sum"}, Windows: []record.Window{{End: 300, Period: 300}}}}}
	it := item{dimensions: []record.Dimension{{Name: "Name", Value: strings.Repeat("x", 30_000)}}}
	b := &bin{room: cloudwatch.MaxQueries, items: slices.Repeat([]item{it}, 4*cloudwatch.MaxQueries)}
	if allocations := testing.AllocsPerRun(1, func() { p.choose(b) }); allocations > 20 {
		t.Errorf("%v allocations, one for each choice", allocations)
	}
}
