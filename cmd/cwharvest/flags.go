package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/pipeline/config"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// runFlags holds the flags of a run. They override the file.
type runFlags struct {
	all     *pflag.FlagSet    // every flag of a run; a command may register some of them
	givenBy map[string]string // by flag: the source of its value

	file     string
	noConfig bool

	dir, out, format, compression, rangeText, last, from, to, period, settle string
	roleARN, externalID, sessionDuration, profile                            string
	regions, metrics, statistics                                             []string
	namespace, instancesFrom, partSize                                       string
	concurrency                                                              int

	endpointURL                                   string
	callTimeout, drainTimeout, waitForCredentials time.Duration
	noRetry, allowUnknownMetric                   bool
	ignoreEnvCredentials, rediscover              bool
	insecureEndpoint                              bool
	attended                                      bool // a person waits for the command and can renew credentials

	only                                    accounts.Selection
	dimensions                              []string
	api, protocol, maxDuration, giveUpAfter string
	maxCost                                 float64
	strictPeriod                            bool
	night                                   string
	redo                                    bool
	log                                     logFlags
	printConfig                             bool
	shard                                   string

	listen, metricsFile string
	listenAnywhere      bool
}

// durationValue parses durations such as 300, 5m and 7d.
type durationValue time.Duration

func durationVar(fs *pflag.FlagSet, d *time.Duration, name string, preset time.Duration, about string) {
	*d = preset
	fs.Var((*durationValue)(d), name, about)
}

func (d *durationValue) Set(text string) error {
	v, err := config.ParseDuration(text)
	*d = durationValue(v)
	return err
}

func (d *durationValue) String() string { return time.Duration(*d).String() }
func (d *durationValue) Type() string   { return "duration" }

// register adds every flag of a run to a command.
func (f *runFlags) register(c *cobra.Command) {
	f.define()
	c.Flags().AddFlagSet(f.all)
}

// registerAccess adds the flags that choose accounts and credentials. The other settings come from the file or the environment.
func (f *runFlags) registerAccess(c *cobra.Command) {
	f.define()
	for _, name := range []string{"config", "no-config", "role-arn", "external-id", "session-duration", "profile", "region", "only", "endpoint-url", "insecure-endpoint", "ignore-env-credentials"} {
		c.Flags().AddFlag(f.all.Lookup(name))
	}
}

func (f *runFlags) define() {
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	f.all = fs
	f.defineAccess(fs)
	fs.StringVar(&f.dir, "dir", "", "harvest directory (default ./harvest)")
	fs.StringVar(&f.out, "out", "", "output location: a directory or s3://bucket/prefix (default data/ in the harvest directory)")
	fs.StringVar(&f.format, "format", "", "parquet, csv or jsonl (default parquet)")
	fs.StringVar(&f.compression, "compression", "", "none, gzip or zstd, for csv and jsonl")
	fs.StringVar(&f.rangeText, "range", "", "yesterday, since_last, 24h or 2026-11-01 (default yesterday)")
	fs.StringVar(&f.last, "last", "", "harvest the last 24h, 7d, ...")
	fs.StringVar(&f.night, "night", "", "harvest this UTC day, such as 2026-11-20, instead of the range")
	fs.StringVar(&f.from, "from", "", "start of the range (with --to)")
	fs.StringVar(&f.to, "to", "", "end of the range, exclusive (with --from)")
	fs.StringVar(&f.period, "period", "", "period of the datapoints (default 5m)")
	fs.StringVar(&f.settle, "settle", "", "do not ask for younger datapoints (default 30m)")
	fs.StringVar(&f.namespace, "namespace", "AWS/EC2", "namespace of --metric")
	fs.StringSliceVar(&f.dimensions, "dimension", nil, "dimension names of --metric (default InstanceId for AWS/EC2)")
	fs.StringSliceVar(&f.metrics, "metric", nil, "metrics (default: eight of AWS/EC2)")
	fs.StringSliceVar(&f.statistics, "stat", nil, "statistics (default Average,Maximum)")
	fs.StringVar(&f.instancesFrom, "instances-from", "", "read instance ids from this file instead of asking EC2")
	fs.StringVar(&f.partSize, "part-size", "", "spool bytes per part (default 128MiB)")
	fs.IntVar(&f.concurrency, "concurrency", 0, "requests in flight per target (default 8)")
	durationVar(fs, &f.callTimeout, "call-timeout", time.Minute, "deadline of each call")
	durationVar(fs, &f.drainTimeout, "drain-timeout", 20*time.Second, "time for calls in flight to finish after an interrupt")
	durationVar(fs, &f.waitForCredentials, "wait-for-credentials", 30*time.Minute, "time to wait for new credentials when no target can continue")
	fs.StringVar(&f.api, "api", "", "data (GetMetricData) or statistics (GetMetricStatistics, within the free tier) (default data)")
	fs.StringVar(&f.protocol, "protocol", "", "wire protocol of CloudWatch: cbor, json or query; emulators may need json (default cbor)")
	fs.BoolVar(&f.strictPeriod, "strict-period", false, "fail instead of asking for a coarser period when CloudWatch has dropped the finer one")
	fs.Float64Var(&f.maxCost, "max-cost", 0, "stop with exit 5 before a job may cost more USD than this, over all its runs (default no limit)")
	fs.StringVar(&f.maxDuration, "max-duration", "", "stop with exit 5 after this time; the next run resumes (default no limit)")
	fs.StringVar(&f.giveUpAfter, "give-up-after", "", "deny a target after an outage of this length (default never)")
	fs.StringVar(&f.shard, "shard", "", "harvest this share of the targets in a --dir of its own: 2/4, or auto/4 in an array job")
	fs.BoolVar(&f.rediscover, "rediscover", false, "list accounts, regions and instances of the open job again")
	fs.BoolVar(&f.redo, "redo", false, "fetch the targets named by --only of a finished job again and replace their rows")
	fs.BoolVar(&f.noRetry, "no-retry", false, "do not retry failures and denials of the last job")
	fs.BoolVarP(&f.log.verbose, "verbose", "v", false, "log every failed call")
	fs.BoolVar(&f.allowUnknownMetric, "allow-unknown-metric", false, "accept AWS/EC2 metrics that this version does not know")
	fs.StringVar(&f.listen, "listen", "", "serve a page, /metrics, /healthz and /status.json during the run, on an address such as 127.0.0.1:9464")
	fs.BoolVar(&f.listenAnywhere, "listen-anywhere", false, "allow --listen on addresses that other machines reach; there is no password")
	fs.StringVar(&f.metricsFile, "metrics-file", "", "write metrics to this file, for node_exporter's textfile collector")
}

