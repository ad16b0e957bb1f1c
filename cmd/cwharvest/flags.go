package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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

	endpointURL                                   string
	callTimeout, drainTimeout, waitForCredentials time.Duration
	waitForRoles                                  time.Duration
	noRetry, rediscover, redo                     bool
	ignoreEnvCredentials                          bool
	attended                                      bool // a person waits for the command and can renew credentials

	only         accounts.Selection
	night, shard string
	log          logFlags
	printConfig  bool

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

// Flags of commands that read the configuration without running a job. Other settings reach them from the file and
// from variables.
var (
	policyFlags = []string{"config", "no-config", "only", "role-arn", "external-id", "profile", "region", "insecure-endpoint", "out", "api",
		"metric", "namespace", "dimension", "instances-from", "allow-unknown-metric"}
	doctorFlags = slices.Concat(policyFlags, []string{"dir", "role-session-name", "session-duration", "shard", "endpoint-url", "ignore-env-credentials",
		"protocol", "stat", "call-timeout", "wait-for-credentials"})
	notPlanFlags = []string{"out", "compression", "part-size", "concurrency", "max-duration", "give-up-after", "wait-for-roles", "drain-timeout",
		"rediscover", "redo", "no-retry", "listen", "listen-anywhere", "metrics-file"}
)

// register adds the flags of a run to a command, as far as the command uses them.
func (f *runFlags) register(c *cobra.Command, uses func(flag string) bool) {
	f.define()
	f.all.VisitAll(func(flag *pflag.Flag) {
		if uses(flag.Name) {
			c.Flags().AddFlag(flag)
		}
	})
}

func (f *runFlags) define() {
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	f.all = fs
	for _, setting := range config.Settings() {
		if setting.Flag != "" {
			defineSetting(fs, &setting)
		}
	}
	fs.StringVarP(&f.file, "config", "c", "", "read the configuration from this file (default ./harvest.yaml)")
	fs.BoolVar(&f.noConfig, "no-config", false, "ignore harvest.yaml in the current directory")
	fs.StringSliceVar((*[]string)(&f.only), "only", nil, "only these accounts or targets: ACCOUNT or ACCOUNT/REGION")
	fs.StringVar(&f.endpointURL, "endpoint-url", "", "endpoint to call instead of AWS")
	fs.BoolVar(&f.ignoreEnvCredentials, "ignore-env-credentials", false, "ignore credentials in the environment")
	fs.StringVar(&f.night, "night", "", "harvest this UTC day, such as 2026-11-20, instead of the range")
	durationVar(fs, &f.callTimeout, "call-timeout", time.Minute, "deadline of each call")
	durationVar(fs, &f.drainTimeout, "drain-timeout", 20*time.Second, "time for calls in flight to finish after an interrupt")
	durationVar(fs, &f.waitForCredentials, "wait-for-credentials", 30*time.Minute, "time to wait for new credentials when no target can continue")
	durationVar(fs, &f.waitForRoles, "wait-for-roles", 2*time.Minute, "time to try a role that AWS refuses, in case it is new, before its targets are denied; not if they were denied in the last job")
	fs.StringVar(&f.shard, "shard", "", "harvest this share of the targets in a --dir of its own: 2/4, or auto/4 in an array job")
	fs.BoolVar(&f.rediscover, "rediscover", false, "list accounts, regions and instances of the open job again")
	fs.BoolVar(&f.redo, "redo", false, "fetch the targets named by --only of a finished job again and replace their rows")
	fs.BoolVar(&f.noRetry, "no-retry", false, "do not retry failures and denials of the last job")
	fs.BoolVarP(&f.log.verbose, "verbose", "v", false, "log every failed call")
	fs.StringVar(&f.listen, "listen", "", "serve a page, /metrics, /healthz and /status.json during the run, on an address such as 127.0.0.1:9464")
	fs.BoolVar(&f.listenAnywhere, "listen-anywhere", false, "allow --listen on addresses that other machines reach; there is no password")
	fs.StringVar(&f.metricsFile, "metrics-file", "", "write metrics to this file, for node_exporter's textfile collector")
}

// defineSetting defines the flag of a setting. Its text is read by the configuration, except for numbers and lists.
func defineSetting(fs *pflag.FlagSet, s *config.Setting) {
	switch s.Type() {
	case "whole number":
		fs.Int(s.Flag, 0, s.Help())
	case "number":
		fs.Float64(s.Flag, 0, s.Help())
	case "true or false":
		fs.Bool(s.Flag, false, s.Help())
	case "list":
		fs.StringSlice(s.Flag, nil, s.Help())
	default:
		fs.String(s.Flag, "", s.Help())
	}
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

// chosen returns the options that repeat the choice of configuration and accounts in another command. The external id is left out.
func (f *runFlags) chosen() string {
	words := f.choice("").config
	for _, name := range []string{"role-arn", "profile", "region"} {
		if f.isSet(name) {
			words = append(words, "--"+name, quoteShell(strings.Join(values(f.all.Lookup(name)), ",")))
		}
	}
	return strings.Join(words, " ")
}

// choice is the choice of the run, for messages that are shown anywhere: its paths are absolute.
func (f *runFlags) choice(dir string) choice {
	absolute := func(path string) string {
		if whole, err := filepath.Abs(path); err == nil && path != "" {
			return whole
		}
		return path
	}
	by := choice{config: []string{"--no-config"}, dir: absolute(dir)}
	if f.file != "" {
		by.config = []string{"-c", quoteShell(absolute(f.file))}
	}
	return by
}

// override applies the flags and variables to a configuration.
func (f *runFlags) override(s *config.Config) error {
	if f.redo && len(f.only) == 0 {
		return usageError{errors.New("--redo replaces rows and needs --only"), "name the targets with --only ACCOUNT or ACCOUNT/REGION"}
	}
	var err error
	if f.isSet("shard") {
		if s.Shard, err = parseShard(f.shard, os.Getenv); err != nil {
			return fmt.Errorf("%s %w", f.origin("shard"), err)
		}
	}
	if f.night != "" {
		if s.Night, err = time.Parse(time.DateOnly, f.night); err != nil {
			return fmt.Errorf("--night %q: write a UTC day, such as 2026-11-20", f.night)
		}
	}
	given := map[string]config.Given{}
	f.all.VisitAll(func(flag *pflag.Flag) {
		if by := f.givenBy[flag.Name]; by != "" {
			given[flag.Name] = config.Given{By: by, Values: values(flag)}
		}
	})
	return s.Override(given)
}

// values returns the items of a list, or the one value of a flag.
func values(flag *pflag.Flag) []string {
	if several, ok := flag.Value.(pflag.SliceValue); ok {
		return several.GetSlice()
	}
	return []string{flag.Value.String()}
}

func checkOnly(only accounts.Selection) error {
	if err := only.Check(); err != nil {
		return fmt.Errorf("--only: %w", err)
	}
	return nil
}
