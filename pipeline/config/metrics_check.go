package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store/encode"
)

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

func (c *Config) checkMetrics() (errs error) {
	if len(c.Metrics) == 0 {
		return c.errorAt("$.metrics", "no metrics: name at least one, or leave metrics out for the default set")
	}
	seen := map[string]bool{}
	for i := range c.Metrics {
		m, path := &c.Metrics[i], fmt.Sprintf("$.metrics[%d]", i)
		if !namespaceForm.MatchString(m.Namespace) {
			errs = errors.Join(errs, c.errorAt(path+".namespace", "namespace %q is not possible: such as AWS/EC2", m.Namespace))
		}
		if len(m.Names) == 0 {
			errs = errors.Join(errs, c.errorAt(path, "no metric names for %s: name some, such as CPUUtilization", m.Namespace))
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
				return c.errorAt(fmt.Sprintf("$.metrics[%d].statistics[%d]", i, j), "statistics %s and %s have the same column, %s: ask for one of them", other, name, column)
			}
			columns[column] = name
		}
	}
	return nil
}

// usualDimensions is what metrics of a namespace are mostly asked by (CloudWatch
// user guide, services that publish metrics), for hints.
var commonDimensions = map[string]string{
	"AWS/RDS": "DBInstanceIdentifier", "AWS/Lambda": "FunctionName", "AWS/EBS": "VolumeId", "AWS/ELB": "LoadBalancerName",
	"AWS/ApplicationELB": "LoadBalancer", "AWS/NetworkELB": "LoadBalancer", "AWS/DynamoDB": "TableName", "AWS/SQS": "QueueName",
	"AWS/NATGateway": "NatGatewayId", "AWS/ElastiCache": "CacheClusterId", "AWS/Kinesis": "StreamName",
}

// checkDimensions checks by what a metric is asked, and that a source finds it.
func (c *Config) checkDimensions(m *Metric, path string) error {
	names := m.DimensionNames()
	at := path + ".dimensions"
	for i, name := range names {
		if name == "" || len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) || name[0] == ':' {
			return c.errorAt(at, "dimension name %q is not possible", name)
		}
		if i > 0 && names[i-1] == name {
			return c.errorAt(at, "dimension %s is named twice", name)
		}
	}
	switch {
	case len(names) == 0:
		unchanged := cmp.Or(commonDimensions[m.Namespace], "InstanceId")
		return c.errorAt(path, "metrics of %s need the names of their dimensions, such as dimensions: [%s]", m.Namespace, unchanged)
	case len(names) > 30:
		return c.errorAt(at, "a metric has at most 30 dimensions")
	case !m.byInstance() && len(c.Instances.Sources) > 0 && !slices.ContainsFunc(c.Instances.Sources, func(source string) bool { return source != "ec2" }):
		return c.errorAt(at, "source ec2 finds EC2 instances only: add cloudwatch to instances.sources for metrics by %s", strings.Join(names, ","))
	}
	return nil
}

func (c *Config) checkName(m *Metric, name, path string, seen map[string]bool) error {
	namespace := m.Namespace
	key := namespace + "/" + name + " by " + strings.Join(m.DimensionNames(), ",")
	switch {
	case name == "" || len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }):
		return c.errorAt(path, "metric name %q is not possible", name)
	case seen[key]:
		return c.errorAt(path, "metric %s of %s is named twice", name, namespace)
	case namespace == "AWS/EC2" && m.byInstance() && !c.AllowUnknownMetric && !slices.Contains(ec2Metrics, name):
		return c.errorAt(path, "AWS/EC2 has no metric %q%s; --allow-unknown-metric asks for it all the same", name, didYouMean(name, ec2Metrics))
	}
	seen[key] = true
	return nil
}

func (c *Config) checkStatistics(statistics []string, path string) (errs error) {
	if len(statistics) == 0 {
		return c.errorAt(path, "no statistics: such as [Average, Maximum]")
	}
	for i, name := range statistics {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case !cloudwatch.IsStatistic(name):
			errs = errors.Join(errs, c.errorAt(at, "unknown statistic %q%s; use %s, or p99, tm90, TM(10%%:90%%), IQM and the like",
				name, didYouMean(name, slices.Concat(cloudwatch.BasicStatistics, cloudwatch.CommonExtended)), strings.Join(cloudwatch.BasicStatistics, ", ")))
		case slices.Index(statistics, name) < i:
			errs = errors.Join(errs, c.errorAt(at, "statistic %s is named twice", name))
		}
	}
	return errs
}
