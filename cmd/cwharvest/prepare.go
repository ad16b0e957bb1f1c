package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/cmd/cwharvest/harvest"
	"cwharvest/creds"
	"cwharvest/pipeline/config"
)

// prepare returns the resolver of accounts for a command. It reads the files that the configuration names, so that a
// mistake in them costs nothing. The caller closes the resolver's Manager.
func (f *runFlags) prepare(s *config.Config, log *slog.Logger) (*accounts.Resolver, error) {
	warnOfPlainHTTP(s, log)
	if f.ignoreEnvCredentials {
		if err := dropEnvironmentCredentials(); err != nil {
			return nil, err
		}
	}
	getenv := environment()
	warnOfArrays(s.Shard, getenv, log)
	members, err := accounts.ReadFiles(s)
	if err := errors.Join(err, statInstances(s.Instances.File)); err != nil {
		return nil, err
	}
	return &accounts.Resolver{
		Config: s, Members: members, Getenv: getenv, Log: log,
		Manager:  creds.NewManager(creds.Config{EndpointURL: f.endpointURL, Insecure: s.InsecureEndpoint, Log: log}),
		Patience: f.waitForCredentials, Attended: f.attended,
	}, nil
}

// harvestConfig returns the flags and settings in the form that package harvest takes.
func (f *runFlags) harvestConfig(s *config.Config, resolver *accounts.Resolver, log *slog.Logger) harvest.Config {
	return harvest.Config{
		Settings: s, Accounts: resolver, Now: now, Log: log,
		Only: f.only, Redo: f.redo, Rediscover: f.rediscover, NoRetry: f.noRetry,
		CallTimeout: f.callTimeout, DrainTimeout: f.drainTimeout, WaitForCredentials: f.waitForCredentials, WaitForRoles: f.waitForRoles,
		Verdict: func(err error) (int, string) { return verdictOf(err, f.choice(s.Dir)) },
	}
}

// verdictOf returns the exit code of an attempt, and the error with the next step as the status shows it.
func verdictOf(err error, by choice) (exit int, reason string) {
	if err == nil {
		return exitComplete, ""
	}
	return exitCode(err), withHint(err, by)
}

// statInstances reports an instance file that does not exist. The standard input is read later.
func statInstances(path string) error {
	if path == "" || path == "-" {
		return nil
	}
	if _, err := os.Stat(path); err != nil {
		return usageError{error: fmt.Errorf("cannot read instances: %w", err)}
	}
	return nil
}

// environment returns the current values of variables. Loading the SDK's configuration may drop AWS_PROFILE, so they
// are copied before.
func environment() func(string) string {
	values := map[string]string{}
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		values[name] = value
	}
	return func(name string) string { return values[name] }
}

// dropEnvironmentCredentials removes credentials from this process's environment.
func dropEnvironmentCredentials() error {
	for _, name := range creds.EnvironmentCredentials {
		if err := os.Unsetenv(name); err != nil {
			return fmt.Errorf("cannot ignore %s: %w", name, err)
		}
	}
	return nil
}
