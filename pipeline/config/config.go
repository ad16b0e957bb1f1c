package config

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store/record"
)

// Config holds the settings of a harvest. Start with Default, apply a file and
// flags, and then call Validate.
type Config struct {
	Job         string // name shown to people
	Dir         string // harvest directory
	Out         string // directory or s3://bucket/prefix of the output; empty: data/ in Dir
	S3          S3     // credentials and region for an S3 output
	Format      string // parquet, csv or jsonl
	Compression string // of csv and jsonl: none, gzip or zstd
	Range       Range
	Night       time.Time     // a UTC day to harvest instead of Range; zero: use Range
	Shard       record.Shard  // the part of the targets to harvest; each shard has its own Dir
	Settle      time.Duration // minimum age of requested data
	Period      time.Duration
	Defaults    Account   // defaults of every account, field by field
	Accounts    []Account // empty: the caller's own account
	Instances   Instances
	Metrics     []Metric

	Concurrency int     // requests in flight per target
	MaxInFlight int     // requests in flight over all targets
	QuotaShare  float64 // share of CloudWatch's default quotas to use; above 1 if AWS has raised them
	PartSize    int64   // bytes of packed data per output file
	SpoolLimit  int64   // bytes fetched but not yet published; fetching waits at this limit

	API          API           // operation that returns the datapoints
	Protocol     string        // wire protocol: cbor, json or query; not part of the plan
	StrictPeriod bool          // refuse coarser data where CloudWatch no longer keeps Period
	MaxCost      float64       // USD, worst case, over all runs of a job; 0: no limit
	MaxDuration  time.Duration // of one run; 0: no limit
	GiveUpAfter  time.Duration // deny a target whose outage lasts this long; 0: never
	Tolerate     []Toleration
	Prices       cloudwatch.Prices
	OnFinish     []Hook // notifications at the end of a run; not part of the plan

	AllowUnknownMetric bool // request AWS/EC2 metrics that Validate does not know
	InsecureEndpoint   bool // allow plain http to other machines; not part of the plan

	position  func(path string) string // NAME:LINE:COLUMN of a setting, for errors
	line      func(path string) string // NAME:LINE of a setting that the file contains, else ""
	overrides map[string]string        // the flag or variable that overrides a setting, by path
}

// RangeKind is the way in which the time range of a job is chosen.
type RangeKind string

const (
	Yesterday RangeKind = "yesterday"  // the last complete UTC day that is older than Settle
	SinceLast RangeKind = "since_last" // everything since the end of the latest finished job
	Last      RangeKind = "last"       // a duration up to now, such as 24h
	Fixed     RangeKind = "fixed"      // from one time to another
)

