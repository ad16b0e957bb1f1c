package config

import (
	"errors"
	"fmt"
	"time"
)

// fill applies the keys of a document.
func (c *Config) fill(doc *document) error {
	set(&c.Job, doc.Job)
	set(&c.Dir, doc.Dir)
	set(&c.Out, doc.Out)
	c.S3 = S3(doc.S3)
	set(&c.Format, doc.Format)
	set(&c.Compression, doc.Compression)
	set(&c.Concurrency, doc.Concurrency)
	set(&c.MaxInFlight, doc.MaxInFlight)
	set(&c.QuotaShare, doc.QuotaShare)
	set(&c.MaxCost, doc.MaxCost)
	set(&c.StrictPeriod, doc.StrictPeriod)
	set(&c.AllowUnknownMetric, doc.AllowUnknownMetric)
	set(&c.InsecureEndpoint, doc.InsecureEndpoint)
	set((*string)(&c.API), doc.API)
	set(&c.Protocol, doc.Protocol)
	set(&c.Prices.GetMetricData, doc.Prices.GetMetricData)
	set(&c.Prices.GetMetricStatistics, doc.Prices.GetMetricStatistics)
	set(&c.Prices.ListMetrics, doc.Prices.ListMetrics)
	errs := errors.Join(
		c.duration(&c.Settle, "$.settle", doc.Settle),
		c.duration(&c.Period, "$.period", doc.Period),
		c.size(&c.PartSize, "$.part_size", doc.PartSize),
		c.size(&c.SpoolLimit, "$.spool_limit", doc.SpoolLimit),
		c.fillRange(doc.Range),
		c.duration(&c.MaxDuration, "$.max_duration", doc.MaxDuration),
		c.giveUpAfter(doc.GiveUpAfter),
		c.fillAccounts(doc),
		c.fillTolerations(doc),
		c.fillOnFinish(doc.OnFinish),
	)
	c.fillInstances(doc)
	if doc.Metrics != nil {
		c.Metrics = nil
	}
	for _, m := range doc.Metrics {
		c.Metrics = append(c.Metrics, Metric{Namespace: m.Namespace, Names: m.Names, Statistics: m.Statistics, Dimensions: m.Dimensions})
	}
	return errs
}

func (c *Config) giveUpAfter(text *string) error {
	if text == nil {
		return nil
	}
	d, err := ParseGiveUpAfter(*text)
	if err != nil {
		return c.wrapAt("$.give_up_after", err)
	}
	c.GiveUpAfter = d
	return nil
}

// ParseGiveUpAfter reads a duration, or never as 0.
func ParseGiveUpAfter(text string) (time.Duration, error) {
	if text == "never" {
		return 0, nil
	}
	return ParseDuration(text)
}

