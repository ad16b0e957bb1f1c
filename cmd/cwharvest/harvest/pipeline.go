package harvest

import (
	"fmt"
	"os"
	"strings"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/pipeline"
	"cwharvest/pipeline/config"
	"cwharvest/store/record"
)

// Pipeline returns the configuration that a run and a survey of the same accounts have in common.
func (c *Config) Pipeline(set *accounts.Set, listed map[record.Target][]record.Instance) pipeline.Config {
	s := c.Settings
	at := c.Now()
	cfg := pipeline.Config{
		Discovery:   c.discovery(listed),
		Connect:     set.Connect,
		Identify:    set.Identify,
		Protocol:    pipeline.Protocol(s.Protocol),
		Statistics:  s.API == config.MetricStatistics,
		Shard:       s.Shard,
		Tolerated:   func(t record.Target) bool { return s.Tolerated(t, at) },
		Concurrency: s.Concurrency, MaxInFlight: s.MaxInFlight, QuotaShare: s.QuotaShare,
		MaxCostUSD: s.MaxCost, Prices: s.Prices, GiveUpAfter: s.GiveUpAfter,
		CallTimeout: c.CallTimeout, DrainTimeout: c.DrainTimeout, WaitForCredentials: c.WaitForCredentials,
		Now: c.Now, Log: c.Log,
	}
	if len(c.Only) > 0 {
		cfg.Only = c.Only.Selects
	}
	return cfg
}

// discovery returns the sources of instances: EC2 and CloudWatch as far as the metrics use them, and the instance file.
func (c *Config) discovery(listed map[record.Target][]record.Instance) pipeline.Discovery {
	if all := c.Settings.Unfiltered(); len(all) > 0 {
		c.Log.Warn("instances.tags, states and monitoring select EC2 instances; these metrics are not filtered", "metrics", strings.Join(all, "; "))
	}
	in := &c.Settings.Instances
	d := pipeline.Discovery{States: in.States, Tags: in.Tags, Monitoring: in.Monitoring, Listed: listed}
	for i := range c.Settings.Metrics {
		m := &c.Settings.Metrics[i]
		d.EC2 = d.EC2 || c.Settings.Uses("ec2", m)
		if c.Settings.Uses("cloudwatch", m) {
			d.CloudWatch = append(d.CloudWatch, pipeline.Listing{Namespace: m.Namespace, Dimensions: m.DimensionNames(), Metrics: m.Names})
		}
	}
	return d
}

// ReadInstances reads the instance file that the settings name; "-" is the standard input. Without a file it returns nil.
func (c *Config) ReadInstances(targets []record.Target) (map[record.Target][]record.Instance, error) {
	path := c.Settings.Instances.File
	switch path {
	case "":
		return nil, nil
	case "-":
		return c.Settings.ReadInstances(path, os.Stdin, targets)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, &accounts.InputError{Err: fmt.Errorf("cannot read instances: %w", err)}
	}
	defer file.Close()
	return c.Settings.ReadInstances(path, file, targets)
}