func (f *runFlags) defineAccess(fs *pflag.FlagSet) {
	fs.StringVarP(&f.file, "config", "c", "", "read the configuration from this file (default ./harvest.yaml)")
	fs.BoolVar(&f.noConfig, "no-config", false, "ignore harvest.yaml in the current directory")
	fs.StringVar(&f.roleARN, "role-arn", "", "role to assume")
	fs.StringVar(&f.externalID, "external-id", "", "external id for AssumeRole")
	fs.StringVar(&f.sessionDuration, "session-duration", "", "life of the role's sessions, 15m to 12h, or auto (default 1h)")
	fs.StringVar(&f.profile, "profile", "", "shared-config profile")
	fs.StringSliceVar(&f.regions, "region", nil, "regions (default: the profile's or AWS_REGION)")
	fs.StringSliceVar((*[]string)(&f.only), "only", nil, "only these accounts or targets: ACCOUNT or ACCOUNT/REGION")
	fs.StringVar(&f.endpointURL, "endpoint-url", "", "endpoint to call instead of AWS")
	fs.BoolVar(&f.insecureEndpoint, "insecure-endpoint", false, "allow plain http to other machines, where others may read signatures and metrics")
	fs.BoolVar(&f.ignoreEnvCredentials, "ignore-env-credentials", false, "ignore credentials in the environment")
}

