package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/pipeline/config"

	"github.com/spf13/pflag"
)

// notSettings lists flags that apply to one run. A variable must not repeat them in later runs.
var notSettings = []string{"redo", "rediscover", "no-retry", "night", "only", "print-config"}

// notOurs lists variables that tests and on_finish commands read.
var notOurs = []string{"CWHARVEST_PROOFS", "CWHARVEST_EXIT"}

// alternatives lists groups of flags of which one excludes the others: if the command line sets one, variables cannot
// set another.
var alternatives = [][]string{{"range", "last", "from", "to"}}

// kinds describes the types of flags in messages.
var kinds = map[string]string{"bool": "true or false", "int": "a whole number", "float64": "a number", "duration": "a duration such as 1m30s"}

// readEnvironment sets flags that the command line does not set, and records the origin of every value. Flags override
// variables, which override harvest.yaml, which overrides the defaults; an empty variable counts as not set. It warns
// about unknown variables.
func (f *runFlags) readEnvironment(environment []string, warnings io.Writer) (err error) {
	f.givenBy = map[string]string{}
	var given []string // flags on the command line
	f.all.VisitAll(func(flag *pflag.Flag) {
		if flag.Changed {
			f.givenBy[flag.Name] = "--" + flag.Name
			given = append(given, flag.Name)
		}
	})
	flags := map[string]*pflag.Flag{}
	f.all.VisitAll(func(flag *pflag.Flag) { flags[config.VariableOf(flag.Name)] = flag })
	for _, variable := range slices.Sorted(slices.Values(environment)) {
		name, value, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, config.VariablePrefix) || value == "" || slices.Contains(notOurs, name) {
			continue
		}
		flag := flags[name]
		switch {
		case flag == nil:
			warnOfUnknown(warnings, name, flags)
		case slices.Contains(notSettings, flag.Name):
			fmt.Fprintf(warnings, "cwharvest: warning: %s has no effect: --%s is for the command line only\n", name, flag.Name)
		case flag.Changed || shadowed(flag.Name, given):
		default:
			if e := f.all.Set(flag.Name, value); e != nil && err == nil {
				err = fmt.Errorf("%s=%q is not possible: it sets --%s, which takes %s", name, masked(flag.Name, value), flag.Name, cmp.Or(kinds[flag.Value.Type()], "text"))
			}
			f.givenBy[flag.Name] = name
		}
	}
	return err
}

// warnOfUnknown suggests the variable that a misspelt one most likely means.
func warnOfUnknown(w io.Writer, name string, flags map[string]*pflag.Flag) {
	var known []string
	for variable, flag := range flags {
		if !slices.Contains(notSettings, flag.Name) {
			known = append(known, variable)
		}
	}
	slices.Sort(known)
	tails := make([]string, len(known)) // the common prefix says nothing about similarity
	for i := range known {
		tails[i] = strings.TrimPrefix(known[i], config.VariablePrefix)
	}
	hint := "cwharvest run --help lists the settings"
	if near := config.Nearest(strings.TrimPrefix(name, config.VariablePrefix), tails); near != "" {
		hint = "did you mean " + config.VariablePrefix + near + "?"
	}
	fmt.Fprintf(w, "cwharvest: warning: unknown variable %s; %s\n", name, hint)
}

func shadowed(flag string, given []string) bool {
	return slices.ContainsFunc(alternatives, func(ways []string) bool {
		return slices.Contains(ways, flag) && slices.ContainsFunc(ways, func(way string) bool {
			return slices.Contains(given, way) && !(flag == "from" && way == "to") && !(flag == "to" && way == "from")
		})
	})
}

func masked(flag, value string) string {
	if flag == "external-id" {
		return "..."
	}
	return value
}

// isSet reports whether the command line or the environment sets a flag.
func (f *runFlags) isSet(flag string) bool { return f.givenBy[flag] != "" }

// origin returns the name by which a flag was given: --period or CWHARVEST_PERIOD.
func (f *runFlags) origin(flag string) string { return cmp.Or(f.givenBy[flag], "--"+flag) }

// checkEndpoints refuses addresses in flags and the environment that would send signed requests over plain http to
// another machine. Those in profiles are checked when the accounts are known.
func (f *runFlags) checkEndpoints(s *config.Config) error {
	err := accounts.CheckEndpoint(s.InsecureEndpoint, f.origin("endpoint-url"), f.endpointURL)
	if err != nil || os.Getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") == "true" {
		return err
	}
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_SSO", "AWS_ENDPOINT_URL_SSO_OIDC", "AWS_ENDPOINT_URL_SIGNIN",
		"AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL_CLOUDWATCH", "AWS_ENDPOINT_URL_ORGANIZATIONS", "AWS_ENDPOINT_URL_S3"} {
		err = errors.Join(err, accounts.CheckEndpoint(s.InsecureEndpoint, name, os.Getenv(name)))
	}
	return err
}

func warnOfPlainHTTP(s *config.Config, log *slog.Logger) {
	if s.InsecureEndpoint {
		log.Warn("insecure_endpoint: plain http may go to other machines; anybody on the way can read key ids, signatures, session tokens, instances and metrics")
	}
}
