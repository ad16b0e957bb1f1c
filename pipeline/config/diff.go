package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cwharvest/pipeline/cloudwatch"
)

// planSettings are the settings that later runs of a job cannot change.
type planSettings struct {
	Job         string            `json:"job"`
	Shard       string            `json:"shard,omitempty"`
	Range       string            `json:"range"`
	Period      string            `json:"period"`
	Format      string            `json:"format"`
	Compression string            `json:"compression,omitempty"`
	Out         string            `json:"out"`
	Sources     []string          `json:"instances.sources"`
	Tags        map[string]string `json:"instances.tags,omitempty"`
	States      []string          `json:"instances.states,omitempty"`
	Monitoring  string            `json:"instances.monitoring,omitempty"`
	API         API               `json:"api"`

	// SourcesNamed distinguishes sources that the configuration names, which hold for every
	// metric, from those that each metric has by default. Older plans lack it.
	SourcesNamed bool `json:"instances.sources_named,omitempty"`

	Metrics map[string][]string `json:"metrics"`                // statistics, by "namespace/name by dimensions"
	Units   map[string]string   `json:"metrics.unit,omitempty"` // by the same
}

// planSettings returns the part of the configuration that is frozen in a plan.
func (c *Config) planSettings() planSettings {
	f := planSettings{
		Job: c.Job, Shard: c.Shard.String(), Range: c.Range.String(), Period: formatDuration(c.Period), Format: c.Format, Out: c.Out,
		Sources: c.sources(), Tags: c.Instances.Tags, States: c.Instances.States, Monitoring: c.Instances.Monitoring,
		API: c.API, SourcesNamed: c.Instances.Sources != nil, Metrics: map[string][]string{}, Units: map[string]string{},
	}
	if c.Compression != "none" {
		f.Compression = c.Compression
	}
	for _, m := range c.Metrics {
		for _, name := range m.Names {
			key := m.Namespace + "/" + name + " by " + strings.Join(m.DimensionNames(), ",")
			f.Metrics[key] = cloudwatch.SortStatistics(m.Statistics)
			if m.Unit != "" {
				f.Units[key] = m.Unit
			}
		}
	}
	return f
}

// sources returns the sources that any metric uses.
func (c *Config) sources() []string {
	var all []string
	for _, source := range []string{"ec2", "cloudwatch", "file"} {
		if slices.ContainsFunc(c.Metrics, func(m Metric) bool { return c.Uses(source, &m) }) {
			all = append(all, source)
		}
	}
	return all
}

// Diff describes how the configuration differs from the settings of a job's plan,
// one setting per item. It returns none if they are equal.
func (c *Config) Diff(plan json.RawMessage) ([]string, error) {
	var was, is map[string]any
	if err := json.Unmarshal(plan, &was); err != nil {
		return nil, fmt.Errorf("cannot read the settings of the plan: %w", err)
	}
	now, err := json.Marshal(c.planSettings())
	if err != nil {
		return nil, fmt.Errorf("cannot encode the settings of the plan: %w", err)
	}
	if err := json.Unmarshal(now, &is); err != nil {
		return nil, fmt.Errorf("cannot encode the settings of the plan: %w", err)
	}
	const named = "instances.sources_named"
	delete(was, named)
	delete(is, named)
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
		if x, y := formatSetting(was[k]), formatSetting(is[k]); x != y {
			all = append(all, fmt.Sprintf("%s%s: %s -> %s", path, k, x, y))
		}
	}
	slices.Sort(all)
	return all
}

func formatSetting(v any) string {
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
			words = append(words, key+"="+formatSetting(v[key]))
		}
		return strings.Join(words, ",")
	}
	return fmt.Sprint(v)
}