// configuration returns the configuration: the file or the defaults, overridden by the environment, then by flags.
func (f *runFlags) configuration(c *cobra.Command) (*config.Config, error) {
	if err := f.readEnvironment(os.Environ(), c.ErrOrStderr()); err != nil {
		return nil, usageError{error: err}
	}
	if err := f.findFile(c); err != nil {
		return nil, err
	}
	s := config.Default()
	if f.file != "" {
		var err error
		if s, err = config.ReadFile(f.file); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(f.override(&s), checkOnly(f.only), f.checkEndpoints(&s)); err != nil {
		return nil, usageError{error: err}
	}
	f.recordOrigins(&s)
	return &s, s.Validate()
}

// findFile sets file to the configuration file: the given one, or harvest.yaml in the current directory.
func (f *runFlags) findFile(c *cobra.Command) (err error) {
	if f.givenBy["no-config"] == "--no-config" && f.givenBy["config"] == "--config" {
		return usageError{error: errors.New("--config and --no-config exclude each other")}
	}
	w := c.ErrOrStderr()
	if f.log.quiet {
		w = io.Discard
	}
	f.file, err = configFile(f.file, f.noConfig && f.givenBy["config"] != "--config", w)
	return err
}

func (f *runFlags) override(s *config.Config) error {
	for _, text := range []struct {
		to   *string
		from string
	}{{&s.Dir, f.dir}, {&s.Out, cleanPath(f.out)}, {&s.Format, f.format}, {&s.Compression, f.compression}, {(*string)(&s.API), f.api}, {&s.Protocol, f.protocol},
		{&s.Defaults.RoleARN, f.roleARN}, {&s.Defaults.ExternalID, f.externalID}, {&s.Defaults.Profile, f.profile}} {
		if text.from != "" {
			*text.to = text.from
		}
	}
	for _, d := range []struct {
		flag  string
		to    *time.Duration
		from  string
		parse func(string) (time.Duration, error)
	}{{"period", &s.Period, f.period, config.ParseDuration}, {"settle", &s.Settle, f.settle, config.ParseDuration},
		{"max-duration", &s.MaxDuration, f.maxDuration, config.ParseDuration}, {"give-up-after", &s.GiveUpAfter, f.giveUpAfter, config.ParseGiveUpAfter},
		{"session-duration", &s.Defaults.SessionDuration, f.sessionDuration, config.ParseSessionDuration}} {
		if d.from == "" {
			continue
		}
		v, err := d.parse(d.from)
		if err != nil {
			return fmt.Errorf("%s: %w", f.origin(d.flag), err)
		}
		*d.to = v
	}
	if f.regions != nil {
		s.Defaults.Regions = f.regions
	}
	if f.isSet("concurrency") {
		s.Concurrency = f.concurrency
	}
	if f.isSet("max-cost") {
		s.MaxCost = f.maxCost
	}
	if f.isSet("strict-period") {
		s.StrictPeriod = f.strictPeriod
	}
	if f.isSet("allow-unknown-metric") {
		s.AllowUnknownMetric = f.allowUnknownMetric
	}
	if f.isSet("insecure-endpoint") {
		s.InsecureEndpoint = f.insecureEndpoint
	}
	return f.overrideRest(s)
}

// cleanPath normalises a path as the file's paths are, so that a job's plan does not depend on where the path was given.
func cleanPath(path string) string {
	if path == "" || strings.Contains(path, "://") {
		return path
	}
	return filepath.Clean(path)
}

func (f *runFlags) overrideRest(s *config.Config) (err error) {
	if f.instancesFrom != "" {
		s.Instances.File, s.Instances.Sources = f.instancesFrom, []string{"file"}
	}
	if f.metrics != nil {
		s.Metrics = []config.Metric{{Namespace: f.namespace, Names: f.metrics, Statistics: []string{"Average", "Maximum"}, Dimensions: f.dimensions}}
	}
	if f.statistics != nil {
		for i := range s.Metrics {
			s.Metrics[i].Statistics = f.statistics
		}
	}
	if f.isSet("shard") {
		if s.Shard, err = parseShard(f.shard, os.Getenv); err != nil {
			return fmt.Errorf("%s %w", f.origin("shard"), err)
		}
	}
	if f.redo && len(f.only) == 0 {
		return usageError{errors.New("--redo replaces rows and needs --only"), "name the targets with --only ACCOUNT or ACCOUNT/REGION"}
	}
	if f.night != "" {
		if s.Night, err = time.Parse(time.DateOnly, f.night); err != nil {
			return fmt.Errorf("--night %q: write a UTC day, such as 2026-11-20", f.night)
		}
	}
	if f.partSize != "" {
		if s.PartSize, err = config.ParseSize(f.partSize); err != nil {
			return fmt.Errorf("%s: %w", f.origin("part-size"), err)
		}
	}
	switch {
	case f.rangeText != "" && f.last+f.from+f.to != "", f.last != "" && f.from+f.to != "":
		return fmt.Errorf("--range, --last and --from with --to exclude each other: use one of %s", f.origins("range", "last", "from", "to"))
	case (f.from == "") != (f.to == ""):
		return fmt.Errorf("--from and --to go together, but only %s is given", f.origins("from", "to"))
	case f.rangeText != "":
		s.Range, err = config.ParseRange(f.rangeText)
	case f.last != "" || f.from != "":
		s.Range, err = config.NewRange(f.last, f.from, f.to)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.origins("range", "last", "from", "to"), err)
	}
	return nil
}

func checkOnly(only accounts.Selection) error {
	if err := only.Check(); err != nil {
		return fmt.Errorf("--only: %w", err)
	}
	return nil
}
