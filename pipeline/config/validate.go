package config

import (
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
	namespaceForm  = regexp.MustCompile(`^[\w./#:-]{1,255}$`)
)

// Validate checks every setting. It returns all mistakes, joined, one *Error each.
func (c *Config) Validate() error {
	return errors.Join(c.checkOutput(), c.checkTimes(), c.checkMetrics(), c.checkInstances(), c.checkLimits(), c.checkAccounts(), c.checkOnFinish())
}

func (c *Config) checkOutput() (errs error) {
	add := func(err error) { errs = errors.Join(errs, err) }
	if c.Dir == "" {
		add(c.errorAt("$.dir", "dir is empty").withHint("name the harvest directory"))
	}
	if _, _, isS3, err := place.ParseS3(c.Out); err != nil {
		add(c.wrapAt("$.out", err))
	} else if !isS3 && strings.Contains(c.Out, ":/") {
		add(c.errorAt("$.out", "out %q is not a supported location", c.Out).withHint("write a directory or s3://bucket/prefix"))
	}
	if c.S3.RoleARN != "" && roleForm.FindStringSubmatch(c.S3.RoleARN) == nil {
		add(c.errorAt("$.s3.role_arn", "role_arn %q is malformed", c.S3.RoleARN).withHint(roleHint))
	}
	if isBadExternalID(c.S3.ExternalID) {
		add(c.errorAt("$.s3.external_id", "external_id is not valid").withHint(externalIDHint))
	}
	if err := (encode.Format{Name: c.Format, Compression: c.Compression}).Validate(); err != nil {
		add(c.wrapAt("$.format", err))
	}
	if c.PartSize < 1<<16 {
		add(c.errorAt("$.part_size", "part_size %d is too small", c.PartSize).withHint("write at least 64KiB"))
	}
	if c.SpoolLimit < 2*c.PartSize {
		add(c.errorAt("$.spool_limit", "spool_limit %d is too small, because one part is built while the next one is fetched", c.SpoolLimit).
			withHint("write at least twice part_size, %s", formatSize(2*c.PartSize)))
	}
	return errs
}

func (c *Config) checkTimes() (errs error) {
	add := func(err error) { errs = errors.Join(errs, err) }
	period := int64(c.Period / time.Second)
	high := slices.Contains([]int64{1, 5, 10, 20, 30}, period)
	if c.Period%time.Second != 0 || period > 86400 || period < 1 || period%60 != 0 && !high {
		add(c.errorAt("$.period", "period %s is not valid", formatDuration(c.Period)).
			withHint("use a multiple of 60 seconds up to one day, or 1, 5, 10, 20 or 30 seconds"))
	}
	if c.Settle < 0 || c.Settle > 14*24*time.Hour {
		add(c.errorAt("$.settle", "settle %s is out of range", formatDuration(c.Settle)).withHint("write 0 to 14d"))
	}
	switch r := c.Range; r.Kind {
	case Fixed:
		if !r.From.Before(r.To) {
			add(c.errorAt("$.range", "the range ends (%s) before it begins (%s)",
				r.To.Format(time.RFC3339), r.From.Format(time.RFC3339)).withHint("swap from and to"))
		}
	case Last:
		if r.Last < c.Period {
			add(c.errorAt("$.range", "last %s is shorter than one period (%s)", formatDuration(r.Last), formatDuration(c.Period)).
				withHint("write 24h or 7d"))
		}
	}
	return errs
}

// instanceStates are the states of EC2 instances (EC2 API Reference, InstanceState).
var instanceStates = []string{"pending", "running", "shutting-down", "terminated", "stopping", "stopped"}

func (c *Config) checkInstances() (errs error) {
	if c.Instances.Sources != nil && len(c.Instances.Sources) == 0 {
		return c.errorAt("$.instances.sources", "sources is empty").withHint("use ec2, cloudwatch or file")
	}
	for i, state := range c.Instances.States {
		if !slices.Contains(instanceStates, state) {
			errs = errors.Join(errs, c.errorAt(fmt.Sprintf("$.instances.states[%d]", i), "unknown state %q%s",
				state, didYouMean(state, instanceStates)).withHint("use %s", strings.Join(instanceStates, ", ")))
		}
	}
	if m := c.Instances.Monitoring; m != "" && m != "enabled" && m != "disabled" {
		errs = errors.Join(errs, c.errorAt("$.instances.monitoring", "unknown monitoring %q", m).
			withHint("use enabled (detailed, 1 min) or disabled (basic, 5 min)"))
	}
	for i, source := range c.Instances.Sources {
		at := fmt.Sprintf("$.instances.sources[%d]", i)
		switch source {
		case "ec2", "cloudwatch":
		case "file":
			if c.Instances.File == "" {
				errs = errors.Join(errs, c.errorAt(at, "source file needs a file of instances").withHint("set instances.file"))
			}
		default:
			errs = errors.Join(errs, c.errorAt(at, "unknown source %q", source).withHint("use ec2, cloudwatch or file"))
		}
	}
	return errs
}

// maxQuotaShare bounds quota_share. Values above 1 are for accounts with raised
// quotas and for emulators, which have none.
const maxQuotaShare = 1000

// protocols are the wire protocols that CloudWatch's service model lists.
var protocols = []string{"cbor", "json", "query"}

func (c *Config) checkLimits() (errs error) {
	for _, limit := range []struct {
		name  string
		value int
	}{{"concurrency", c.Concurrency}, {"max_in_flight", c.MaxInFlight}} {
		if limit.value < 1 || limit.value > 1024 {
			errs = errors.Join(errs, c.errorAt("$."+limit.name, "%s %d is out of range", limit.name, limit.value).withHint("write 1 to 1024"))
		}
	}
	if c.API != MetricData && c.API != MetricStatistics {
		errs = errors.Join(errs, c.errorAt("$.api", "unknown api %q", c.API).
			withHint("use data (GetMetricData) or statistics (GetMetricStatistics)"))
	}
	if !slices.Contains(protocols, c.Protocol) {
		errs = errors.Join(errs, c.errorAt("$.protocol", "unknown protocol %q%s", c.Protocol, didYouMean(c.Protocol, protocols)).
			withHint("use %s", strings.Join(protocols, ", ")))
	}
	if c.MaxCost < 0 {
		errs = errors.Join(errs, c.errorAt("$.max_cost", "max_cost %g is negative", c.MaxCost).withHint("write USD, such as 25, or leave it out"))
	}
	if p := c.Prices; min(p.GetMetricData, p.GetMetricStatistics, p.ListMetrics) < 0 {
		errs = errors.Join(errs, c.errorAt("$.prices", "a price is negative").withHint("write USD per 1,000 metrics or calls"))
	}
	if c.QuotaShare <= 0 || c.QuotaShare > maxQuotaShare {
		errs = errors.Join(errs, c.errorAt("$.quota_share", "quota_share %g is out of range", c.QuotaShare).withHint("write more than 0 and at most %d", maxQuotaShare))
	}
	return errs
}
