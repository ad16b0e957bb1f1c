package config

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"cwharvest/store/encode"
	"cwharvest/store/place"
)

var (
	accountForm    = regexp.MustCompile(`^\d{12}$`)
	roleForm       = regexp.MustCompile(`^arn:(aws|aws-cn|aws-us-gov):iam::(\d{12}):role/[\w+=,.@/-]+$`)
	roleNameForm   = regexp.MustCompile(`^[\w+=,.@/-]{1,576}$`)
	regionForm     = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d{1,2}$`)
	patternForm    = regexp.MustCompile(`^[a-z0-9-]*[*?][a-z0-9*?-]*$`)
	parentForm     = regexp.MustCompile(`^(ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}|r-[0-9a-z]{4,32})$`)
	externalIDForm = regexp.MustCompile(`^[\w+=,.@:\\/-]+$`)
	percentForm    = regexp.MustCompile(`^(p|tm|wm|tc|ts)(\d{1,2}(\.\d{1,10})?|100)$`)
	boundsForm     = regexp.MustCompile(`^(TM|WM|TC|TS|PR)\((\d+(?:\.\d{1,10})?%?)?:(\d+(?:\.\d{1,10})?%?)?\)$`)
	namespaceForm  = regexp.MustCompile(`^[\w./#:-]{1,255}$`)
)

// basicStatistics are in column order.
var basicStatistics = []string{"Average", "Maximum", "Minimum", "Sum", "SampleCount"}

// extendedExamples are what a misspelt extended statistic is likely to mean.
var extendedExamples = []string{"p50", "p90", "p95", "p99", "p99.9", "tm90", "tm99", "wm90", "tc90", "ts90", "IQM"}

// ec2Metrics are the metrics of AWS/EC2 (EC2 user guide, viewing metrics with
// CloudWatch).
var ec2Metrics = []string{
	"CPUUtilization", "DiskReadOps", "DiskWriteOps", "DiskReadBytes", "DiskWriteBytes", "NetworkIn", "NetworkOut",
	"NetworkPacketsIn", "NetworkPacketsOut", "MetadataNoToken", "MetadataNoTokenRejected", "CPUCreditUsage",
	"CPUCreditBalance", "CPUSurplusCreditBalance", "CPUSurplusCreditsCharged", "EBSReadOps", "EBSWriteOps",
	"EBSReadBytes", "EBSWriteBytes", "EBSIOBalance%", "EBSByteBalance%", "StatusCheckFailed",
	"StatusCheckFailed_Instance", "StatusCheckFailed_System", "StatusCheckFailed_AttachedEBS",
	"InstanceEBSIOPSExceededCheck", "InstanceEBSThroughputExceededCheck", "DedicatedHostCPUUtilization",
}

// Validate refuses what cannot be meant, all of it at once, one line each.
func (c *Config) Validate() error {
	return errors.Join(c.checkPlace(), c.checkTimes(), c.checkMetrics(), c.checkInstances(), c.checkLimits(), c.checkAccounts(), c.checkOnFinish())
}

func (c *Config) checkPlace() (errs error) {
	add := func(err error) { errs = errors.Join(errs, err) }
	if c.Dir == "" {
		add(c.bad("$.dir", "dir is empty: name the harvest directory"))
	}
	if _, _, isS3, err := place.ParseS3(c.Out); err != nil {
		add(c.bad("$.out", "%v", err))
	} else if !isS3 && strings.Contains(c.Out, ":/") {
		add(c.bad("$.out", "out %q is no place: write a directory or s3://bucket/prefix", c.Out))
	}
	if c.S3.RoleARN != "" && roleForm.FindStringSubmatch(c.S3.RoleARN) == nil {
		add(c.bad("$.s3.role_arn", "role %q is not a role's ARN: such as arn:aws:iam::111122223333:role/writer", c.S3.RoleARN))
	}
	if badExternalID(c.S3.ExternalID) {
		add(c.bad("$.s3.external_id", "%s", externalIDRule))
	}
	if err := (encode.Format{Name: c.Format, Compression: c.Compression}).Validate(); err != nil {
		add(c.bad("$.format", "%v", err))
	}
	if c.PartSize < 1<<16 {
		add(c.bad("$.part_size", "part_size %d is too small: at least 64KiB", c.PartSize))
	}
	if c.SpoolLimit < 2*c.PartSize {
		add(c.bad("$.spool_limit", "spool_limit %d is too small: at least twice part_size (%d), since a part is built while the next one is fetched", c.SpoolLimit, c.PartSize))
	}
	return errs
}