// Range is the time range of a job.
type Range struct {
	Kind     RangeKind     `json:"kind"`
	Last     time.Duration `json:"last,omitempty"` // of kind Last
	From, To time.Time     `json:",omitzero"`      // of kind Fixed; To is exclusive
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

// Account is an account and the role or profile that leads to it. With
// Organization or File set, it is a group: a template that many accounts inherit.
type Account struct {
	ID              string
	Profile         string
	RoleARN         string
	RoleName        string // short form of RoleARN, combined with ID
	ExternalID      string
	RoleSessionName string        // empty: AWS_ROLE_SESSION_NAME, else cwharvest
	SessionDuration time.Duration // Auto: chosen by the length of the job, up to 12h
	Regions         []string      // names and patterns; patterns match the account's enabled regions

	Organization *Organization // the members of an organization
	File         string        // the accounts of a file; see ReadAccounts

	position string // NAME:LINE in a file of accounts

	Via       Via        // intermediate role, assumed first
	Fallbacks []Fallback // tried in order while the account's own credentials are unavailable
}

// documentAccount is an Account as written: an item of accounts, or the mapping
// defaults. A text of the same name in both needs no other code to be read, inherited,
// printed, and given in a file of accounts.
type documentAccount struct {
	ID              string                `yaml:"id"`
	Profile         string                `yaml:"profile"`
	RoleARN         string                `yaml:"role_arn"`
	RoleName        string                `yaml:"role_name"`
	ExternalID      string                `yaml:"external_id"`
	RoleSessionName string                `yaml:"role_session_name"`
	SessionDuration *string               `yaml:"session_duration"`
	Regions         any                   `yaml:"regions"` // a list, or enabled
	File            string                `yaml:"file"`
	Organization    *documentOrganization `yaml:"organization"`

	Via       *documentVia       `yaml:"via"`
	Fallbacks []documentFallback `yaml:"fallbacks"`
}

type documentOrganization struct {
	Profile string   `yaml:"profile"`
	OUs     []string `yaml:"ous"`
	Exclude []string `yaml:"exclude"`
}

type documentVia struct {
	RoleARN    string `yaml:"role_arn"`
	ExternalID string `yaml:"external_id"`
}

type documentFallback struct {
	Profile      string `yaml:"profile"`
	InstanceRole bool   `yaml:"instance_role"`
	RoleARN      string `yaml:"role_arn"`
	RoleName     string `yaml:"role_name"`
	ExternalID   string `yaml:"external_id"`
}

// texts returns the texts of the account by their keys.
func (a *Account) texts() map[string]*string { return textsOf(reflect.ValueOf(a).Elem()) }

func (d *documentAccount) texts() map[string]*string { return textsOf(reflect.ValueOf(d).Elem()) }

// textsOf returns the fields of a structure that are texts of a documentAccount.
func textsOf(structure reflect.Value) map[string]*string {
	all := map[string]*string{}
	for field := range reflect.TypeFor[documentAccount]().Fields() {
		if field.Type.Kind() == reflect.String {
			all[field.Tag.Get("yaml")] = structure.FieldByName(field.Name).Addr().Interface().(*string)
		}
	}
	return all
}

func setTexts(to, from map[string]*string) {
	for key, text := range from {
		*to[key] = *text
	}
}

// Organization selects the active accounts of an AWS organization.
type Organization struct {
	Profile string   // of the management account or a delegated administrator
	OUs     []string // organizational units or roots to search; empty: all accounts
	Exclude []string // account ids to leave out
}

// Toleration is a target that may be denied while the job still counts as
// complete.
type Toleration struct {
	Account string
	Region  string // empty: every region
	Until   time.Time
}

// API is the CloudWatch operation that returns datapoints.
type API string

const (
	MetricData       API = "data"       // GetMetricData: many series per call
	MetricStatistics API = "statistics" // GetMetricStatistics: one series per call, 1,440 datapoints
)

// Auto is the session duration "auto": chosen by the length of the job.
const Auto time.Duration = -1

// Via is an intermediate role that is allowed to assume the account's role.
type Via struct{ RoleARN, ExternalID string }

// S3 holds the credentials that write an S3 output and the bucket's region. The
// zero value uses the caller's credentials.
type S3 struct{ Profile, RoleARN, ExternalID, Region string }

// Fallback is an alternative source of credentials for an account: a profile or
// the instance's role, and optionally a role to assume from it. A role without
// either is assumed by the principal that assumes the account's role.
type Fallback struct {
	Profile      string
	InstanceRole bool
	RoleARN      string
	RoleName     string // short form of RoleARN, combined with the account's id
	ExternalID   string
}

// Instances selects the instances to harvest.
type Instances struct {
	Sources    []string          // ec2, cloudwatch, file; empty: chosen per metric by Uses
	File       string            // see ReadInstances
	Tags       map[string]string // tags that an EC2 instance must have
	States     []string          // EC2 instance states; empty: all
	Monitoring string            // EC2 monitoring: enabled, disabled, or empty for both
}

// Metric is a group of metrics in one namespace that share statistics and
// dimensions.
type Metric struct {
	Namespace  string
	Names      []string
	Statistics []string
	Dimensions []string // names; nil: InstanceId for AWS/EC2; empty: none
	Unit       string   // of the datapoints; empty: whichever they have
}

// isTotal reports whether the metric has no dimensions.
func (m *Metric) isTotal() bool { return m.Dimensions != nil && len(m.Dimensions) == 0 }

// DimensionNames returns the names of the metric's dimensions, sorted. It
// returns none if the metric has none, or no default.
func (m *Metric) DimensionNames() []string {
	if m.Dimensions == nil && m.Namespace == "AWS/EC2" {
		return []string{"InstanceId"}
	}
	return slices.Sorted(slices.Values(m.Dimensions))
}

// byInstance reports whether InstanceId is the metric's only dimension.
func (m *Metric) byInstance() bool {
	names := m.DimensionNames()
	return len(names) == 1 && names[0] == "InstanceId"
}

// filters reports whether the configuration selects among EC2 instances.
func (in *Instances) filters() bool {
	return len(in.Tags) > 0 || len(in.States) > 0 || in.Monitoring != ""
}

// FiltersListed reports whether EC2 is asked about instances that CloudWatch has listed.
func (c *Config) FiltersListed() bool {
	return c.Instances.filters() && slices.ContainsFunc(c.Metrics, func(m Metric) bool {
		return c.Uses("cloudwatch", &m) && slices.Contains(m.DimensionNames(), "InstanceId")
	})
}

// Unfiltered returns the metrics, by namespace and dimensions, with instances to which
// the filters of EC2 instances do not apply: those of a file, and those that are not
// EC2's.
func (c *Config) Unfiltered() (all []string) {
	for i := range c.Metrics {
		m := &c.Metrics[i]
		applies := slices.Contains(m.DimensionNames(), "InstanceId") && !c.Uses("file", m)
		name := m.Namespace + " by " + strings.Join(m.DimensionNames(), ",")
		if m.isTotal() {
			name = m.Namespace + " without dimensions"
		}
		if c.Instances.filters() && !applies && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// Uses reports whether a metric's instances come from a source: ec2, cloudwatch
// or file. A metric without dimensions has one instance, which no source lists.
func (c *Config) Uses(source string, m *Metric) bool {
	switch {
	case source == "ec2" && !m.byInstance(), m.isTotal():
		return false
	case c.Instances.Sources != nil:
		return slices.Contains(c.Instances.Sources, source)
	case m.byInstance():
		return source == "ec2"
	}
	return source == "cloudwatch"
}
