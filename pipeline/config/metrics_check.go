package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store/encode"
)

// ec2Metrics are the metrics of AWS/EC2 (Amazon EC2 User Guide, "CloudWatch metrics
// that are available for your instances").
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
		return c.errorAt("$.metrics", "metrics is empty").withHint("name at least one, or leave metrics out for the default set")
	}
	seen := map[string]bool{}
	for i := range c.Metrics {
		m, path := &c.Metrics[i], fmt.Sprintf("$.metrics[%d]", i)
		if !namespaceForm.MatchString(m.Namespace) || len(m.Namespace) > 255 {
			errs = errors.Join(errs, c.errorAt(path+".namespace", "namespace %q is not valid", m.Namespace).withHint("write a namespace such as AWS/EC2"))
		}
		if len(m.Names) == 0 {
			errs = errors.Join(errs, c.errorAt(path, "%s has no metric names", m.Namespace).withHint("add names, such as CPUUtilization"))
		}
		for j, name := range m.Names {
			errs = errors.Join(errs, c.checkName(m, name, fmt.Sprintf("%s.names[%d]", path, j), seen))
		}
		errs = errors.Join(errs, c.checkDimensions(m, path))
		if m.Unit != "" && !slices.Contains(cloudwatch.Units, m.Unit) {
			errs = errors.Join(errs, c.errorAt(path+".unit", "unknown unit %q%s", m.Unit, didYouMean(m.Unit, cloudwatch.Units)).
				withHint("use a unit of CloudWatch, such as Seconds, Percent or Bytes/Second"))
		}
		errs = errors.Join(errs, c.checkStatistics(m.Statistics, path+".statistics"))
	}
	return errors.Join(errs, c.checkColumns())
}

// checkColumns reports two statistics that would share an output column, such as
// TM(:90) and TM(:90%).
func (c *Config) checkColumns() error {
	columns := map[string]string{}
	for i := range c.Metrics {
		for j, name := range c.Metrics[i].Statistics {
			column := encode.Column(name)
			if other := columns[column]; other != "" && other != name {
				return c.errorAt(fmt.Sprintf("$.metrics[%d].statistics[%d]", i, j), "statistics %s and %s have the same column %s", other, name, column).
					withHint("choose one of them")
			}
			columns[column] = name
		}
	}
	return nil
}

// commonDimensions are the most common dimensions of namespaces, for hints
// (CloudWatch User Guide, "AWS services that publish CloudWatch metrics").
var commonDimensions = map[string]string{
	"AWS/RDS": "DBInstanceIdentifier", "AWS/Lambda": "FunctionName", "AWS/EBS": "VolumeId", "AWS/ELB": "LoadBalancerName",
	"AWS/ApplicationELB": "LoadBalancer", "AWS/NetworkELB": "LoadBalancer", "AWS/DynamoDB": "TableName", "AWS/SQS": "QueueName",
	"AWS/NATGateway": "NatGatewayId", "AWS/ElastiCache": "CacheClusterId", "AWS/Kinesis": "StreamName",
}

// checkDimensions checks the dimension names of a metric, and that a source can
// list instances with these dimensions.
func (c *Config) checkDimensions(m *Metric, path string) error {
	names := m.DimensionNames()
	at := path + ".dimensions"
	for i, name := range names {
		if name == "" || len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) || name[0] == ':' {
			return c.errorAt(at, "dimension name %q is not valid", name).withHint("write a name such as InstanceId")
		}
		if i > 0 && names[i-1] == name {
			return c.errorAt(at, "dimension %s is listed twice", name).withHint("remove one")
		}
	}
	near := nearNamespace(m.Namespace)
	switch {
	case m.isTotal():
	case len(names) == 0 && near != "":
		return c.errorAt(path, "metrics of %s need the names of their dimensions", m.Namespace).
			withHint("correct the namespace if it is %s, or add them, such as dimensions: [InstanceId]", near)
	case len(names) == 0:
		return c.errorAt(path, "metrics of %s need the names of their dimensions", m.Namespace).
			withHint("add them, such as dimensions: [%s], or dimensions: [] if there are none", cmp.Or(commonDimensions[m.Namespace], "InstanceId"))
	case len(names) > 30:
		return c.errorAt(at, "%d dimensions are too many", len(names)).withHint("write at most 30")
	case !m.byInstance() && len(c.Instances.Sources) > 0 && !slices.ContainsFunc(c.Instances.Sources, func(source string) bool { return source != "ec2" }):
		return c.errorAt(at, "source ec2 finds only EC2 instances, not metrics by %s", strings.Join(names, ",")).
			withHint("add cloudwatch to instances.sources")
	}
	return nil
}

// nearNamespace returns the common namespace of AWS that another one spells
// differently, such as AWS/EC2 for AWS-EC2, EC2 or aws/ec2, or "".
func nearNamespace(namespace string) string {
	letters := func(s string) string {
		s = strings.ToLower(strings.Map(func(r rune) rune {
			if strings.ContainsRune("/-_.: ", r) {
				return -1
			}
			return r
		}, s))
		return strings.TrimPrefix(s, "aws")
	}
	for _, known := range append(slices.Sorted(maps.Keys(commonDimensions)), "AWS/EC2") {
		if known != namespace && letters(known) == letters(namespace) {
			return known
		}
	}
	return ""
}

func (c *Config) checkName(m *Metric, name, path string, seen map[string]bool) error {
	namespace := m.Namespace
	key := namespace + "/" + name + " by " + strings.Join(m.DimensionNames(), ",")
	switch {
	case name == "" || len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }):
		return c.errorAt(path, "metric name %q is not valid", name).withHint("write a name such as CPUUtilization")
	case seen[key]:
		return c.errorAt(path, "metric %s of %s is listed twice", name, namespace).withHint("remove one")
	case namespace == "AWS/EC2" && m.byInstance() && !c.AllowUnknownMetric && !slices.Contains(ec2Metrics, name):
		return c.errorAt(path, "AWS/EC2 has no metric %q%s", name, didYouMean(name, ec2Metrics)).
			withHint("correct the name, or set allow_unknown_metric to request it anyway")
	}
	seen[key] = true
	return nil
}

func (c *Config) checkStatistics(statistics []string, path string) (errs error) {
	if len(statistics) == 0 {
		return c.errorAt(path, "statistics is empty").withHint("add some, such as [Average, Maximum]")
	}
	for i, name := range statistics {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case !cloudwatch.IsStatistic(name) && strings.Contains(name, "("):
			errs = errors.Join(errs, c.errorAt(at, "CloudWatch has no statistic %q", name).
				withHint("write two bounds of TM, WM, TC or TS such as TM(10%%:90%%) or TM(150:1000), and values for PR, the lower bound first"))
		case !cloudwatch.IsStatistic(name):
			errs = errors.Join(errs, c.errorAt(at, "unknown statistic %q%s", name, didYouMean(name, slices.Concat(cloudwatch.BasicStatistics, cloudwatch.CommonExtended))).
				withHint("use %s, or an extended statistic such as p99, tm90, TM(10%%:90%%) or IQM", strings.Join(cloudwatch.BasicStatistics, ", ")))
		case slices.Index(statistics, name) < i:
			errs = errors.Join(errs, c.errorAt(at, "statistic %s is listed twice", name).withHint("remove one"))
		}
	}
	return errs
}