func (c *Config) fillTolerations(doc *document) (errs error) {
	for i, t := range doc.Tolerate {
		path := fmt.Sprintf("$.tolerate[%d]", i)
		until, err := ParseTime(t.Until)
		switch {
		case !accountForm.MatchString(t.Account):
			errs = errors.Join(errs, c.errorAt(path, "tolerate needs an account").withHint("write 12 digits, in quotes"))
		case t.Until == "":
			errs = errors.Join(errs, c.errorAt(path, "tolerate needs an end").withHint("add a date, such as until: 2027-01-31"))
		case err != nil:
			errs = errors.Join(errs, c.wrapAt(path+".until", err))
		}
		c.Tolerate = append(c.Tolerate, Toleration{Account: t.Account, Region: t.Region, Until: until})
	}
	return errs
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

func (c *Config) duration(to *time.Duration, path string, text *string) error {
	if text == nil {
		return nil
	}
	d, err := ParseDuration(*text)
	if err != nil {
		return c.wrapAt(path, err)
	}
	*to = d
	return nil
}

func (c *Config) sessionDuration(to *time.Duration, path string, text *string) error {
	if text == nil {
		return nil
	}
	d, err := ParseSessionDuration(*text)
	if err != nil {
		return c.wrapAt(path, err)
	}
	*to = d
	return nil
}

// ParseSessionDuration reads a duration, or auto as Auto.
func ParseSessionDuration(text string) (time.Duration, error) {
	if text == "auto" {
		return Auto, nil
	}
	return ParseDuration(text)
}

func (c *Config) size(to *int64, path string, text *string) error {
	if text == nil {
		return nil
	}
	n, err := ParseSize(*text)
	if err != nil {
		return c.wrapAt(path, err)
	}
	*to = n
	return nil
}

func (c *Config) fillRange(v any) (err error) {
	const path = "$.range"
	switch v := v.(type) {
	case nil:
	case string:
		if c.Range, err = ParseRange(v); err != nil {
			return c.wrapAt(path, err)
		}
	case uint64:
		return c.fillRange(fmt.Sprint(v))
	case time.Time:
		return c.fillRange(v.Format(time.RFC3339))
	case map[string]any:
		text := func(key string) string {
			switch value := v[key].(type) {
			case nil:
				return ""
			case time.Time: // YAML reads some texts as timestamps
				return value.Format(time.RFC3339)
			}
			return fmt.Sprint(v[key])
		}
		for key := range v {
			if key != "last" && key != "from" && key != "to" {
				return c.errorAt(path, "unknown key %q in range", key).withHint("write last, or from and to")
			}
		}
		if c.Range, err = NewRange(text("last"), text("from"), text("to")); err != nil {
			return c.wrapAt(path, err)
		}
	default:
		return c.errorAt(path, "range has the wrong type").withHint("write yesterday, since_last, {last: 24h} or {from: ..., to: ...}")
	}
	return nil
}

// NewRange returns the range of a duration up to now, or of two times.
func NewRange(last, from, to string) (r Range, err error) {
	if last != "" {
		if from != "" || to != "" {
			return r, invalid("a range has both last and from or to").withHint("write either last, or from and to")
		}
		r.Kind = Last
		r.Last, err = ParseDuration(last)
		return r, err
	}
	if from == "" || to == "" {
		return r, invalid("a range needs both from and to").withHint("add the missing one")
	}
	r.Kind = Fixed
	if r.From, err = ParseTime(from); err != nil {
		return r, err
	}
	r.To, err = ParseTime(to)
	return r, err
}

func (c *Config) fillAccounts(doc *document) error {
	defaults, errs := c.account(&doc.Defaults, "$.defaults")
	if defaults.SessionDuration == 0 {
		defaults.SessionDuration = c.Defaults.SessionDuration
	}
	c.Defaults = defaults
	for i := range doc.Accounts {
		a, err := c.account(&doc.Accounts[i], fmt.Sprintf("$.accounts[%d]", i))
		errs = errors.Join(errs, err)
		c.Accounts = append(c.Accounts, a)
	}
	return errs
}

func (c *Config) account(doc *documentAccount, path string) (Account, error) {
	a := Account{ID: doc.ID, Profile: doc.Profile, RoleARN: doc.RoleARN, RoleName: doc.RoleName, ExternalID: doc.ExternalID, File: doc.File}
	if o := doc.Organization; o != nil {
		a.Organization = &Organization{Profile: o.Profile, OUs: o.OUs, Exclude: o.Exclude}
	}
	err := c.sessionDuration(&a.SessionDuration, path+".session_duration", doc.SessionDuration)
	if doc.Via != nil {
		a.Via = Via{RoleARN: doc.Via.RoleARN, ExternalID: doc.Via.ExternalID}
	}
	for _, f := range doc.Fallbacks {
		a.Fallbacks = append(a.Fallbacks, Fallback(f))
	}
	switch v := doc.Regions.(type) {
	case nil:
	case string:
		a.Regions = []string{v}
	case []any:
		for _, region := range v {
			a.Regions = append(a.Regions, fmt.Sprint(region))
		}
	default:
		err = errors.Join(err, c.errorAt(path+".regions", "regions has the wrong type").
			withHint("write a list, such as [us-east-1, eu-west-1]"))
	}
	return a, err
}

func (c *Config) fillInstances(doc *document) {
	in := &doc.Instances
	if in.Sources != nil {
		c.Instances.Sources = in.Sources
	} else if in.File != "" {
		c.Instances.Sources = []string{"file"}
	}
	c.Instances.File, c.Instances.Tags, c.Instances.States, c.Instances.Monitoring = in.File, in.Tags, in.States, in.Monitoring
}
