package main

import (
	"slices"
	"sync"
	"time"

	"cwharvest/store/record"
)

// A history holds at most mostSamples. When it is full, it drops every second one and then samples half as often, so
// that it covers a run of any length in the same space.
const (
	mostSamples  = 720
	firstSamples = 2 * time.Second // between the first ones
)

// sample is the state of a run at one time. Its counts are totals of the job, so that a dropped sample loses nothing.
type sample struct {
	Time       time.Time `json:"time"`
	Job        string    `json:"job"`
	Datapoints int64     `json:"datapoints"`
	Estimated  int64     `json:"estimated_datapoints"` // datapoints as the quota counts them
	Quota      float64   `json:"quota"`                // estimated datapoints per second of the active and pending targets
	Throttled  int64     `json:"throttled"`
	Waiting    int64     `json:"waiting_targets"`
	Held       bool      `json:"writing_waits"`
	Assumed    int64     `json:"sessions_assumed"`
	Refused    int64     `json:"sessions_refused"`
}

// history is a bounded list of samples. Its zero value is ready, and it is safe for concurrent use.
type history struct {
	mu      sync.Mutex
	samples []sample
	every   time.Duration
}

// add appends a sample, unless the last one of the same job is too recent. A wait between two samples is recorded in the
// earlier one.
func (h *history) add(s *record.Status, share float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.every = max(h.every, firstSamples)
	n := len(h.samples)
	if n > 0 && h.samples[n-1].Job == s.Job && s.Written.Sub(h.samples[n-1].Time) < h.every*3/4 {
		last := &h.samples[n-1]
		last.Waiting, last.Held = max(last.Waiting, s.Targets.Waiting), last.Held || s.Trouble != nil
		return
	}
	if n == mostSamples {
		h.thin()
	}
	h.samples = append(h.samples, newSample(s, share))
}

func newSample(s *record.Status, share float64) sample {
	return sample{
		Time: s.Written, Job: s.Job, Datapoints: s.Datapoints, Estimated: s.Estimated.Done,
		Quota:     quotaOf(s, share) * float64(s.Targets.Active+s.Targets.Pending),
		Throttled: s.Requests.Throttled, Waiting: s.Targets.Waiting, Held: s.Trouble != nil,
		Assumed: s.Sessions.Assumed, Refused: s.Sessions.RefusedExpired,
	}
}

// thin drops every second sample and records its waits in the next one.
func (h *history) thin() {
	kept := h.samples[:0]
	for pair := range slices.Chunk(h.samples, 2) {
		last := pair[len(pair)-1]
		last.Waiting, last.Held = max(last.Waiting, pair[0].Waiting), last.Held || pair[0].Held
		kept = append(kept, last)
	}
	h.samples, h.every = kept, 2*h.every
}

func (h *history) all() []sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]sample{}, h.samples...)
}
