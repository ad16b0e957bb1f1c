package awssim

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config describes a simulated AWS. It can be encoded as JSON.
type Config struct {
	Accounts    []string      // 12-digit ids; the first one owns AccessKey
	Regions     []string      // enabled in every account
	Disabled    []string      // regions that exist and that no account has enabled
	Instances   int           // per account and region
	RoleName    string        // roles that exist in every account, separated by commas
	ExternalID  string        // required by AssumeRole; empty: none
	SessionLife time.Duration // duration of every session; 0: as requested
	MaxSession  time.Duration // MaxSessionDuration of the roles; 0: 12h

	// Quotas of GetMetricData per account and region; 0: no limit.
	RequestsPerSecond   float64
	DatapointsPerSecond float64

	PageDatapoints int // datapoints per page of GetMetricData; 0: MaxDatapoints of the request

	Latency      time.Duration // of every response
	Jitter       time.Duration // largest random addition to Latency
	Seed         uint64        // of the random number generator
	Distinct     bool          // values that differ between series, statistics and times, unlike those of real metrics
	TrackRepeats bool          // count repeated queries; memory grows with the queries

	Partitions map[string]string // of accounts; default "aws"

	Now func() time.Time `json:"-"` // nil: time.Now
}

// Instance is one EC2 instance of the simulated fleet.
type Instance struct {
	ID, State, Type, Zone, Platform string
	Launched                        time.Time
	Tags                            map[string]string
}

var instanceTypes = []string{"t3.medium", "m5.large", "c6i.xlarge", "r6g.2xlarge"}

// Instance returns instance number i of an account and region.
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
	if CoverageOf(id) == Stopped {
		in.State = "stopped"
	}
	return in
}

// Coverage is the pattern of an instance's datapoints over time.
type Coverage int

const (
	Complete Coverage = iota // a datapoint at every time
	Gaps                     // a quarter of the hours have no datapoints
	Stopped                  // no datapoints; the instance is stopped
	Silent                   // no datapoints, although the instance is running
)

// CoverageOf returns the coverage of an instance, which follows from its id. Of a
// thousand instances, 20 have gaps, 20 are stopped and 15 are silent.
func CoverageOf(id string) Coverage {
	switch n := mix(hash(offset, id)) % 1000; {
	case n < 15:
		return Silent
	case n < 35:
		return Stopped
	case n < 55:
		return Gaps
	}
	return Complete
}

const offset = 14695981039346656037 // FNV-1a

// hash adds a string and an end mark to an FNV-1a hash.
func hash(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return (h ^ 0xff) * 1099511628211
}

// mix returns the finalizer of SplitMix64, so that every bit of x affects every bit
// of the result.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// partitions are the prefixes of the region names of all partitions but aws
// (partitions.json of the AWS SDKs).
var partitions = []struct{ prefix, name string }{
	{"cn-", "aws-cn"}, {"us-gov-", "aws-us-gov"}, {"eusc-", "aws-eusc"},
	{"us-isob-", "aws-iso-b"}, {"us-isof-", "aws-iso-f"}, {"us-iso-", "aws-iso"}, {"eu-isoe-", "aws-iso-e"},
}

// PartitionOf returns the partition of a region.
func PartitionOf(region string) string {
	for _, p := range partitions {
		if strings.HasPrefix(region, p.prefix) {
			return p.name
		}
	}
	return "aws"
}

// regionOfPartition returns a text that PartitionOf takes for a region of a partition.
func regionOfPartition(name string) string {
	for _, p := range partitions {
		if p.name == name {
			return p.prefix
		}
	}
	return ""
}

// Partition returns the partition of an account.
func (c Config) Partition(account string) string { return cmp.Or(c.Partitions[account], "aws") }

// isUnknownIn reports whether no service of a region knows the keys of an account:
// the region belongs to another partition, or the account has not enabled it.
func (c Config) isUnknownIn(account, region string) bool {
	return PartitionOf(region) != c.Partition(account) || slices.Contains(c.Disabled, region)
}
