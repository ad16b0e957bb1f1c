package config

import (
	"errors"
	"fmt"
	"time"
)

// fill takes over what a document says.
func (s *Config) fill(doc *document) error {
	set(&s.Job, doc.Job)
	set(&s.Dir, doc.Dir)
	set(&s.Out, doc.Out)
	s.S3 = S3(doc.S3)
	set(&s.Format, doc.Format)
	set(&s.Compression, doc.Compression)
	set(&s.Concurrency, doc.Concurrency)
	set(&s.MaxInFlight, doc.MaxInFlight)
	set(&s.QuotaShare, doc.QuotaShare)
	set(&s.MaxCost, doc.MaxCost)
	set(&s.StrictPeriod, doc.StrictPeriod)
	set(&s.AllowUnknownMetric, doc.AllowUnknownMetric)
	set(&s.InsecureEndpoint, doc.InsecureEndpoint)
	set((*string)(&s.API), doc.API)
	set(&s.Protocol, doc.Protocol)
	set(&s.Prices.GetMetricData, doc.Prices.GetMetricData)
	set(&s.Prices.GetMetricStatistics, doc.Prices.GetMetricStatistics)
	set(&s.Prices.ListMetrics, doc.Prices.ListMetrics)
	errs := errors.Join(
		s.duration(&s.Settle, "$.settle", doc.Settle),
		s.duration(&s.Period, "$.period", doc.Period),
		s.size(&s.PartSize, "$.part_size", doc.PartSize),
		s.size(&s.SpoolLimit, "$.spool_limit", doc.SpoolLimit),
		s.fillRange(doc.Range),
		s.duration(&s.MaxDuration, "$.max_duration", doc.MaxDuration),
		s.giveUpAfter(doc.GiveUpAfter),
		s.fillAccounts(doc),
		s.fillTolerations(doc),
		s.fillOnFinish(doc.OnFinish),
	)
	s.fillInstances(doc)
	if doc.Metrics != nil {
		s.Metrics = nil
	}
	for _, m := range doc.Metrics {
		s.Metrics = append(s.Metrics, Metric{Namespace: m.Namespace, Names: m.Names, Statistics: m.Statistics, Dimensions: m.Dimensions})
	}
	return errs
}

func (s *Config) giveUpAfter(text *string) error {
	if text == nil {
		return nil
	}
	d, err := ParseGiveUpAfter(*text)
	if err != nil {
		return s.bad("$.give_up_after", "%v", err)
	}
	s.GiveUpAfter = d
	return nil
}

// ParseGiveUpAfter reads a duration, or never.
func ParseGiveUpAfter(text string) (time.Duration, error) {
	if text == "never" {
		return 0, nil
	}
	return ParseDuration(text)
}

