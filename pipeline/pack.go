package pipeline

import (
	"slices"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store/record"
)

// packer fills requests with the items of one target, those of each window apart.
// It gathers items for a few requests and then fills one with items in the order
// in which they came; only the last ones are chosen so that they fit. Equal items
// in equal order give equal requests.
//
// Items of one size fill the fewest requests possible. Items of mixed sizes may
// leave a little room unused, which costs less than one per cent more requests.
type packer struct {
	series []record.Series
	single bool   // one item a request: GetMetricStatistics
	bins   []*bin // by first use, so that flushing keeps the order
}

// lookahead is the number of requests for which a bin gathers items before it
// fills the first one. It bounds the packer's memory.
const lookahead = 4

// bin holds the items of one window that are in no request yet.
type bin struct {
	window  record.Window
	room    int    // queries that fit one request
	items   []item // in the order in which they came
	queries int    // of all items
}

func (p *packer) window(it item) record.Window { return p.series[it.series].Windows[it.window] }

// size returns how many queries an item takes: one for each statistic.
func (p *packer) size(it item) int { return len(p.series[it.series].Statistics) }

// add takes an item and returns a request if one is ready.
func (p *packer) add(it item) *request {
	w := p.window(it)
	if p.single {
		return p.request(w, []item{it})
	}
	b := p.bin(w)
	b.items, b.queries = append(b.items, it), b.queries+p.size(it)
	if b.queries < lookahead*b.room {
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

// flush returns a request of the items that are left, nil if there are none.
func (p *packer) flush() *request {
	for len(p.bins) > 0 {
		if b := p.bins[0]; len(b.items) > 0 {
			return p.fill(b)
		}
		p.bins = p.bins[1:]
	}
	return nil
}

// fill moves items from a bin into a request.
func (p *packer) fill(b *bin) *request {
	taken := p.choose(b)
	var items, left []item
	for i, it := range b.items {
		if taken[i] {
			items, b.queries = append(items, it), b.queries-p.size(it)
		} else {
			left = append(left, it)
		}
	}
	b.items = left
	return p.request(b.window, items)
}

// closing is the number of items of the largest size for which a request keeps
// room while it takes items in order.
const closing = 2

// choose reports for each item of a bin whether the next request takes it. The
// request takes the first item even if that is larger than the room, and then
// items in order. For the rest it tries every number of the largest items, fills
// up with smaller ones, and keeps the choice that leaves the least room unused. The
// room is less than closing+1 of the largest, unless long dimensions fill the request.
func (p *packer) choose(b *bin) (taken []bool) {
	largest := p.size(slices.MaxFunc(b.items, func(x, y item) int { return p.size(x) - p.size(y) }))
	s := selection{taken: make([]bool, len(b.items)), room: b.room, bytes: maxBytes}
	next := 0
	for next < len(b.items) && (next == 0 || s.room-p.size(b.items[next]) >= closing*largest && p.fits(&s, b.items[next])) {
		p.take(&s, b, next)
		next++
	}
	order := p.largestFirst(b, next)
	best := s
	for most := min(max(s.room, 0)/largest, closing); most >= 0 && best.room > 0; most-- {
		if try := p.complete(s, b, order, largest, most); try.room < best.room {
			best = try
		}
	}
	return best.taken
}

// selection holds the items of a bin that a request takes.
type selection struct {
	taken       []bool // by their place in the bin
	room, bytes int    // not used yet
}

func (p *packer) fits(s *selection, it item) bool {
	return p.size(it) <= s.room && p.bytes(it) <= s.bytes
}

func (p *packer) take(s *selection, b *bin, i int) {
	s.taken[i] = true
	s.room -= p.size(b.items[i])
	s.bytes -= p.bytes(b.items[i])
}

// complete adds the items that fit, in the given order, to a copy of a selection:
// at most so many of the largest size.
func (p *packer) complete(s selection, b *bin, order []int, largest, most int) selection {
	s.taken = slices.Clone(s.taken)
	for _, i := range order {
		isLargest := p.size(b.items[i]) == largest
		if isLargest && most == 0 || !p.fits(&s, b.items[i]) {
			continue
		}
		if isLargest {
			most--
		}
		p.take(&s, b, i)
	}
	return s
}

// largestFirst returns the places of a bin's items after the first few, those of
// one size in the order in which they came.
func (p *packer) largestFirst(b *bin, skip int) []int {
	order := make([]int, 0, len(b.items)-skip)
	for i := skip; i < len(b.items); i++ {
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(x, y int) int { return p.size(b.items[y]) - p.size(b.items[x]) })
	return order
}

// bytes returns about how many bytes the queries of an item take in a request.
func (p *packer) bytes(it item) int {
	const form, pair = 120, 16 // names of fields
	s := &p.series[it.series]
	n := form + len(s.Namespace) + len(s.Metric)
	for _, d := range it.dimensions {
		n += pair + len(d.Name) + len(d.Value)
	}
	return n * p.size(it)
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
