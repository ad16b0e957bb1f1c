package config

import (
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cwharvest/store/record"
)

// redacted is printed in place of a secret.
const redacted = "<set>"

// Print writes the configuration as a harvest.yaml. A comment at each key names
// the origin of its value. External ids are redacted.
func (c *Config) Print(w io.Writer) error {
	defaults := Default()
	defaultLines := map[string]string{}
	for _, l := range lines(reflect.ValueOf(defaults.document()), "$") {
		defaultLines[l.path] = l.text
	}
	all := lines(reflect.ValueOf(c.document()), "$")
	width := 0
	for _, l := range all {
		width = max(width, min(len(l.text), 60))
	}
	var out strings.Builder
	for _, l := range all {
		if l.leaf {
			fmt.Fprintf(&out, "%-*s  # %s\n", width, l.text, c.origin(l.path, defaultLines[l.path] == l.text))
		} else {
			out.WriteString(l.text + "\n")
		}
	}
	for _, implied := range c.implied() {
		fmt.Fprintf(&out, "# %s\n", implied)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// origin returns the origin of a value: a flag, a variable, a line or default.
// unchanged reports that the value equals the default.
func (c *Config) origin(path string, unchanged bool) string {
	if by := c.overriddenBy(path); by != "" {
		return strings.Replace(by, "--", "flag --", 1)
	}
	if c.line != nil {
		for at := path; at != "$"; at = at[:strings.LastIndexAny(at, ".[")] {
			if line := c.line(at); line != "" {
				return line
			}
			if unchanged {
				break // a parent in the file does not set this key
			}
		}
	}
	return "default"
}

// implied describes the settings that have no value to print.
func (c *Config) implied() (all []string) {
	if c.Out == "" {
		all = append(all, "out: data/ in dir")
	}
	if len(c.Accounts) == 0 && c.Defaults.RoleARN == "" {
		all = append(all, "accounts: the caller's own account")
	}
	if len(c.Defaults.Regions) == 0 {
		all = append(all, "defaults.regions: the region of the profile, or AWS_REGION")
	}
	if n := len(c.OnFinish); n > 0 {
		all = append(all, fmt.Sprintf("on_finish: %d commands and webhooks, not printed because addresses may be secret", n))
	}
	if c.Shard != (record.Shard{}) {
		all = append(all, fmt.Sprintf("--shard: %s of the targets", c.Shard))
	}
	if !c.Night.IsZero() {
		all = append(all, fmt.Sprintf("this run only: %s harvests %s instead of the range", "--night", c.Night.Format(time.DateOnly)))
	}
	return all
}

// documentRange is a range that is printed as a mapping.
type documentRange struct{ last, from, to string }

// document returns the harvest.yaml of a configuration.
func (c *Config) document() *document {
	doc := &document{
		Job: &c.Job, Dir: &c.Dir, Format: &c.Format, Range: c.Range.document(),
		Settle: durationText(c.Settle), Period: durationText(c.Period), Defaults: c.Defaults.document(),
		Concurrency: &c.Concurrency, MaxInFlight: &c.MaxInFlight, QuotaShare: &c.QuotaShare,
		PartSize: pointer(formatSize(c.PartSize)), SpoolLimit: pointer(formatSize(c.SpoolLimit)),
		MaxCost: &c.MaxCost, MaxDuration: durationText(c.MaxDuration), GiveUpAfter: durationText(c.GiveUpAfter),
		StrictPeriod: &c.StrictPeriod, API: (*string)(&c.API), Protocol: &c.Protocol, AllowUnknownMetric: &c.AllowUnknownMetric,
		InsecureEndpoint: &c.InsecureEndpoint,
	}
	if c.Out != "" {
		doc.Out = &c.Out
	}
	if c.Compression != "" {
		doc.Compression = &c.Compression
	}
	if c.GiveUpAfter == 0 {
		doc.GiveUpAfter = pointer("never")
	}
	doc.S3.Profile, doc.S3.RoleARN, doc.S3.ExternalID, doc.S3.Region = c.S3.Profile, c.S3.RoleARN, redact(c.S3.ExternalID), c.S3.Region
	for i := range c.Accounts {
		doc.Accounts = append(doc.Accounts, c.Accounts[i].document())
	}
	resize(&doc.Tolerate, len(c.Tolerate))
	for i, t := range c.Tolerate {
		doc.Tolerate[i].Account, doc.Tolerate[i].Region, doc.Tolerate[i].Until = t.Account, t.Region, t.Until.Format(time.RFC3339)
	}
	in := &doc.Instances
	in.Sources, in.File, in.Tags = c.Instances.Sources, c.Instances.File, c.Instances.Tags
	in.States, in.Monitoring = c.Instances.States, c.Instances.Monitoring
	resize(&doc.Metrics, len(c.Metrics))
	for i, m := range c.Metrics {
		to := &doc.Metrics[i]
		to.Namespace, to.Names, to.Statistics, to.Dimensions = m.Namespace, m.Names, m.Statistics, m.Dimensions
	}
	p := &c.Prices
	doc.Prices.GetMetricData, doc.Prices.GetMetricStatistics, doc.Prices.ListMetrics = &p.GetMetricData, &p.GetMetricStatistics, &p.ListMetrics
	return doc
}

// resize makes a slice of n items. It exists for slices of unnamed types.
func resize[T any](s *[]T, n int) { *s = make([]T, n) }

func pointer[T any](v T) *T { return &v }

func durationText(d time.Duration) *string {
	if d == Auto {
		return pointer("auto")
	}
	return pointer(formatDuration(d))
}

func redact(secret string) string {
	if secret == "" {
		return ""
	}
	return redacted
}

func (r Range) document() any {
	switch r.Kind {
	case Last:
		return documentRange{last: formatDuration(r.Last)}
	case Fixed:
		return documentRange{from: r.From.UTC().Format(time.RFC3339), to: r.To.UTC().Format(time.RFC3339)}
	}
	return string(r.Kind)
}

func (a *Account) document() documentAccount {
	doc := documentAccount{
		ID: a.ID, Profile: a.Profile, RoleARN: a.RoleARN, RoleName: a.RoleName, ExternalID: redact(a.ExternalID), File: a.File,
	}
	if a.SessionDuration != 0 {
		doc.SessionDuration = durationText(a.SessionDuration)
	}
	if len(a.Regions) > 0 {
		doc.Regions = a.Regions
	}
	if o := a.Organization; o != nil {
		allocate(&doc.Organization)
		doc.Organization.Profile, doc.Organization.OUs, doc.Organization.Exclude = o.Profile, o.OUs, o.Exclude
	}
	if a.Via != (Via{}) {
		allocate(&doc.Via)
		doc.Via.RoleARN, doc.Via.ExternalID = a.Via.RoleARN, redact(a.Via.ExternalID)
	}
	resize(&doc.Fallbacks, len(a.Fallbacks))
	for i, f := range a.Fallbacks {
		f.ExternalID = redact(f.ExternalID)
		to := &doc.Fallbacks[i]
		to.Profile, to.InstanceRole, to.RoleARN, to.RoleName, to.ExternalID = f.Profile, f.InstanceRole, f.RoleARN, f.RoleName, f.ExternalID
	}
	return doc
}

func allocate[T any](p **T) { *p = new(T) }

// printedLine is one line of the output. A leaf is a line with a value.
type printedLine struct {
	text, path string
	leaf       bool
}

// lines returns the lines of a struct. It leaves out empty fields.
func lines(v reflect.Value, path string) (all []printedLine) {
	v = reflect.Indirect(v)
	for field, value := range v.Fields() {
		key := field.Tag.Get("yaml")
		at := path + "." + key
		given := value.Kind() == reflect.Pointer && !value.IsNil()
		if value = reflect.Indirect(value); !value.IsValid() || !given && value.IsZero() {
			continue
		}
		if text, ok := leaf(value); ok {
			all = append(all, printedLine{key + ": " + text, at, true})
			continue
		}
		var below []printedLine
		if value.Kind() == reflect.Struct {
			below = indent(lines(value, at), "  ", "  ")
		} else {
			below = items(value, at)
		}
		switch {
		case len(below) > 0:
			all = append(append(all, printedLine{key + ":", at, false}), below...)
		case given:
			all = append(all, printedLine{key + ": {}", at, true})
		}
	}
	return all
}

func items(list reflect.Value, path string) (all []printedLine) {
	for i := range list.Len() {
		at := fmt.Sprintf("%s[%d]", path, i)
		item := lines(list.Index(i), at)
		if len(item) == 0 {
			item = []printedLine{{"{}", at, true}}
		}
		all = append(all, indent(item, "  - ", "    ")...)
	}
	return all
}

func indent(all []printedLine, first, others string) []printedLine {
	for i := range all {
		if i == 0 {
			all[i].text = first + all[i].text
		} else {
			all[i].text = others + all[i].text
		}
	}
	return all
}

// leaf returns a value as one line, or false if the value has keys of its own.
func leaf(v reflect.Value) (string, bool) {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	switch value := v.Interface().(type) {
	case string:
		return scalar(value), true
	case bool:
		return strconv.FormatBool(value), true
	case int:
		return strconv.Itoa(value), true
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64), true
	case []string:
		words := make([]string, len(value))
		for i := range value {
			words[i] = scalar(value[i])
		}
		return "[" + strings.Join(words, ", ") + "]", true
	case map[string]string:
		words := make([]string, 0, len(value))
		for _, key := range slices.Sorted(maps.Keys(value)) {
			words = append(words, scalar(key)+": "+scalar(value[key]))
		}
		return "{" + strings.Join(words, ", ") + "}", true
	case documentRange:
		if value.last != "" {
			return "{last: " + scalar(value.last) + "}", true
		}
		return "{from: " + scalar(value.from) + ", to: " + scalar(value.to) + "}", true
	}
	return "", false
}

// plainForm matches text that every YAML parser reads as a string, except for the
// words in notText.
var plainForm = regexp.MustCompile(`^([A-Za-z./][\w./-]*|\d+(ms|s|m|h|d|[KMG]i?B))$`)

var notText = regexp.MustCompile(`(?i)^(true|false|yes|no|on|off|y|n|null|\.(inf|nan))$`)

// scalar quotes text that a YAML parser could read as another type.
func scalar(text string) string {
	if plainForm.MatchString(text) && !notText.MatchString(text) {
		return text
	}
	return strconv.Quote(text)
}
