package awssim

import "sync"

// Metric is a custom metric that every account publishes in every region. Its name
// and dimensions can be ones that AWS never lists.
type Metric struct {
	Namespace, Name string
	Dimensions      [][2]string // name and value, in the order of the response
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
