package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store/encode"
	"cwharvest/store/place"
)

var (
	accountForm    = regexp.MustCompile(`^\d{12}$`)
	roleForm       = regexp.MustCompile(`^arn:(aws(?:-[a-z]+)*):iam::(\d{12}):role/[\w+=,.@/-]+$`)
	roleNameForm   = regexp.MustCompile(`^[\w+=,.@/-]{1,576}$`)
	regionForm     = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-\d{1,2}$`)
	patternForm    = regexp.MustCompile(`^[a-z0-9-]*[*?][a-z0-9*?-]*$`)
	parentForm     = regexp.MustCompile(`^(ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}|r-[0-9a-z]{4,32})$`)
	externalIDForm = regexp.MustCompile(`^[\w+=,.@:\\/-]+$`)
	namespaceForm  = regexp.MustCompile(`^ *[!-9;-~][ -~]*$`) // PutMetricData: ASCII, a visible character, no colon first
)

func (c *Config) checkDir() error {
	if c.Dir == "" {
		return c.errorAt("$.dir", "dir is empty").withHint("name the harvest directory")
	}
	return nil
}

func (c *Config) checkOut() error {
	if _, _, isS3, err := place.ParseS3(c.Out); err != nil {
		return c.wrapAt("$.out", err)
	} else if !isS3 && strings.Contains(c.Out, ":/") {
		return c.errorAt("$.out", "out %q is not a supported location", c.Out).withHint("write a directory or s3://bucket/prefix")
	}
	return nil
}

func (c *Config) checkS3() (errs error) {
	if c.S3.RoleARN != "" && roleForm.FindStringSubmatch(c.S3.RoleARN) == nil {
		errs = errors.Join(errs, c.errorAt("$.s3.role_arn", "role_arn %q is malformed", c.S3.RoleARN).withHint(roleHint))
	}
	if isBadExternalID(c.S3.ExternalID) {
		errs = errors.Join(errs, c.errorAt("$.s3.external_id", "external_id is not valid").withHint(externalIDHint))
	}
	return errs
}

// checkFormat checks format and compression.
func (c *Config) checkFormat() error {
	if err := (encode.Format{Name: c.Format, Compression: c.Compression}).Validate(); err != nil {
		return c.wrapAt("$.format", err)
	}
	return nil
}

func (c *Config) checkPartSize() error {
	if c.PartSize < 1<<16 {
		return c.errorAt("$.part_size", "part_size %d is too small", c.PartSize).withHint("write at least 64KiB")
	}
	return nil
}

func (c *Config) checkSpoolLimit() error {
	if c.SpoolLimit < 2*c.PartSize {
		return c.errorAt("$.spool_limit", "spool_limit %d is too small, because one part is built while the next one is fetched", c.SpoolLimit).
			withHint("write at least twice part_size, %s", formatSize(2*c.PartSize))
	}
	return nil
}

// longestPeriod is the time for which CloudWatch keeps data, in seconds. It documents no
// other maximum.
const longestPeriod = int64(cloudwatch.Oldest / time.Second)

func (c *Config) checkPeriod() error {
	period := int64(c.Period / time.Second)
	high := slices.Contains([]int64{1, 5, 10, 20, 30}, period)
	if c.Period%time.Second != 0 || period > longestPeriod || period < 1 || period%60 != 0 && !high {
		return c.errorAt("$.period", "period %s is not valid", formatDuration(c.Period)).
			withHint("use a multiple of 60 seconds, or 1, 5, 10, 20 or 30 seconds")
	}
	return nil
}

func (c *Config) checkSettle() error {
	if c.Settle < 0 || c.Settle > 14*24*time.Hour {
		return c.errorAt("$.settle", "settle %s is out of range", formatDuration(c.Settle)).withHint("write 0 to 14d")
	}
	return nil
}

func (c *Config) checkRange() error {
	switch r := c.Range; {
	case r.Kind == Fixed && !r.From.Before(r.To):
		return c.errorAt("$.range", "the range ends (%s) before it begins (%s)",
			r.To.Format(time.RFC3339), r.From.Format(time.RFC3339)).withHint("swap from and to")
	case r.Kind == Last && r.Last < c.Period:
		return c.errorAt("$.range", "last %s is shorter than one period (%s)", formatDuration(r.Last), formatDuration(c.Period)).
			withHint("write 24h or 7d")
	}
	return nil
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

// maxRequests bounds the requests in flight.
const maxRequests = 1024

// protocols are the wire protocols that CloudWatch's service model lists.
var protocols = []string{"cbor", "json", "query"}

func (c *Config) checkRequests(key string, n int) error {
	if n < 1 || n > maxRequests {
		return c.errorAt("$."+key, "%s %d is out of range", key, n).withHint("write 1 to %d", maxRequests)
	}
	return nil
}

func (c *Config) checkAPI() error {
	if c.API != MetricData && c.API != MetricStatistics {
		return c.errorAt("$.api", "unknown api %q", c.API).
			withHint("use data (GetMetricData) or statistics (GetMetricStatistics)")
	}
	return nil
}

func (c *Config) checkProtocol() error {
	if !slices.Contains(protocols, c.Protocol) {
		return c.errorAt("$.protocol", "unknown protocol %q%s", c.Protocol, didYouMean(c.Protocol, protocols)).
			withHint("use %s", strings.Join(protocols, ", "))
	}
	return nil
}

func (c *Config) checkMaxCost() error {
	if c.MaxCost < 0 {
		return c.errorAt("$.max_cost", "max_cost %g is negative", c.MaxCost).withHint("write USD, such as 25, or leave it out")
	}
	return nil
}

func (c *Config) checkPrices() error {
	if p := c.Prices; min(p.GetMetricData, p.GetMetricStatistics, p.ListMetrics) < 0 {
		return c.errorAt("$.prices", "a price is negative").withHint("write USD per 1,000 metrics or calls")
	}
	return nil
}

func (c *Config) checkQuotaShare() error {
	if c.QuotaShare <= 0 || c.QuotaShare > maxQuotaShare {
		return c.errorAt("$.quota_share", "quota_share %g is out of range", c.QuotaShare).withHint("write more than 0 and at most %d", maxQuotaShare)
	}
	return nil
}
