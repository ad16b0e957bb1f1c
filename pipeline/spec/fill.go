package spec

import (
	"errors"
	"fmt"
	"time"
)

// fill takes over what a document says.
func (s *Spec) fill(doc *document) error {
	set(&s.Job, doc.Job)
	set(&s.Dir, doc.Dir)
	set(&s.Out, doc.Out)
	set(&s.Format, doc.Format)
	set(&s.Compression, doc.Compression)
	set(&s.Concurrency, doc.Concurrency)
	set(&s.MaxInFlight, doc.MaxInFlight)
	set(&s.QuotaShare, doc.QuotaShare)
	errs := errors.Join(
		s.duration(&s.Settle, "$.settle", doc.Settle),
		s.duration(&s.Period, "$.period", doc.Period),
		s.size(doc.PartSize),
		s.fillRange(doc.Range),
		s.unsupported(doc),
		s.fillAccounts(doc),
	)
	s.fillInstances(doc)
	if doc.Metrics != nil {
		s.Metrics = nil
	}
	for i, m := range doc.Metrics {
		if m.Dimensions != nil && (len(m.Dimensions) != 1 || m.Dimensions[0] != "InstanceId") {
			errs = errors.Join(errs, s.bad(fmt.Sprintf("$.metrics[%d].dimensions", i),
				"not supported yet: dimensions other than [InstanceId]; leave the metric out"))
		}
		s.Metrics = append(s.Metrics, Metric{Namespace: m.Namespace, Names: m.Names, Statistics: m.Statistics})
	}
	return errs
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

func (s *Spec) duration(to *time.Duration, path string, text *string) error {
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

func (s *Spec) sessionDuration(to *time.Duration, path string, text *string) error {
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

func (s *Spec) size(text *string) (err error) {
	if text == nil {
		return nil
	}
	if s.PartSize, err = ParseSize(*text); err != nil {
		return s.bad("$.part_size", "%v", err)
	}
	return nil
}

func (s *Spec) fillRange(v any) (err error) {
	const path = "$.range"
	switch v := v.(type) {
	case nil:
	case string:
		if s.Range, err = ParseRange(v); err != nil {
			return s.bad(path, "%v", err)
		}
	case map[string]any:
		text := func(key string) string {
			if v[key] == nil {
				return ""
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

// unsupported refuses what the format has and this version cannot do, so that
// nothing is ignored silently.
func (s *Spec) unsupported(doc *document) (errs error) {
	refuse := func(path string, given bool) {
		if given {
			errs = errors.Join(errs, s.bad(path, "not supported yet: %s; leave it out", path[2:]))
		}
	}
	refuse("$.tolerate", doc.Tolerate != nil)
	refuse("$.max_cost", doc.MaxCost != nil)
	refuse("$.defaults.organization", doc.Defaults.Organization != nil)
	refuse("$.defaults.file", doc.Defaults.File != nil)
	for i := range doc.Accounts {
		refuse(fmt.Sprintf("$.accounts[%d].organization", i), doc.Accounts[i].Organization != nil)
		refuse(fmt.Sprintf("$.accounts[%d].file", i), doc.Accounts[i].File != nil)
	}
	return errs
}

func (s *Spec) fillAccounts(doc *document) error {
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

func (s *Spec) account(doc *documentAccount, path string) (Account, error) {
	a := Account{ID: doc.ID, Profile: doc.Profile, RoleARN: doc.RoleARN, RoleName: doc.RoleName, ExternalID: doc.ExternalID}
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

func (s *Spec) fillInstances(doc *document) {
	in := &doc.Instances
	if in.Sources != nil {
		s.Instances.Sources = in.Sources
	} else if in.File != "" {
		s.Instances.Sources = []string{"file"}
	}
	s.Instances.File, s.Instances.Tags, s.Instances.States = in.File, in.Tags, in.States
}