func (c *Config) checkTimes() (errs error) {
	add := func(err error) { errs = errors.Join(errs, err) }
	period := int64(c.Period / time.Second)
	high := slices.Contains([]int64{1, 5, 10, 20, 30}, period)
	if c.Period%time.Second != 0 || period > 86400 || period < 1 || period%60 != 0 && !high {
		add(c.bad("$.period", "period %s is not possible: use a multiple of 60 seconds up to one day, or 1, 5, 10, 20 or 30 seconds", formatDuration(c.Period)))
	}
	if c.Settle < 0 || c.Settle > 14*24*time.Hour {
		add(c.bad("$.settle", "settle %s is out of range: 0 to 14d", formatDuration(c.Settle)))
	}
	switch r := c.Range; r.Kind {
	case Fixed:
		if !r.From.Before(r.To) {
			add(c.bad("$.range", "the range ends (%s) before it begins (%s): swap from and to",
				r.To.Format(time.RFC3339), r.From.Format(time.RFC3339)))
		}
	case Last:
		if r.Last < c.Period {
			add(c.bad("$.range", "last %s is shorter than one period (%s): write 24h or 7d", formatDuration(r.Last), formatDuration(c.Period)))
		}
	}
	return errs
}

func (c *Config) checkMetrics() (errs error) {
	if len(c.Metrics) == 0 {
		return c.bad("$.metrics", "no metrics: name at least one, or leave metrics out for the default set")
	}
	seen := map[string]bool{}
	for i := range c.Metrics {
		m, path := &c.Metrics[i], fmt.Sprintf("$.metrics[%d]", i)
		if !namespaceForm.MatchString(m.Namespace) {
			errs = errors.Join(errs, c.bad(path+".namespace", "namespace %q is not possible: such as AWS/EC2", m.Namespace))
		}
		if len(m.Names) == 0 {
			errs = errors.Join(errs, c.bad(path, "no metric names for %s: name some, such as CPUUtilization", m.Namespace))
		}
		for j, name := range m.Names {
			errs = errors.Join(errs, c.checkName(m, name, fmt.Sprintf("%s.names[%d]", path, j), seen))
		}
		errs = errors.Join(errs, c.checkDimensions(m, path))
		errs = errors.Join(errs, c.checkStatistics(m.Statistics, path+".statistics"))
	}
	return errors.Join(errs, c.checkColumns())
}

// checkColumns refuses statistics that differ and would share a column: it has
// no room for what tells TM(:90) from TM(:90%).
func (c *Config) checkColumns() error {
	columns := map[string]string{}
	for i := range c.Metrics {
		for j, name := range c.Metrics[i].Statistics {
			column := encode.Column(name)
			if other := columns[column]; other != "" && other != name {
				return c.bad(fmt.Sprintf("$.metrics[%d].statistics[%d]", i, j), "statistics %s and %s have the same column, %s: ask for one of them", other, name, column)
			}
			columns[column] = name
		}
	}
	return nil
}

// usualDimensions is what metrics of a namespace are mostly asked by (CloudWatch
// user guide, services that publish metrics), for hints.
var usualDimensions = map[string]string{
	"AWS/RDS": "DBInstanceIdentifier", "AWS/Lambda": "FunctionName", "AWS/EBS": "VolumeId", "AWS/ELB": "LoadBalancerName",
	"AWS/ApplicationELB": "LoadBalancer", "AWS/NetworkELB": "LoadBalancer", "AWS/DynamoDB": "TableName", "AWS/SQS": "QueueName",
	"AWS/NATGateway": "NatGatewayId", "AWS/ElastiCache": "CacheClusterId", "AWS/Kinesis": "StreamName",
}

// checkDimensions checks by what a metric is asked, and that a source finds it.
func (c *Config) checkDimensions(m *Metric, path string) error {
	names := m.By()
	at := path + ".dimensions"
	for i, name := range names {
		if name == "" || len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) || name[0] == ':' {
			return c.bad(at, "dimension name %q is not possible", name)
		}
		if i > 0 && names[i-1] == name {
			return c.bad(at, "dimension %s is named twice", name)
		}
	}
	switch {
	case len(names) == 0:
		usual := cmp.Or(usualDimensions[m.Namespace], "InstanceId")
		return c.bad(path, "metrics of %s need the names of their dimensions, such as dimensions: [%s]", m.Namespace, usual)
	case len(names) > 30:
		return c.bad(at, "a metric has at most 30 dimensions")
	case !m.byInstance() && len(c.Instances.Sources) > 0 && !slices.ContainsFunc(c.Instances.Sources, func(source string) bool { return source != "ec2" }):
		return c.bad(at, "source ec2 finds EC2 instances only: add cloudwatch to instances.sources for metrics by %s", strings.Join(names, ","))
	}
	return nil
}

func (c *Config) checkName(m *Metric, name, path string, seen map[string]bool) error {
	namespace := m.Namespace
	key := namespace + "/" + name + " by " + strings.Join(m.By(), ",")
	switch {
	case name == "" || len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }):
		return c.bad(path, "metric name %q is not possible", name)
	case seen[key]:
		return c.bad(path, "metric %s of %s is named twice", name, namespace)
	case namespace == "AWS/EC2" && m.byInstance() && !c.AllowUnknownMetric && !slices.Contains(ec2Metrics, name):
		return c.bad(path, "AWS/EC2 has no metric %q%s; --allow-unknown-metric asks for it all the same", name, didYouMean(name, ec2Metrics))
	}
	seen[key] = true
	return nil
}

