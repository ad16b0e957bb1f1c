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

// Validate refuses what cannot be meant, all of it at once, one line each.
func (c *Config) Validate() error {
	return errors.Join(c.checkPlace(), c.checkTimes(), c.checkMetrics(), c.checkInstances(), c.checkLimits(), c.checkAccounts(), c.checkOnFinish())
}

func (c *Config) checkPlace() (errs error) {
	add := func(err error) { errs = errors.Join(errs, err) }
	if c.Dir == "" {
		add(c.errorAt("$.dir", "dir is empty: name the harvest directory"))
	}
	if _, _, isS3, err := place.ParseS3(c.Out); err != nil {
		add(c.errorAt("$.out", "%v", err))
	} else if !isS3 && strings.Contains(c.Out, ":/") {
		add(c.errorAt("$.out", "out %q is no place: write a directory or s3://bucket/prefix", c.Out))
	}
	if c.S3.RoleARN != "" && roleForm.FindStringSubmatch(c.S3.RoleARN) == nil {
		add(c.errorAt("$.s3.role_arn", "role %q is not a role's ARN: such as arn:aws:iam::111122223333:role/writer", c.S3.RoleARN))
	}
	if isBadExternalID(c.S3.ExternalID) {
		add(c.errorAt("$.s3.external_id", "%s", externalIDRule))
	}
	if err := (encode.Format{Name: c.Format, Compression: c.Compression}).Validate(); err != nil {
		add(c.errorAt("$.format", "%v", err))
	}
	if c.PartSize < 1<<16 {
		add(c.errorAt("$.part_size", "part_size %d is too small: at least 64KiB", c.PartSize))
	}
	if c.SpoolLimit < 2*c.PartSize {
		add(c.errorAt("$.spool_limit", "spool_limit %d is too small: at least twice part_size (%d), since a part is built while the next one is fetched", c.SpoolLimit, c.PartSize))
	}
	return errs
}

func (c *Config) checkTimes() (errs error) {
	add := func(err error) { errs = errors.Join(errs, err) }
	period := int64(c.Period / time.Second)
	high := slices.Contains([]int64{1, 5, 10, 20, 30}, period)
	if c.Period%time.Second != 0 || period > 86400 || period < 1 || period%60 != 0 && !high {
		add(c.errorAt("$.period", "period %s is not possible: use a multiple of 60 seconds up to one day, or 1, 5, 10, 20 or 30 seconds", formatDuration(c.Period)))
	}
	if c.Settle < 0 || c.Settle > 14*24*time.Hour {
		add(c.errorAt("$.settle", "settle %s is out of range: 0 to 14d", formatDuration(c.Settle)))
	}
	switch r := c.Range; r.Kind {
	case Fixed:
		if !r.From.Before(r.To) {
			add(c.errorAt("$.range", "the range ends (%s) before it begins (%s): swap from and to",
				r.To.Format(time.RFC3339), r.From.Format(time.RFC3339)))
		}
	case Last:
		if r.Last < c.Period {
			add(c.errorAt("$.range", "last %s is shorter than one period (%s): write 24h or 7d", formatDuration(r.Last), formatDuration(c.Period)))
		}
	}
	return errs
}

// instanceStates are those of EC2 (API reference of InstanceState).
var instanceStates = []string{"pending", "running", "shutting-down", "terminated", "stopping", "stopped"}

func (c *Config) checkInstances() (errs error) {
	if c.Instances.Sources != nil && len(c.Instances.Sources) == 0 {
		return c.errorAt("$.instances.sources", "no sources: use ec2, cloudwatch or file")
	}
	for i, state := range c.Instances.States {
		if !slices.Contains(instanceStates, state) {
			errs = errors.Join(errs, c.errorAt(fmt.Sprintf("$.instances.states[%d]", i), "unknown state %q%s: use %s", state,
				didYouMean(state, instanceStates), strings.Join(instanceStates, ", ")))
		}
	}
	if m := c.Instances.Monitoring; m != "" && m != "enabled" && m != "disabled" {
		errs = errors.Join(errs, c.errorAt("$.instances.monitoring", "monitoring %q: use enabled (detailed, 1 min) or disabled (basic, 5 min)", m))
	}
	for i, source := range c.Instances.Sources {
		at := fmt.Sprintf("$.instances.sources[%d]", i)
		switch source {
		case "ec2", "cloudwatch":
		case "file":
			if c.Instances.File == "" {
				errs = errors.Join(errs, c.errorAt(at, "source file needs instances.file (or --instances-from)"))
			}
		default:
			errs = errors.Join(errs, c.errorAt(at, "unknown source %q: use ec2, cloudwatch or file", source))
		}
	}
	return errs
}

// mostQuotaShare bounds quota_share: more than 1 is for accounts whose quotas
// AWS has raised, and for emulators that have none.
const maxQuotaShare = 1000

// protocols are those of CloudWatch's service model.
var protocols = []string{"cbor", "json", "query"}

func (c *Config) checkLimits() (errs error) {
	for _, limit := range []struct {
		name  string
		value int
	}{{"concurrency", c.Concurrency}, {"max_in_flight", c.MaxInFlight}} {
		if limit.value < 1 || limit.value > 1024 {
			errs = errors.Join(errs, c.errorAt("$."+limit.name, "%s %d is out of range: 1 to 1024", limit.name, limit.value))
		}
	}
	if c.API != MetricData && c.API != MetricStatistics {
		errs = errors.Join(errs, c.errorAt("$.api", "unknown api %q: use data (GetMetricData) or statistics (GetMetricStatistics)", c.API))
	}
	if !slices.Contains(protocols, c.Protocol) {
		errs = errors.Join(errs, c.errorAt("$.protocol", "unknown protocol %q%s: use %s", c.Protocol, didYouMean(c.Protocol, protocols), strings.Join(protocols, ", ")))
	}
	if c.MaxCost < 0 {
		errs = errors.Join(errs, c.errorAt("$.max_cost", "max_cost %g is negative: write USD, such as 25, or leave it out", c.MaxCost))
	}
	if p := c.Prices; min(p.GetMetricData, p.GetMetricStatistics, p.ListMetrics) < 0 {
		errs = errors.Join(errs, c.errorAt("$.prices", "prices are in USD per 1,000 and not negative"))
	}
	if c.QuotaShare <= 0 || c.QuotaShare > maxQuotaShare {
		errs = errors.Join(errs, c.errorAt("$.quota_share", "quota_share %g is out of range: above 0, at most %d", c.QuotaShare, maxQuotaShare))
	}
	return errs
}
