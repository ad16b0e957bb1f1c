package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"cwharvest/pipeline/config"
	"cwharvest/store/record"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// runFlags are what the command line can say of a run. What a file says, they
// override.
type runFlags struct {
	all     *pflag.FlagSet    // every flag of a run, of which a command may show some
	givenBy map[string]string // by flag: where its value comes from

	file string

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
	attended                                      bool // somebody waits for the answer, who can mend credentials

	only, dimensions                        []string
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

// durationValue is a duration as people write it: 300, 5m, 7d.
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

// register gives a command every flag of a run.
func (f *runFlags) register(c *cobra.Command) {
	f.define()
	c.Flags().AddFlagSet(f.all)
}

// registerAccess gives a command the flags that say which accounts are meant and
// how to get into them. The others it knows from the environment only.
func (f *runFlags) registerAccess(c *cobra.Command) {
	f.define()
	for _, name := range []string{"config", "role-arn", "external-id", "session-duration", "profile", "region", "only", "endpoint-url", "insecure-endpoint", "ignore-env-credentials"} {
		c.Flags().AddFlag(f.all.Lookup(name))
	}
}

func (f *runFlags) define() {
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	f.all = fs
	f.defineAccess(fs)
	fs.StringVar(&f.dir, "dir", "", "harvest directory (default ./harvest)")
	fs.StringVar(&f.out, "out", "", "where parts go: a directory or s3://bucket/prefix (default data/ in the harvest directory)")
	fs.StringVar(&f.format, "format", "", "parquet, csv or jsonl (default parquet)")
	fs.StringVar(&f.compression, "compression", "", "of csv and jsonl: none, gzip or zstd")
	fs.StringVar(&f.rangeText, "range", "", "yesterday, since_last, 24h or 2026-11-01 (default yesterday)")
	fs.StringVar(&f.last, "last", "", "harvest the last so long: 24h, 7d")
	fs.StringVar(&f.night, "night", "", "harvest this UTC day, such as 2026-11-20, instead of the range")
	fs.StringVar(&f.from, "from", "", "harvest from this time (with --to)")
	fs.StringVar(&f.to, "to", "", "harvest to this time, exclusive")
	fs.StringVar(&f.period, "period", "", "period of the datapoints (default 5m)")
	fs.StringVar(&f.settle, "settle", "", "ask for nothing younger than this (default 30m)")
	fs.StringVar(&f.namespace, "namespace", "AWS/EC2", "namespace of --metric")
	fs.StringSliceVar(&f.dimensions, "dimension", nil, "names of the dimensions of --metric (default InstanceId for AWS/EC2)")
	fs.StringSliceVar(&f.metrics, "metric", nil, "metrics (default: the usual eight of AWS/EC2)")
	fs.StringSliceVar(&f.statistics, "stat", nil, "statistics (default Average,Maximum)")
	fs.StringVar(&f.instancesFrom, "instances-from", "", "read instance ids from this file instead of asking EC2")
	fs.StringVar(&f.partSize, "part-size", "", "bytes of fetched data per part, packed (default 128MiB)")
	fs.IntVar(&f.concurrency, "concurrency", 0, "requests in flight per target (default 8)")
	durationVar(fs, &f.callTimeout, "call-timeout", time.Minute, "deadline of every call")
	durationVar(fs, &f.drainTimeout, "drain-timeout", 20*time.Second, "how long calls in flight may go on after an interrupt")
	durationVar(fs, &f.waitForCredentials, "wait-for-credentials", 30*time.Minute, "how long to wait for a person when nothing else can go on")
	fs.StringVar(&f.api, "api", "", "data (GetMetricData) or statistics (GetMetricStatistics, within the free tier) (default data)")
	fs.StringVar(&f.protocol, "protocol", "", "how to speak to CloudWatch: cbor, json or query; for emulators (default cbor)")
	fs.BoolVar(&f.strictPeriod, "strict-period", false, "rather nothing than datapoints by a coarser period")
	fs.Float64Var(&f.maxCost, "max-cost", 0, "USD that a job may cost at worst, over all its runs; exit 5 instead (default no limit)")
	fs.StringVar(&f.maxDuration, "max-duration", "", "stop resumably after so long, with exit 5 (default no limit)")
	fs.StringVar(&f.giveUpAfter, "give-up-after", "", "deny a target that is out for so long (default never)")
	fs.StringVar(&f.shard, "shard", "", "harvest this share of the targets, in a --dir of its own: 2/4, or auto/4 in an array of jobs")
	fs.BoolVar(&f.rediscover, "rediscover", false, "list accounts, regions and instances of the open job anew")
	fs.BoolVar(&f.redo, "redo", false, "fetch what --only names of the finished job once more, and replace its rows")
	fs.BoolVar(&f.noRetry, "no-retry", false, "leave alone what failed or was denied in the last job")
	fs.BoolVarP(&f.log.verbose, "verbose", "v", false, "log every failed call")
	fs.BoolVar(&f.allowUnknownMetric, "allow-unknown-metric", false, "ask for AWS/EC2 metrics this version does not know")
	fs.StringVar(&f.listen, "listen", "", "show the run over HTTP while it works, such as on 127.0.0.1:9464: a page, /metrics, /healthz, /status.json")
	fs.BoolVar(&f.listenAnywhere, "listen-anywhere", false, "let --listen take addresses that others reach; there is no password")
	fs.StringVar(&f.metricsFile, "metrics-file", "", "keep metrics in this file, for node_exporter's textfile collector")
}

func (f *runFlags) defineAccess(fs *pflag.FlagSet) {
	fs.StringVarP(&f.file, "config", "c", "", "read the specification from this file")
	fs.StringVar(&f.roleARN, "role-arn", "", "role to assume")
	fs.StringVar(&f.externalID, "external-id", "", "external id that the role demands")
	fs.StringVar(&f.sessionDuration, "session-duration", "", "life of the role's sessions, 15m to 12h, or auto (default 1h)")
	fs.StringVar(&f.profile, "profile", "", "shared-config profile to call with")
	fs.StringSliceVar(&f.regions, "region", nil, "regions (default: the profile's or AWS_REGION)")
	fs.StringSliceVar(&f.only, "only", nil, "only these accounts or targets: ACCOUNT or ACCOUNT/REGION")
	fs.StringVar(&f.endpointURL, "endpoint-url", "", "call this instead of AWS")
	fs.BoolVar(&f.insecureEndpoint, "insecure-endpoint", false, "let plain http go to other machines: signatures and metrics may be read on the way")
	fs.BoolVar(&f.ignoreEnvCredentials, "ignore-env-credentials", false, "drop the credentials in the environment, for this process only")
}

// specification is the file's, or the default, with the environment and the
// flags over it.
func (f *runFlags) specification(c *cobra.Command) (*config.Config, error) {
	if err := f.readEnvironment(os.Environ(), c.ErrOrStderr()); err != nil {
		return nil, usageError{error: err}
	}
	s := config.Default()
	if f.file != "" {
		var err error
		if s, err = config.ReadFile(f.file); err != nil {
			return nil, err
		}
	} else if _, err := os.Stat(initialName); err == nil {
		fmt.Fprintf(c.ErrOrStderr(), "cwharvest: warning: %s lies here and is not read; -c %s reads it\n", initialName, initialName)
	}
	if err := errors.Join(f.override(&s), f.checkOnly(), f.checkEndpoints(&s)); err != nil {
		return nil, usageError{error: err}
	}
	f.tellOrigins(&s)
	return &s, s.Validate()
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
	if f.said("concurrency") {
		s.Concurrency = f.concurrency
	}
	if f.said("max-cost") {
		s.MaxCost = f.maxCost
	}
	if f.said("strict-period") {
		s.StrictPeriod = f.strictPeriod
	}
	if f.said("allow-unknown-metric") {
		s.AllowUnknownMetric = f.allowUnknownMetric
	}
	if f.said("insecure-endpoint") {
		s.InsecureEndpoint = f.insecureEndpoint
	}
	return f.overrideRest(s)
}

// cleanPath writes a path as those of a file are written, so that an open job's
// plan does not depend on who said it.
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
	if f.said("shard") {
		if s.Shard, err = parseShard(f.shard, os.Getenv); err != nil {
			return fmt.Errorf("%s %w", f.origin("shard"), err)
		}
	}
	if f.redo && len(f.only) == 0 {
		return errors.New("--redo replaces rows: name whose with --only ACCOUNT or ACCOUNT/REGION")
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
		return fmt.Errorf("--range, --last and --from with --to are three ways to say it: use one of %s", f.origins("range", "last", "from", "to"))
	case (f.from == "") != (f.to == ""):
		return fmt.Errorf("--from and --to go together: there is only %s", f.origins("from", "to"))
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

var onlyForm = regexp.MustCompile(`^\d{12}(/[a-z0-9-]+)?$`)

func (f *runFlags) checkOnly() error {
	for _, only := range f.only {
		if !onlyForm.MatchString(only) {
			return fmt.Errorf("--only %q: write ACCOUNT or ACCOUNT/REGION, such as 111122223333/us-east-1", only)
		}
	}
	return nil
}

// selects is what --only says of a target, nil when it says nothing. Of a
// pattern it is asked whether it may stand for something selected.
func (f *runFlags) selects() func(record.Target) bool {
	if len(f.only) == 0 {
		return nil
	}
	return func(t record.Target) bool {
		return slices.ContainsFunc(f.only, func(only string) bool {
			account, region, _ := strings.Cut(only, "/")
			return account == t.Account && (region == "" || t.Covers(region))
		})
	}
}