func (c *Config) checkStatistics(statistics []string, path string) (errs error) {
	if len(statistics) == 0 {
		return c.bad(path, "no statistics: such as [Average, Maximum]")
	}
	for i, name := range statistics {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case !isStatistic(name):
			errs = errors.Join(errs, c.bad(at, "unknown statistic %q%s; use %s, or p99, tm90, TM(10%%:90%%), IQM and the like",
				name, didYouMean(name, slices.Concat(basicStatistics, extendedExamples)), strings.Join(basicStatistics, ", ")))
		case slices.Index(statistics, name) < i:
			errs = errors.Join(errs, c.bad(at, "statistic %s is named twice", name))
		}
	}
	return errs
}

// isStatistic knows the basic and the extended statistics. Bounds are both
// percentages or both values; of a percentile rank they are values (CloudWatch
// user guide, statistics definitions).
func isStatistic(name string) bool {
	if name == "IQM" || slices.Contains(basicStatistics, name) || percentForm.MatchString(name) {
		return true
	}
	m := boundsForm.FindStringSubmatch(name)
	if m == nil || m[2]+m[3] == "" {
		return false
	}
	percents := strings.Count(name, "%")
	return percents == 0 || m[1] != "PR" && (percents == 2 || m[2] == "" || m[3] == "")
}

// instanceStates are those of EC2 (API reference of InstanceState).
var instanceStates = []string{"pending", "running", "shutting-down", "terminated", "stopping", "stopped"}

func (c *Config) checkInstances() (errs error) {
	if c.Instances.Sources != nil && len(c.Instances.Sources) == 0 {
		return c.bad("$.instances.sources", "no sources: use ec2, cloudwatch or file")
	}
	for i, state := range c.Instances.States {
		if !slices.Contains(instanceStates, state) {
			errs = errors.Join(errs, c.bad(fmt.Sprintf("$.instances.states[%d]", i), "unknown state %q%s: use %s", state,
				didYouMean(state, instanceStates), strings.Join(instanceStates, ", ")))
		}
	}
	if m := c.Instances.Monitoring; m != "" && m != "enabled" && m != "disabled" {
		errs = errors.Join(errs, c.bad("$.instances.monitoring", "monitoring %q: use enabled (detailed, 1 min) or disabled (basic, 5 min)", m))
	}
	for i, source := range c.Instances.Sources {
		at := fmt.Sprintf("$.instances.sources[%d]", i)
		switch source {
		case "ec2", "cloudwatch":
		case "file":
			if c.Instances.File == "" {
				errs = errors.Join(errs, c.bad(at, "source file needs instances.file (or --instances-from)"))
			}
		default:
			errs = errors.Join(errs, c.bad(at, "unknown source %q: use ec2, cloudwatch or file", source))
		}
	}
	return errs
}

// mostQuotaShare bounds quota_share: more than 1 is for accounts whose quotas
// AWS has raised, and for emulators that have none.
const mostQuotaShare = 1000

// protocols are those of CloudWatch's service model.
var protocols = []string{"cbor", "json", "query"}

func (c *Config) checkLimits() (errs error) {
	for _, limit := range []struct {
		name  string
		value int
	}{{"concurrency", c.Concurrency}, {"max_in_flight", c.MaxInFlight}} {
		if limit.value < 1 || limit.value > 1024 {
			errs = errors.Join(errs, c.bad("$."+limit.name, "%s %d is out of range: 1 to 1024", limit.name, limit.value))
		}
	}
	if c.API != MetricData && c.API != MetricStatistics {
		errs = errors.Join(errs, c.bad("$.api", "unknown api %q: use data (GetMetricData) or statistics (GetMetricStatistics)", c.API))
	}
	if !slices.Contains(protocols, c.Protocol) {
		errs = errors.Join(errs, c.bad("$.protocol", "unknown protocol %q%s: use %s", c.Protocol, didYouMean(c.Protocol, protocols), strings.Join(protocols, ", ")))
	}
	if c.MaxCost < 0 {
		errs = errors.Join(errs, c.bad("$.max_cost", "max_cost %g is negative: write USD, such as 25, or leave it out", c.MaxCost))
	}
	if p := c.Prices; min(p.GetMetricData, p.GetMetricStatistics, p.ListMetrics) < 0 {
		errs = errors.Join(errs, c.bad("$.prices", "prices are in USD per 1,000 and not negative"))
	}
	if c.QuotaShare <= 0 || c.QuotaShare > mostQuotaShare {
		errs = errors.Join(errs, c.bad("$.quota_share", "quota_share %g is out of range: above 0, at most %d", c.QuotaShare, mostQuotaShare))
	}
	return errs
}
