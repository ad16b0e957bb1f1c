package main

import (
	"slices"
	"sync"
	"time"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store/record"
)

// A history holds at most mostSamples. When it is full, every second one goes
// and the next come half as often, so that it covers any night in the same room.
const (
	mostSamples  = 720
	firstSamples = 2 * time.Second // apart, in the beginning
)

// sample is what a run had come to at one time. Counts are the job's, so that
// samples left out take nothing with them.
type sample struct {
	Time       time.Time `json:"time"`
	Job        string    `json:"job"`
	Datapoints int64     `json:"datapoints"`
	Estimated  int64     `json:"estimated_datapoints"` // what the quota counts
	Quota      float64   `json:"quota"`                // estimated datapoints a second, of the targets not done, denied or waiting
	Throttled  int64     `json:"throttled"`
	Waiting    int64     `json:"waiting_targets"`
	Held       bool      `json:"writing_waits"`
	Assumed    int64     `json:"sessions_assumed"`
	Refused    int64     `json:"sessions_refused"`
}

// history is a bounded record of samples. The zero value is empty and ready;
// safe for concurrent use.
type history struct {
	mu      sync.Mutex
	samples []sample
	every   time.Duration
}

// add takes a sample of a status that is new and far enough from the last. A
// wait that falls between two samples is kept with the later one.
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
		Quota:     share * float64(s.Targets.Active+s.Targets.Pending) * cloudwatch.DatapointsPerSecond(s.Written.Sub(s.Range.Start)),
		Throttled: s.Requests.Throttled, Waiting: s.Targets.Waiting, Held: s.Trouble != nil,
		Assumed: s.Sessions.Assumed, Refused: s.Sessions.RefusedExpired,
	}
}

// thin keeps every second sample, and of those that go their waits.
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
