package config

import (
	"slices"
	"testing"
	"time"
)

// TestFrozen proves that a job's plan brings back what its job lists and fetches,
// whatever the configuration says since, and that access and speed are those of today.
func TestFrozen(t *testing.T) {
	parse := func(text string) *Config {
		t.Helper()
		c, err := Parse("harvest.yaml", []byte(text), func(string) (string, bool) { return "", false })
		if err == nil {
			err = c.Validate()
		}
		if err != nil {
			t.Fatal(err)
		}
		return &c
	}
	const ec2 = "{namespace: AWS/EC2, names: [CPUUtilization], statistics: [Average]}"
	const rds = "{namespace: AWS/RDS, names: [CPUUtilization], statistics: [p99], dimensions: [DBInstanceIdentifier]}"
	now := parse("period: 1h\nconcurrency: 2\nmetrics: [{namespace: AWS/EC2, names: [NetworkIn], statistics: [Sum]}]\ninstances: {states: [running]}\n")
	for _, c := range []struct {
		name, plan string
		want       map[string][]string // sources by namespace
		fail       bool
	}{
		{name: "each metric has its source", plan: "metrics: [" + ec2 + ", " + rds + "]", want: map[string][]string{"AWS/EC2": {"ec2"}, "AWS/RDS": {"cloudwatch"}}},
		{name: "the sources are named", plan: "metrics: [" + ec2 + ", " + rds + "]\ninstances: {sources: [ec2, cloudwatch], tags: {env: prod}}",
			want: map[string][]string{"AWS/EC2": {"ec2", "cloudwatch"}, "AWS/RDS": {"cloudwatch"}}},
		{name: "from a file that is no longer named", plan: "metrics: [" + ec2 + "]\ninstances: {sources: [file], file: f.csv}", fail: true},
	} {
		was := parse(c.plan)
		end := time.Now().UTC().Truncate(24 * time.Hour)
		plan, err := was.Freeze(Interval{end.Add(-24 * time.Hour), end}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		got, err := now.Frozen(&plan)
		if c.fail {
			if err == nil {
				t.Errorf("%s: no error", c.name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if len(got.Metrics) != len(was.Metrics) || got.Concurrency != 2 || len(got.Instances.States) != 0 || len(got.Instances.Tags) != len(was.Instances.Tags) {
			t.Errorf("%s: %+v", c.name, got)
		}
		for i := range got.Metrics {
			m := &got.Metrics[i]
			var uses []string
			for _, source := range []string{"ec2", "cloudwatch", "file"} {
				if got.Uses(source, m) {
					uses = append(uses, source)
				}
			}
			if !slices.Equal(uses, c.want[m.Namespace]) {
				t.Errorf("%s: %s uses %q, want %q", c.name, m.Namespace, uses, c.want[m.Namespace])
			}
		}
	}
}
