package store

import (
	"bytes"
	"encoding/json"
	"path"
	"sort"
	"strings"
	"time"
)

// Target is one account in one region: CloudWatch's quotas hold per target.
type Target struct {
	Account string `json:"account"`
	Region  string `json:"region"`
}

func (t Target) String() string { return t.Account + "/" + t.Region }

// IsPattern reports that the region stands for those of the account's enabled
// regions that it matches: "enabled", or patterns like "us-*,eu-*".
func (t Target) IsPattern() bool {
	return t.Region == AllRegions || strings.ContainsAny(t.Region, "*?,")
}

// AllRegions is the pattern of every enabled region.
const AllRegions = "enabled"

// Covers reports whether the target's region is or matches a region.
func (t Target) Covers(region string) bool {
	if t.Region == AllRegions {
		return true
	}
	for pattern := range strings.SplitSeq(t.Region, ",") {
		if ok, err := path.Match(pattern, region); err == nil && ok {
			return true
		}
	}
	return false
}

// Less orders targets as rows are sorted: by account, then region.
func (t Target) Less(o Target) bool {
	if t.Account != o.Account {
		return t.Account < o.Account
	}
	return t.Region < o.Region
}

// Dimension is one name and value of a CloudWatch dimension set.
type Dimension struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Instance is one monitored thing: what its dimension set names in its
// namespace. The other fields are what discovery knew about it.
type Instance struct {
	Namespace  string      `json:"namespace"`
	Dimensions []Dimension `json:"dimensions"` // sorted by name

	Type     string            `json:"type,omitempty"`
	Zone     string            `json:"zone,omitempty"`
	Platform string            `json:"platform,omitempty"`
	State    string            `json:"state,omitempty"`
	Launched time.Time         `json:"launched,omitzero"`
	Tags     map[string]string `json:"tags,omitempty"`
	Sources  []string          `json:"sources,omitempty"` // ec2, cloudwatch, file
}

// Key identifies the instance within its target and sorts as output does: its
// group, then its dimensions.
func (i Instance) Key() string {
	names := make([]string, len(i.Dimensions))
	for n, d := range i.Dimensions {
		names[n] = d.Name
	}
	return group(i.Namespace, names) + "\x00" + FormatDimensions(i.Dimensions)
}

// group is what decides which series an instance has: its namespace and the
// names of its dimensions, sorted.
func group(namespace string, names []string) string {
	return namespace + "\x00" + strings.Join(names, ",")
}

// groupOf returns the group of an instance's key.
func groupOf(key []byte) string {
	return string(key[:max(bytes.LastIndexByte(key, 0), 0)])
}

// FormatDimensions returns the set as "Name=Value,Name=Value", sorted by name:
// the form of the dimensions column.
func FormatDimensions(dims []Dimension) string {
	if len(dims) == 1 {
		return dims[0].Name + "=" + dims[0].Value
	}
	sorted := append([]Dimension(nil), dims...)
	sort.Slice(sorted, func(a, b int) bool { return sorted[a].Name < sorted[b].Name })
	var s strings.Builder
	for i, d := range sorted {
		if i > 0 {
			s.WriteByte(',')
		}
		s.WriteString(d.Name + "=" + d.Value)
	}
	return s.String()
}

// Window is a half-open time range aligned to its period, in Unix seconds.
type Window struct {
	Start  int64 `json:"start"`
	End    int64 `json:"end"`
	Period int64 `json:"period"` // seconds
}

// Gone reports that nothing is left to be asked for: the window was replanned
// after CloudWatch had dropped its data.
func (w Window) Gone() bool { return w.End <= w.Start }

// Points is the number of timestamps of the window's grid.
func (w Window) Points() int { return int(max(w.End-w.Start, 0) / w.Period) }

