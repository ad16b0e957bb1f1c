package config

import (
	"errors"
	"fmt"
	"reflect"
	"time"
)

// mapping reads and prints a key with a structure: a mapping, a list of mappings,
// or one of several types.
type mapping struct {
	shape reflect.Type // of the key in the file
	fill  func(c *Config, from any) error
	print func(c *Config) any // pointer to the shape; nil: not printed
}

func mappingOf[T any](fill func(*Config, *T) error, print func(*Config) T) *mapping {
	m := &mapping{
		shape: reflect.TypeFor[T](),
		fill:  func(c *Config, from any) error { return fill(c, from.(*T)) },
	}
	if print != nil {
		m.print = func(c *Config) any { return pointer(print(c)) }
	}
	return m
}

type documentS3 struct {
	Profile    string `yaml:"profile"`
	RoleARN    string `yaml:"role_arn"`
	ExternalID string `yaml:"external_id"`
	Region     string `yaml:"region"`
}

func (c *Config) fillS3(doc *documentS3) error {
	c.S3 = S3(*doc)
	return nil
}

type documentToleration struct {
	Account string `yaml:"account"`
	Region  string `yaml:"region"`
	Until   string `yaml:"until"`
}

func (c *Config) fillTolerations(doc *[]documentToleration) (errs error) {
	for i, t := range *doc {
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

// fillRange reads a range in one word, or a mapping.
func (c *Config) fillRange(doc *any) (err error) {
	const path = "$.range"
	switch v := (*doc).(type) {
	case nil:
	case string:
		if c.Range, err = ParseRange(v); err != nil {
			return c.wrapAt(path, err)
		}
	case uint64:
		return c.fillRange(pointer[any](fmt.Sprint(v)))
	case time.Time:
		return c.fillRange(pointer[any](v.Format(time.RFC3339)))
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

func (c *Config) fillDefaults(doc *documentAccount) error {
	defaults, err := c.account(doc, "$.defaults")
	if defaults.SessionDuration == 0 {
		defaults.SessionDuration = c.Defaults.SessionDuration
	}
	c.Defaults = defaults
	return err
}

func (c *Config) fillAccounts(doc *[]documentAccount) (errs error) {
	for i := range *doc {
		a, err := c.account(&(*doc)[i], fmt.Sprintf("$.accounts[%d]", i))
		errs = errors.Join(errs, err)
		c.Accounts = append(c.Accounts, a)
	}
	return errs
}

func (c *Config) account(doc *documentAccount, path string) (Account, error) {
	var a Account
	setTexts(a.texts(), doc.texts())
	if o := doc.Organization; o != nil {
		a.Organization = pointer(Organization(*o))
	}
	err := c.sessionDuration(&a.SessionDuration, path+".session_duration", doc.SessionDuration)
	if doc.Via != nil {
		a.Via = Via(*doc.Via)
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
	d, err := parseSessionDuration(*text)
	if err != nil {
		return c.wrapAt(path, err)
	}
	*to = d
	return nil
}

type documentInstances struct {
	Sources    []string          `yaml:"sources"`
	File       string            `yaml:"file"`
	Tags       map[string]string `yaml:"tags"`
	States     []string          `yaml:"states"`
	Monitoring string            `yaml:"monitoring"`
}

func (c *Config) fillInstances(doc *documentInstances) error {
	c.Instances = Instances(*doc)
	if doc.Sources == nil && doc.File != "" {
		c.Instances.Sources = []string{"file"}
	}
	return nil
}

type documentMetric struct {
	Namespace  string   `yaml:"namespace"`
	Names      []string `yaml:"names"`
	Statistics []string `yaml:"statistics"`
	Dimensions []string `yaml:"dimensions"`
	Unit       string   `yaml:"unit"`
}

func (c *Config) fillMetrics(doc *[]documentMetric) error {
	if *doc == nil {
		return nil
	}
	c.Metrics = nil
	for _, m := range *doc {
		c.Metrics = append(c.Metrics, Metric(m))
	}
	return nil
}

type documentPrices struct {
	GetMetricData       *float64 `yaml:"get_metric_data"`
	GetMetricStatistics *float64 `yaml:"get_metric_statistics"`
	ListMetrics         *float64 `yaml:"list_metrics"`
}

func (c *Config) fillPrices(doc *documentPrices) error {
	set(&c.Prices.GetMetricData, doc.GetMetricData)
	set(&c.Prices.GetMetricStatistics, doc.GetMetricStatistics)
	set(&c.Prices.ListMetrics, doc.ListMetrics)
	return nil
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// redacted is printed in place of a secret.
const redacted = "<set>"

// documentRange is a range that is printed as a mapping.
type documentRange struct{ last, from, to string }

func (c *Config) documentS3() documentS3 {
	s3 := c.S3
	s3.ExternalID = redact(s3.ExternalID)
	return documentS3(s3)
}

func (c *Config) documentDefaults() documentAccount { return c.Defaults.document() }

func (c *Config) documentAccounts() (all []documentAccount) {
	for i := range c.Accounts {
		all = append(all, c.Accounts[i].document())
	}
	return all
}

func (c *Config) documentTolerations() (all []documentToleration) {
	for _, t := range c.Tolerate {
		all = append(all, documentToleration{t.Account, t.Region, t.Until.Format(time.RFC3339)})
	}
	return all
}

func (c *Config) documentInstances() documentInstances { return documentInstances(c.Instances) }

func (c *Config) documentMetrics() (all []documentMetric) {
	for _, m := range c.Metrics {
		all = append(all, documentMetric(m))
	}
	return all
}

func (c *Config) documentPrices() documentPrices {
	p := c.Prices
	return documentPrices{&p.GetMetricData, &p.GetMetricStatistics, &p.ListMetrics}
}

func pointer[T any](v T) *T { return &v }

func redact(secret string) string {
	if secret == "" {
		return ""
	}
	return redacted
}

func (c *Config) documentRange() any {
	r := c.Range
	switch r.Kind {
	case Last:
		return documentRange{last: formatDuration(r.Last)}
	case Fixed:
		return documentRange{from: r.From.UTC().Format(time.RFC3339), to: r.To.UTC().Format(time.RFC3339)}
	}
	return string(r.Kind)
}

func (a *Account) document() documentAccount {
	var doc documentAccount
	setTexts(doc.texts(), a.texts())
	doc.ExternalID = redact(doc.ExternalID)
	if a.SessionDuration != 0 {
		doc.SessionDuration = pointer(formatSessionDuration(a.SessionDuration))
	}
	if len(a.Regions) > 0 {
		doc.Regions = a.Regions
	}
	if o := a.Organization; o != nil {
		doc.Organization = pointer(documentOrganization(*o))
	}
	if a.Via != (Via{}) {
		doc.Via = &documentVia{a.Via.RoleARN, redact(a.Via.ExternalID)}
	}
	for _, f := range a.Fallbacks {
		f.ExternalID = redact(f.ExternalID)
		doc.Fallbacks = append(doc.Fallbacks, documentFallback(f))
	}
	return doc
}