func (s *Config) fillTolerations(doc *document) (errs error) {
	for i, t := range doc.Tolerate {
		path := fmt.Sprintf("$.tolerate[%d]", i)
		until, err := ParseTime(t.Until)
		switch {
		case !accountForm.MatchString(t.Account):
			errs = errors.Join(errs, s.bad(path, "tolerate needs an account of 12 digits, in quotes"))
		case t.Until == "":
			errs = errors.Join(errs, s.bad(path, "tolerate needs an end: until: 2027-01-31"))
		case err != nil:
			errs = errors.Join(errs, s.bad(path+".until", "%v", err))
		}
		s.Tolerate = append(s.Tolerate, Toleration{Account: t.Account, Region: t.Region, Until: until})
	}
	return errs
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

func (s *Config) duration(to *time.Duration, path string, text *string) error {
	if text == nil {
		return nil
	}
	d, err := ParseDuration(*text)
	if err != nil {
		return s.bad(path, "%v", err)
	}
	*to = d
	return nil
}

func (s *Config) sessionDuration(to *time.Duration, path string, text *string) error {
	if text == nil {
		return nil
	}
	d, err := ParseSessionDuration(*text)
	if err != nil {
		return s.bad(path, "%v", err)
	}
	*to = d
	return nil
}

// ParseSessionDuration reads a duration, or auto.
func ParseSessionDuration(text string) (time.Duration, error) {
	if text == "auto" {
		return Auto, nil
	}
	return ParseDuration(text)
}

func (s *Config) size(to *int64, path string, text *string) error {
	if text == nil {
		return nil
	}
	n, err := ParseSize(*text)
	if err != nil {
		return s.bad(path, "%v", err)
	}
	*to = n
	return nil
}

func (s *Config) fillRange(v any) (err error) {
	const path = "$.range"
	switch v := v.(type) {
	case nil:
	case string:
		if s.Range, err = ParseRange(v); err != nil {
			return s.bad(path, "%v", err)
		}
	case uint64:
		return s.fillRange(fmt.Sprint(v))
	case time.Time:
		return s.fillRange(v.Format(time.RFC3339))
	case map[string]any:
		text := func(key string) string {
			switch value := v[key].(type) {
			case nil:
				return ""
			case time.Time: // tagged as a timestamp
				return value.Format(time.RFC3339)
			}
			return fmt.Sprint(v[key])
		}
		for key := range v {
			if key != "last" && key != "from" && key != "to" {
				return s.bad(path, "unknown key %q in range: it takes last, or from and to", key)
			}
		}
		if s.Range, err = NewRange(text("last"), text("from"), text("to")); err != nil {
			return s.bad(path, "%v", err)
		}
	default:
		return s.bad(path, "range must be yesterday, since_last, {last: 24h} or {from: ..., to: ...}")
	}
	return nil
}

// NewRange makes a range of either a length or two times, as text.
func NewRange(last, from, to string) (r Range, err error) {
	if last != "" {
		if from != "" || to != "" {
			return r, errors.New("a range has either last, or from and to")
		}
		r.Kind = Last
		r.Last, err = ParseDuration(last)
		return r, err
	}
	if from == "" || to == "" {
		return r, errors.New("a range needs both from and to")
	}
	r.Kind = Fixed
	if r.From, err = ParseTime(from); err != nil {
		return r, err
	}
	r.To, err = ParseTime(to)
	return r, err
}

func (s *Config) fillAccounts(doc *document) error {
	defaults, errs := s.account(&doc.Defaults, "$.defaults")
	if defaults.SessionDuration == 0 {
		defaults.SessionDuration = s.Defaults.SessionDuration
	}
	s.Defaults = defaults
	for i := range doc.Accounts {
		a, err := s.account(&doc.Accounts[i], fmt.Sprintf("$.accounts[%d]", i))
		errs = errors.Join(errs, err)
		s.Accounts = append(s.Accounts, a)
	}
	return errs
}

func (s *Config) account(doc *documentAccount, path string) (Account, error) {
	a := Account{ID: doc.ID, Profile: doc.Profile, RoleARN: doc.RoleARN, RoleName: doc.RoleName, ExternalID: doc.ExternalID, File: doc.File}
	if o := doc.Organization; o != nil {
		a.Organization = &Organization{Profile: o.Profile, OUs: o.OUs, Exclude: o.Exclude}
	}
	err := s.sessionDuration(&a.SessionDuration, path+".session_duration", doc.SessionDuration)
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
		err = errors.Join(err, s.bad(path+".regions", "regions must be a list such as [us-east-1, eu-west-1]"))
	}
	return a, err
}

func (s *Config) fillInstances(doc *document) {
	in := &doc.Instances
	if in.Sources != nil {
		s.Instances.Sources = in.Sources
	} else if in.File != "" {
		s.Instances.Sources = []string{"file"}
	}
	s.Instances.File, s.Instances.Tags, s.Instances.States, s.Instances.Monitoring = in.File, in.Tags, in.States, in.Monitoring
}
