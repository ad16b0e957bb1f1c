package spec

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cwharvest/store"
)

// maxDatapoints is what one GetMetricData page holds (API reference).
const maxDatapoints = 100_800

// class is how long CloudWatch keeps datapoints of a period (GetMetricData API
// reference): of older data it returns nothing, without an error.
type class struct {
	age    time.Duration // data older than this
	period int64         // seconds: is kept at multiples of this only
	margin time.Duration // a job may last: what ages past the boundary meanwhile counts as old
}

var retention = []class{
	{63 * 24 * time.Hour, 3600, 12 * time.Hour},
	{15 * 24 * time.Hour, 300, 12 * time.Hour},
	{3 * time.Hour, 60, 30 * time.Minute},
}

const oldest = 455 * 24 * time.Hour // nothing is kept longer

// Freeze makes the plan of a job for an interval, at a time. Start and end are
// rounded down to the periods in use there; the windows of every series cover
// the range exactly once.
func (s *Spec) Freeze(i Interval, now time.Time) (store.Spec, error) {
	if now.Sub(i.Start) > oldest-12*time.Hour {
		return store.Spec{}, s.bad("$.range", "CloudWatch keeps nothing older than 455 days: begin after %s", now.Add(-oldest+12*time.Hour).Format(time.DateOnly))
	}
	spans := s.spans(i, now)
	if len(spans) == 0 {
		return store.Spec{}, s.bad("$.range", "%s to %s holds no whole period of %s", i.Start.Format(time.RFC3339), i.End.Format(time.RFC3339), formatDuration(s.Period))
	}
	out := s.Out
	if out == "" {
		out = filepath.Join(s.Dir, "data")
	}
	out, err := filepath.Abs(out)
	if err != nil {
		return store.Spec{}, fmt.Errorf("place of the output: %w", err)
	}
	plan, err := json.Marshal(s.frozen())
	if err != nil {
		return store.Spec{}, fmt.Errorf("encode plan: %w", err)
	}
	return store.Spec{
		Name: s.Job, Created: now.UTC(), Out: out, Plan: plan,
		Start: time.Unix(spans[0].Start, 0).UTC(), End: time.Unix(spans[len(spans)-1].End, 0).UTC(),
		Format: s.Format, Compression: s.Compression, PartSize: s.PartSize,
		Series: s.series(spans),
	}, nil
}

// spans splits an interval where the period that CloudWatch still has changes.
func (s *Spec) spans(i Interval, now time.Time) []store.Window {
	period := s.seconds()
	start, end := i.Start.Unix(), i.End.Unix()
	var spans []store.Window
	for n, c := range retention {
		coarse := roundUp(period, c.period)
		finer := period
		if n+1 < len(retention) {
			finer = roundUp(period, retention[n+1].period)
		}
		boundary := roundUp(now.Add(c.margin-c.age).Unix(), lcm(coarse, finer))
		if start >= boundary || coarse == period {
			continue
		}
		from := start - start%coarse
		to := min(boundary, end-end%coarse)
		if from < to {
			spans = append(spans, store.Window{Start: from, End: to, Period: coarse})
		}
		start = max(to, from)
		if to < boundary {
			return spans
		}
	}
	from, to := start-start%period, end-end%period
	if from < to {
		spans = append(spans, store.Window{Start: from, End: to, Period: period})
	}
	return spans
}

func (s *Spec) seconds() int64 { return int64(s.Period / time.Second) }

func roundUp(n, step int64) int64 { return (n + step - 1) / step * step }

func lcm(a, b int64) int64 {
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	return a / x * b
}

// series returns every metric with its statistics in column order and its
// windows.
func (s *Spec) series(spans []store.Window) []store.Series {
	var all []store.Series
	for _, m := range s.Metrics {
		for _, name := range m.Names {
			all = append(all, store.Series{
				Namespace: m.Namespace, Metric: name, Statistics: sortStatistics(m.Statistics),
				Windows: windows(spans, len(m.Statistics)),
			})
		}
	}
	slices.SortFunc(all, func(a, b store.Series) int {
		if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
			return c
		}
		return strings.Compare(a.Metric, b.Metric)
	})
	return all
}

