package awssim

import (
	"cmp"
	"slices"
	"strings"
	"sync"
)

// Metric is a custom metric that every account publishes in every region. Its name
// and dimensions can be ones that AWS never lists.
type Metric struct {
	Namespace, Name string
	Dimensions      [][2]string // name and value, in the order of the response
	Units           []string    // with which it is published; none: any that is asked for
}

// published are the metrics that Publish has added.
type published struct {
	mu  sync.Mutex
	all []Metric
}

// Publish adds a metric to the responses of ListMetrics.
func (p *published) Publish(m Metric) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, m)
}

// Unpublish removes the metrics that Publish has added.
func (p *published) Unpublish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = nil
}

// units returns the units with which a metric is published and that a call gets. A call
// without a unit gets all; GetMetricData merges those into one series, where the first
// wins.
func (p *published) units(namespace, name, dimensions, asked string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.all {
		m := &p.all[i]
		if m.Namespace != namespace || m.Name != name || joined(m.Dimensions) != dimensions || len(m.Units) == 0 {
			continue
		}
		if asked == "" {
			return m.Units
		}
		return slices.DeleteFunc(slices.Clone(m.Units), func(unit string) bool { return unit != asked })
	}
	return []string{cmp.Or(asked, "None")}
}

// page returns so many of the added metrics that match, from a number on, and where
// the next page begins; 0 if there is none.
func (p *published) page(first, most int, matches func(*Metric) bool) (page []Metric, next int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := first; i < len(p.all); i++ {
		if !matches(&p.all[i]) {
			continue
		}
		if len(page) == most {
			return page, i
		}
		page = append(page, p.all[i])
	}
	return page, 0
}

// joined returns dimensions in the form that Datapoint takes.
func joined(dimensions [][2]string) string {
	var pairs []string
	for _, d := range dimensions {
		pairs = append(pairs, d[0]+"="+d[1])
	}
	return strings.Join(pairs, ",")
}
