package pipeline

import (
	"slices"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store/record"
)

// packer fills requests with items as they come, those of each window apart. It
// is pure: equal items give equal requests. Items of one size fill requests in
// order; where sizes differ, it looks some requests ahead for those that leave
// no room unused.
type packer struct {
	series []record.Series
	single bool   // one item a request: GetMetricStatistics
	bins   []*bin // by first use, so that flushing keeps the order
}

// lookahead is how many requests' worth of items a bin gathers before it gives
// the first, when their sizes differ.
const lookahead = 4

// bin is what waits for requests of one window.
type bin struct {
	window  record.Window
	room    int    // queries that fit one request
	items   []item // in the order they came
	sizes   []int  // of items: their queries
	queries int    // of items together
	mixed   bool   // sizes differ
}

func (p *packer) window(it item) record.Window { return p.series[it.series].Windows[it.window] }

// add takes an item and returns a request that is ready with it, if any.
func (p *packer) add(it item) *request {
	w := p.window(it)
	if p.single {
		return p.request(w, []item{it})
	}
	b := p.bin(w)
	n := len(p.series[it.series].Statistics)
	b.mixed = b.mixed || len(b.sizes) > 0 && b.sizes[0] != n
	b.items, b.sizes, b.queries = append(b.items, it), append(b.sizes, n), b.queries+n
	enough := b.room + 1
	if b.mixed {
		enough = lookahead * b.room
	}
	if b.queries < enough {
		return nil
	}
	return p.fill(b)
}

func (p *packer) bin(w record.Window) *bin {
	for _, b := range p.bins {
		if b.window == w {
			return b
		}
	}
	b := &bin{window: w, room: min(cloudwatch.MaxQueries, cloudwatch.MaxDatapoints/max(w.Points(), 1))}
	p.bins = append(p.bins, b)
	return b
}

// flush returns the next request of what still waits, nil when nothing does.
func (p *packer) flush() *request {
	for len(p.bins) > 0 {
		if b := p.bins[0]; len(b.items) > 0 {
			return p.fill(b)
		}
		p.bins = p.bins[1:]
	}
	return nil
}

// fill takes one request's items out of a bin: in the order they came, and at
// the end those that leave the least room unused.
func (p *packer) fill(b *bin) *request {
	const choice = 4 // the last so many items are chosen
	whole, room := 0, b.room
	for largest := slices.Max(b.sizes); whole < len(b.sizes) && room-b.sizes[whole] >= choice*largest; whole++ {
		room -= b.sizes[whole]
	}
	take := fillRoom(b.sizes[whole:], room)
	var items, left []item
	var sizes []int
	bytes := 0
	for i, it := range b.items {
		size := p.bytes(it) * b.sizes[i]
		if i >= whole && take[b.sizes[i]] == 0 || len(items) > 0 && bytes+size > maxBytes {
			left, sizes = append(left, it), append(sizes, b.sizes[i])
			continue
		}
		if i >= whole {
			take[b.sizes[i]]--
		}
		bytes += size
		items = append(items, it)
		b.queries -= b.sizes[i]
	}
	b.items, b.sizes = left, sizes
	b.mixed = slices.ContainsFunc(sizes, func(n int) bool { return n != sizes[0] })
	return p.request(b.window, items)
}

// bytes is about what one query of an item takes in a request.
func (p *packer) bytes(it item) int {
	const form, pair = 120, 16 // names of fields
	s := &p.series[it.series]
	n := form + len(s.Namespace) + len(s.Metric)
	for _, d := range it.dimensions {
		n += pair + len(d.Name) + len(d.Value)
	}
	return n
}

func (p *packer) request(w record.Window, items []item) *request {
	r := &request{window: w, calls: 1}
	for _, it := range items {
		r.add(it, &p.series[it.series])
	}
	if p.single {
		r.calls = len(cloudwatch.StatisticsCalls(p.series[items[0].series].Statistics))
	}
	return r
}

// fillRoom chooses how many items of each size to take so that they fill the
// room as far as possible, large ones first. An item larger than the room is
// taken alone.
func fillRoom(sizes []int, room int) map[int]int {
	counts := map[int]int{}
	for _, n := range sizes {
		counts[n]++
	}
	if len(sizes) == 0 {
		return nil
	}
	kinds := make([]int, 0, len(counts))
	for n := range counts {
		kinds = append(kinds, n)
	}
	slices.Sort(kinds)
	slices.Reverse(kinds)
	if kinds[len(kinds)-1] > room {
		return map[int]int{sizes[0]: 1}
	}
	reach := reachable(kinds, counts, room)
	left := room
	for !reach[0][left] {
		left--
	}
	take := map[int]int{}
	for i, n := range kinds {
		for m := min(counts[n], left/n); m >= 0; m-- {
			if reach[i+1][left-m*n] {
				take[n], left = m, left-m*n
				break
			}
		}
	}
	return take
}

// reachable tells by kind which sums its items and those of later kinds make up.
func reachable(kinds []int, counts map[int]int, room int) [][]bool {
	reach := make([][]bool, len(kinds)+1)
	reach[len(kinds)] = make([]bool, room+1)
	reach[len(kinds)][0] = true
	for i := len(kinds) - 1; i >= 0; i-- {
		n, most := kinds[i], counts[kinds[i]]
		reach[i] = make([]bool, room+1)
		used := make([]int, room+1) // the fewest of this kind that make up the sum
		for sum := range reach[i] {
			switch {
			case reach[i+1][sum]:
				reach[i][sum] = true
			case sum >= n && reach[i][sum-n] && used[sum-n] < most:
				reach[i][sum], used[sum] = true, used[sum-n]+1
			}
		}
	}
	return reach
}