// Series is one metric with all statistics asked of it, for every instance of
// its namespace with its dimensions, and the windows its range is split into. A
// series-window is the unit of progress.
type Series struct {
	Namespace  string   `json:"namespace"`
	Metric     string   `json:"metric"`
	Dimensions []string `json:"dimensions"` // names, sorted: instances have exactly these
	Statistics []string `json:"statistics"` // as CloudWatch spells them: Average, p99, ...
	Windows    []Window `json:"windows"`    // ascending, disjoint

	// What one instance costs over all windows, in USD: with five statistics
	// of a metric billed once, and with every statistic billed.
	CostUSD  float64 `json:"cost_usd"`
	WorstUSD float64 `json:"worst_usd"`
}

func (s *Series) group() string { return group(s.Namespace, s.Dimensions) }

// Plan is the frozen plan of a job as far as the store needs it. Plan holds
// the whole frozen specification; the store keeps it and never looks inside.
type Plan struct {
	ID          string          `json:"id"` // given by Dir.Create
	Name        string          `json:"name"`
	Start       time.Time       `json:"start"`
	End         time.Time       `json:"end"`
	Created     time.Time       `json:"created"`
	Out         string          `json:"out"` // directory of the parts; absolute, or below the harvest directory
	Format      string          `json:"format"`
	Compression string          `json:"compression,omitempty"` // of text formats: none, gzip, zstd
	PartSize    int64           `json:"part_size"`             // bytes of spool per segment, about those of its parts
	Series      []Series        `json:"series"`                // sorted by namespace, metric
	Settings    json.RawMessage `json:"plan"`
	Targets     []Target        `json:"targets,omitempty"` // that the job began with
	Shard       Shard           `json:"shard,omitzero"`
}

// Result is the outcome of one series-window: rows, nothing, or a failure.
// The store does not keep Columns after Commit returns.
type Result struct {
	Target   Target
	Instance string // Instance.Key
	Series   int    // index into Spec.Series
	Window   int    // index into Series.Windows

	// Columns has one slice of Window.Points values for each statistic of the
	// series, in its order; NaN where CloudWatch has no datapoint. Nil when
	// there is not one datapoint.
	Columns [][]float64
	Failure *Failure
}

// Failure says why something could not be harvested, in words for people.
type Failure struct {
	Class   string `json:"class"` // refused, poison, retention_passed, ...
	Message string `json:"message"`
}

// Discovery is one page of a target's enumeration.
type Discovery struct {
	Target    Target
	Instances []Instance
	Complete  bool // the last page: the target is now enumerated
}

// Resolution replaces a target whose region is a pattern by the regions that it
// stands for. Those that the job has already stay as they are.
type Resolution struct {
	Target  Target
	Regions []string
}

// Denial records that a target refuses: what is pending in it counts as
// denied, what was never enumerated as unknown.
type Denial struct {
	Target    Target
	Failure   Failure
	Tolerated bool // it does not make the job one with failures
}

// Replan replaces a window by one that CloudWatch can still answer.
type Replan struct {
	Window Window    `json:"window"` // as it was, in every series that has it
	Now    Window    `json:"now"`    // Gone when nothing is left
	At     time.Time `json:"at"`
}

// Counters are what a job has spent, over all its attempts.
type Counters struct {
	RequestsSent     int64   `json:"requests_sent"`
	RequestsRepeated int64   `json:"requests_repeated"`
	Throttled        int64   `json:"throttled"`
	SessionsAssumed  int64   `json:"sessions_assumed"`
	RefusedExpired   int64   `json:"refused_expired"`
	SessionWaits     int64   `json:"session_waits"`     // calls that waited for a refresh after the first
	FallbackSwitches int64   `json:"fallback_switches"` // between credentials and their fallbacks
	CostUSD          float64 `json:"cost_usd"`          // five statistics of a metric billed once
	CostWorstUSD     float64 `json:"cost_worst_usd"`    // every statistic billed
}

// Batch is what one group commit makes durable, in this order.
type Batch struct {
	Resolved   []Resolution
	Discovered []Discovery
	Results    []Result
	Denied     []Denial
	Counters   Counters // added to the job's
}

// Pending is an instance with series-windows that are neither done nor failed.
type Pending struct {
	Instance Instance
	Missing  []SeriesWindow // ascending
}

// SeriesWindow names one series-window of an instance.
type SeriesWindow struct {
	Series int // index into Spec.Series
	Window int // index into Series.Windows
}
