package awssim

import (
	"maps"
	"sync"
)

// Stats are the counters of a simulated AWS.
type Stats struct {
	Calls   map[string]int   `json:"calls"`   // by service.operation
	Targets map[string]int   `json:"targets"` // GetMetricData calls, by account/region
	Points  map[string]int64 `json:"points"`  // estimated datapoints of successful calls, by account/region
	Codes   map[string]int   `json:"codes"`   // error responses, by code
	Roles   map[string]int   `json:"roles"`   // AssumeRole calls, by role ARN

	Protocols map[string]int `json:"protocols"` // calls of CloudWatch, by cbor, json and query

	Answered       int   `json:"answered"`        // successful GetMetricData calls
	Datapoints     int64 `json:"datapoints"`      // returned by these calls
	Estimated      int64 `json:"estimated"`       // of these calls, as the quota counts them
	BilledMetrics  int64 `json:"billed_metrics"`  // if five statistics of a metric are billed once
	BilledWorst    int64 `json:"billed_worst"`    // if every statistic is billed
	Throttled      int   `json:"throttled"`       // throttled calls
	ExpiredEarly   int   `json:"expired_early"`   // calls refused as expired because of a fault
	ExpiredInTime  int   `json:"expired_in_time"` // calls refused because the session had expired
	Sessions       int   `json:"sessions"`        // sessions issued
	Repeated       int   `json:"repeated"`        // successful queries that had succeeded before
	MostInFlight   int64 `json:"most_in_flight"`  // largest number of concurrent requests
	PagesContinued int   `json:"pages_continued"` // successful GetMetricData calls with a NextToken
}

// Total returns the number of calls of all services.
func (s Stats) Total() (n int) {
	for _, calls := range s.Calls {
		n += calls
	}
	return n
}

type statistics struct {
	mu sync.Mutex
	Stats
}

func (s *statistics) init() {
	s.Calls, s.Targets, s.Codes, s.Roles = map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	s.Points, s.Protocols = map[string]int64{}, map[string]int{}
}

func (s *statistics) count(do func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do(&s.Stats)
}

func (s *statistics) enter(inFlight int64) {
	s.count(func(s *Stats) { s.MostInFlight = max(s.MostInFlight, inFlight) })
}

func (s *statistics) called(c *call) {
	s.count(func(s *Stats) {
		s.Calls[c.service+"."+c.operation]++
		if c.service == "monitoring" {
			s.Protocols[c.codec.name()]++
		}
		if c.operation == "GetMetricData" {
			s.Targets[c.principal.account+"/"+c.region]++
		}
	})
}

func (s *statistics) failed(c *call, e *apiError) {
	s.count(func(s *Stats) {
		s.Codes[e.code]++
		if e.code == "Throttling" || e.code == "RequestLimitExceeded" {
			s.Throttled++
		}
	})
}

func (s *statistics) code(code string) { s.count(func(s *Stats) { s.Codes[code]++ }) }

func (s *statistics) expired(early bool) {
	s.count(func(s *Stats) {
		if early {
			s.ExpiredEarly++
		} else {
			s.ExpiredInTime++
		}
	})
}

func (s *statistics) assumed(arn string) { s.count(func(s *Stats) { s.Roles[arn]++ }) }

// Stats returns a copy of the counters.
func (s *Server) Stats() Stats {
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	c := s.stats.Stats
	c.Calls, c.Targets = maps.Clone(c.Calls), maps.Clone(c.Targets)
	c.Points, c.Protocols = maps.Clone(c.Points), maps.Clone(c.Protocols)
	c.Codes, c.Roles = maps.Clone(c.Codes), maps.Clone(c.Roles)
	s.sessions.mu.Lock()
	c.Sessions = int(s.sessions.issued)
	s.sessions.mu.Unlock()
	return c
}

// repeats records successful queries, if enabled.
type repeats struct {
	on     bool
	mu     sync.Mutex
	seen   map[uint64]struct{} // hashes of series, statistic and window
	served map[string]struct{} // account/region/dimensions since the last mark
}

func (r *repeats) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen, r.served = map[uint64]struct{}{}, map[string]struct{}{}
}

func (r *repeats) mark() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.served = map[string]struct{}{}
}

// add records successful queries and returns how many of them it knew.
func (r *repeats) add(target string, queries []query, start, end int64) (repeated int) {
	if !r.on {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range queries {
		q := &queries[i]
		h := hash(hash(hash(hash(hash(offset, target), q.namespace), q.metric), q.dimensions), q.statistic)
		h = mix(mix(mix(h)^uint64(start)) ^ uint64(end)<<20 ^ uint64(q.period))
		if _, again := r.seen[h]; again {
			repeated++
		}
		r.seen[h] = struct{}{}
		r.served[target+"/"+q.dimensions] = struct{}{}
	}
	return repeated
}
