// Package awssim is a simulated AWS: STS, EC2 and CloudWatch over HTTP, for
// tests, benchmarks and the demo. It checks signatures, sessions and limits as
// AWS does, misbehaves on request, and its data are pure functions, so that a
// checker can tell without a server what every answer must have been.
package awssim

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Config describes a simulated AWS. It encodes to JSON and back.
type Config struct {
	Accounts    []string      // 12-digit ids; the first is the base keys' own
	Regions     []string      // enabled in every account
	Instances   int           // per account and region
	RoleName    string        // assumable in every account
	ExternalID  string        // demanded by AssumeRole unless empty
	SessionLife time.Duration // granted whatever is asked; 0: as asked
	MaxSession  time.Duration // the roles' MaxSessionDuration; 0: 12h

	// Quotas of GetMetricData per account and region; 0: not enforced.
	RequestsPerSecond   float64
	DatapointsPerSecond float64

	PageDatapoints int // that a page of GetMetricData holds at most; 0: as many as were asked for

	Latency      time.Duration // of every answer
	Jitter       time.Duration // added to it at random
	Seed         uint64        // of every random choice
	TrackRepeats bool          // remember every series-window answered: memory grows with them

	Now func() time.Time `json:"-"` // nil: time.Now
}

// Instance is one EC2 instance of the simulated fleet.
type Instance struct {
	ID, State, Type, Zone, Platform string
	Launched                        time.Time
	Tags                            map[string]string
}

var instanceTypes = []string{"t3.medium", "m5.large", "c6i.xlarge", "r6g.2xlarge"}

// Instance returns the i-th instance of an account and region.
func (c Config) Instance(account, region string, i int) Instance {
	h := mix(hash(hash(offset, account), region) + uint64(i))
	id := fmt.Sprintf("i-0%016x", h)
	in := Instance{
		ID: id, State: "running", Platform: "Linux/UNIX",
		Type:     instanceTypes[h%4],
		Zone:     region + string(rune('a'+h%3)),
		Launched: time.Unix(1_600_000_000+int64(h%100_000_000), 0).UTC(),
		Tags:     map[string]string{"Name": "host-" + strconv.Itoa(i), "env": []string{"prod", "test"}[h>>8%2]},
	}
	if FateOf(id) == Stopped {
		in.State = "stopped"
	}
	return in
}

// Fate is what an instance's data look like.
type Fate int

const (
	Whole   Fate = iota // a datapoint at every time
	Gaps                // hours without datapoints
	Stopped             // no datapoints, state stopped
	Silent              // no datapoints, state running
)

// FateOf tells an instance's fate from its id: of a thousand, 20 have gaps, 20
// are stopped and 15 are silent.
func FateOf(id string) Fate {
	switch n := mix(hash(offset, id)) % 1000; {
	case n < 15:
		return Silent
	case n < 35:
		return Stopped
	case n < 55:
		return Gaps
	}
	return Whole
}

// Datapoint is the truth: the value of one statistic of one metric at a time,
// whatever the period; dimensions are in the form "Name=Value,...", sorted by
// name. Not ok: there is no such datapoint.
func Datapoint(account, region, namespace, metric, dimensions, statistic string, at time.Time) (value float64, ok bool) {
	s := newSource(account, region, namespace, metric, dimensions, statistic)
	return s.at(at.Unix())
}

// source computes the datapoints of one statistic of one series.
type source struct {
	values  uint64 // seeds
	gaps    uint64
	fate    Fate
	partial bool // this statistic lacks some of the metric's datapoints
}

// newSource hashes all that does not change over time.
func newSource(account, region, namespace, metric, dimensions, statistic string) source {
	id := dimensions
	for pair := range strings.SplitSeq(dimensions, ",") {
		if value, found := strings.CutPrefix(pair, "InstanceId="); found {
			id = value
		}
	}
	if id == "" || strings.HasPrefix(metric, "Unpublished") {
		return source{fate: Silent}
	}
	series := hash(hash(hash(hash(hash(offset, account), region), namespace), metric), dimensions)
	return source{
		values:  hash(series, statistic),
		gaps:    series,
		fate:    FateOf(id),
		partial: metric == "CPUCreditBalance" && statistic != "Average",
	}
}

func (s source) at(unix int64) (float64, bool) {
	switch {
	case s.fate == Stopped, s.fate == Silent:
		return 0, false
	case s.fate == Gaps && mix(s.gaps^uint64(unix/3600))%4 == 0:
		return 0, false
	case s.partial && mix(s.gaps^uint64(unix))%8 == 0:
		return 0, false
	}
	// Steps of 1/8 up to 131,072: exact in text and binary.
	return float64(mix(s.values^uint64(unix))>>44) / 8, true
}

const offset = 14695981039346656037 // FNV-1a

// hash continues an FNV-1a hash with a string and an end mark.
func hash(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return (h ^ 0xff) * 1099511628211
}

// mix is the finaliser of SplitMix64: every bit of x moves every bit of it.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
