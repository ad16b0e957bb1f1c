// Package config says what is to be harvested: it reads harvest.yaml strictly,
// refuses whatever cannot be meant before anything is done, tells which range
// is due, and freezes the plan of a job. It has no clock: time is a value.
package config

import (
	"slices"
	"time"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store"
	"cwharvest/store/record"
)

// Config is a specification: what harvest.yaml and flags can say. Fill it from
// Default, then Parse or flags, then call Validate.
type Config struct {
	Job         string // a name, for people
	Dir         string // the harvest directory
	Out         string // of the parts: a directory or s3://bucket/prefix; empty: data/ in Dir
	S3          S3     // how to reach it there
	Format      string // parquet, csv or jsonl
	Compression string // of text formats: none, gzip, zstd
	Range       Range
	Night       time.Time     // UTC day that is due instead of the range; zero: none
	Shard       record.Shard  // of the targets; Dir is its own
	Settle      time.Duration // nothing younger is asked for
	Period      time.Duration
	Defaults    Account   // for every account, field by field
	Accounts    []Account // none: the caller's own identity
	Instances   Instances
	Metrics     []Metric

	Concurrency int     // requests in flight per target
	MaxInFlight int     // over all targets
	QuotaShare  float64 // of CloudWatch's default quotas, above 0; more than 1 where AWS has raised them
	PartSize    int64   // bytes
	SpoolLimit  int64   // bytes fetched and not yet published; more waits

	API          API           // that datapoints are asked of
	Protocol     string        // CloudWatch's on the wire: cbor, json or query; no part of the plan
	StrictPeriod bool          // rather nothing than a coarser period
	MaxCost      float64       // USD at worst, over all attempts of a job; 0: no limit
	MaxDuration  time.Duration // of one run; 0: no limit
	GiveUpAfter  time.Duration // of a target's outage; 0: never
	Tolerate     []Toleration
	Prices       cloudwatch.Prices
	OnFinish     []Hook // who is told when a run has worked; no part of the plan

	AllowUnknownMetric bool
	InsecureEndpoint   bool // plain http may go to other machines; no part of the plan

	// where tells the position of a setting in the file, for errors.
	position  func(path string) string
	line      func(path string) string // NAME:LINE of a setting that the file gives, else ""
	overrides map[string]string        // by path: the flag or variable that overrides it
}

// RangeKind says how the range of a job is chosen.
type RangeKind string

const (
	Yesterday RangeKind = "yesterday"  // the last complete UTC day, once settled
	SinceLast RangeKind = "since_last" // from the end of the last finished job
	Last      RangeKind = "last"       // the last so many hours
	Fixed     RangeKind = "fixed"      // from and to
)

// Range chooses the time range of a job.
type Range struct {
	Kind     RangeKind     `json:"kind"`
	Last     time.Duration `json:"last,omitempty"`
	From, To time.Time     `json:",omitzero"`
}

func (r Range) String() string {
	switch r.Kind {
	case Last:
		return "last " + formatDuration(r.Last)
	case Fixed:
		return r.From.UTC().Format(time.RFC3339) + " to " + r.To.UTC().Format(time.RFC3339)
	}
	return string(r.Kind)
}

// Account is one account, through one role or profile.
type Account struct {
	ID              string
	Profile         string
	RoleARN         string
	RoleName        string // makes RoleARN with ID
	ExternalID      string
	SessionDuration time.Duration // Auto: as long as the job, up to 12h
	Regions         []string      // with patterns: those of the account's enabled regions

	// One of these stands for many accounts, which inherit the rest.
	Organization *Organization
	File         string // see ReadAccounts

	position string // in a file of accounts

	Via       Via        // a role to assume first
	Fallbacks []Fallback // in order, while the account's own credentials cannot be had
}

// Organization lists the active accounts of an AWS organization.
type Organization struct {
	Profile string   // of the management account or a delegated administrator
	OUs     []string // only accounts below them; none: all
	Exclude []string // accounts
}

// Toleration is a target that may be denied without making a night incomplete.
type Toleration struct {
	Account string
	Region  string // empty: all
	Until   time.Time
}

// API is an operation of CloudWatch.
type API string

const (
	MetricData       API = "data"       // GetMetricData: many series a call
	MetricStatistics API = "statistics" // GetMetricStatistics: one series a call, 1,440 datapoints
)

// Auto is the session duration that follows from the length of the job.
const Auto time.Duration = -1

// Via is a role that is assumed first and may assume the account's role.
type Via struct{ RoleARN, ExternalID string }

// S3 says who writes the output to S3; empty: the caller.
type S3 struct{ Profile, RoleARN, ExternalID, Region string }

// Fallback is another way into an account: a profile or the instance's role,
// or a role assumed from it; a role alone is assumed as the account's is.
type Fallback struct {
	Profile      string
	InstanceRole bool
	RoleARN      string
	RoleName     string // makes RoleARN with the account's id
	ExternalID   string
}

// Instances says where instances come from.
type Instances struct {
	Sources    []string // ec2, cloudwatch, file; none: what each metric needs
	File       string   // see ReadInstances
	Tags       map[string]string
	States     []string
	Monitoring string // enabled, disabled or empty
}

// Metric asks statistics of some metrics of a namespace.
type Metric struct {
	Namespace  string
	Names      []string
	Statistics []string
	Dimensions []string // names; none: InstanceId for AWS/EC2
}

// DimensionNames returns the names of the metric's dimensions, sorted; none when there is
// nothing to go by.
func (m *Metric) DimensionNames() []string {
	if len(m.Dimensions) == 0 && m.Namespace == "AWS/EC2" {
		return []string{"InstanceId"}
	}
	return slices.Sorted(slices.Values(m.Dimensions))
}

// byInstance reports whether EC2 instances have the metric.
func (m *Metric) byInstance() bool {
	names := m.DimensionNames()
	return len(names) == 1 && names[0] == "InstanceId"
}

// Uses reports whether a source is asked for the instances of a metric.
func (c *Config) Uses(source string, m *Metric) bool {
	switch {
	case source == "ec2" && !m.byInstance():
		return false
	case c.Instances.Sources != nil:
		return slices.Contains(c.Instances.Sources, source)
	case m.byInstance():
		return source == "ec2"
	}
	return source == "cloudwatch"
}

// Default returns the specification before file and flags.
func Default() Config {
	return Config{
		Job: "harvest", Dir: "./harvest", Format: "parquet",
		Range: Range{Kind: Yesterday}, Settle: 30 * time.Minute, Period: 5 * time.Minute,
		Defaults: Account{SessionDuration: time.Hour},
		Metrics: []Metric{{
			Namespace: "AWS/EC2",
			Names: []string{"CPUUtilization", "NetworkIn", "NetworkOut", "EBSReadOps", "EBSWriteOps",
				"EBSReadBytes", "EBSWriteBytes", "CPUCreditBalance"},
			Statistics: []string{"Average", "Maximum"},
		}},
		Concurrency: 8, MaxInFlight: 64, QuotaShare: 1, PartSize: 128 << 20, SpoolLimit: store.SpoolLimit,
		API: MetricData, Protocol: "cbor", Prices: cloudwatch.DefaultPrices(),
	}
}