func sortStatistics(statistics []string) []string {
	rank := func(s string) string {
		if i := slices.Index(basicStatistics, s); i >= 0 {
			return string(rune('0' + i))
		}
		return "~" + strings.ToLower(s)
	}
	sorted := slices.Clone(statistics)
	slices.SortFunc(sorted, func(a, b string) int { return strings.Compare(rank(a), rank(b)) })
	return sorted
}

// windows splits spans in time, so that one series with so many statistics
// fits a request: as few windows as possible, about equally long.
func windows(spans []store.Window, statistics int) []store.Window {
	var all []store.Window
	for _, span := range spans {
		points := int64(span.Points())
		most := int64(maxDatapoints / statistics)
		n := (points + most - 1) / most
		each := (points + n - 1) / n * span.Period
		for from := span.Start; from < span.End; from += each {
			all = append(all, store.Window{Start: from, End: min(from+each, span.End), Period: span.Period})
		}
	}
	return all
}

// frozen is what a job's later runs may not change.
type frozen struct {
	Job         string              `json:"job"`
	Range       string              `json:"range"`
	Period      string              `json:"period"`
	Format      string              `json:"format"`
	Compression string              `json:"compression,omitempty"`
	Out         string              `json:"out"`
	Sources     []string            `json:"instances.sources"`
	Tags        map[string]string   `json:"instances.tags,omitempty"`
	States      []string            `json:"instances.states,omitempty"`
	Metrics     map[string][]string `json:"metrics"` // statistics by namespace/name
}

func (s *Spec) frozen() frozen {
	f := frozen{
		Job: s.Job, Range: s.Range.String(), Period: formatDuration(s.Period), Format: s.Format, Out: s.Out,
		Sources: s.Instances.Sources, Tags: s.Instances.Tags, States: s.Instances.States, Metrics: map[string][]string{},
	}
	if s.Compression != "none" {
		f.Compression = s.Compression
	}
	for _, m := range s.Metrics {
		for _, name := range m.Names {
			f.Metrics[m.Namespace+"/"+name] = sortStatistics(m.Statistics)
		}
	}
	return f
}

// Diff returns in words how a specification differs from a job's frozen plan;
// nothing when it does not.
func (s *Spec) Diff(plan json.RawMessage) ([]string, error) {
	var was, is map[string]any
	if err := json.Unmarshal(plan, &was); err != nil {
		return nil, fmt.Errorf("read the frozen plan: %w", err)
	}
	now, err := json.Marshal(s.frozen())
	if err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	if err := json.Unmarshal(now, &is); err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	return differences("", was, is), nil
}

func differences(path string, was, is map[string]any) (all []string) {
	keys := map[string]bool{}
	for k := range was {
		keys[k] = true
	}
	for k := range is {
		keys[k] = true
	}
	for k := range keys {
		a, aNested := was[k].(map[string]any)
		b, bNested := is[k].(map[string]any)
		if aNested && bNested {
			all = append(all, differences(path+k+" ", a, b)...)
			continue
		}
		if x, y := show(was[k]), show(is[k]); x != y {
			all = append(all, fmt.Sprintf("%s%s: %s -> %s", path, k, x, y))
		}
	}
	slices.Sort(all)
	return all
}

func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case string:
		return v
	case []any:
		words := make([]string, len(v))
		for i := range v {
			words[i] = fmt.Sprint(v[i])
		}
		return strings.Join(words, ",")
	case map[string]any:
		words := make([]string, 0, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			words = append(words, key+"="+show(v[key]))
		}
		return strings.Join(words, ",")
	}
	return fmt.Sprint(v)
}
