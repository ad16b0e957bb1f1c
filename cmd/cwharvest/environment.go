package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"cwharvest/pipeline/config"

	"github.com/spf13/pflag"
)

// Flags win over CWHARVEST_* variables, those over harvest.yaml, that over the
// defaults. A variable that is empty counts as not set.
const variablePrefix = "CWHARVEST_"

// notSettings are flags that say what to do this once, not what to harvest: a
// variable that is left over must not do it again.
var notSettings = []string{"redo", "rediscover", "no-retry", "night", "only", "print-config"}

// notOurs are variables of other readers: tests, and commands that a run starts.
var notOurs = []string{"CWHARVEST_PROOFS", "CWHARVEST_EXIT"}

// alternatives say the same thing in several ways: a flag for one of them keeps
// the environment from saying another.
var alternatives = [][]string{{"range", "last", "from", "to"}}

// kinds are what people call the types of flags.
var kinds = map[string]string{"bool": "true or false", "int": "a whole number", "float64": "a number", "duration": "a duration such as 1m30s"}

func variableOf(flag string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// readEnvironment sets the flags that the command line leaves open, and remembers
// where every value comes from. It warns about variables that mean nothing.
func (f *runFlags) readEnvironment(environment []string, warnings io.Writer) (err error) {
	f.givenBy = map[string]string{}
	var given []string // on the command line
	f.all.VisitAll(func(flag *pflag.Flag) {
		if flag.Changed {
			f.givenBy[flag.Name] = "--" + flag.Name
			given = append(given, flag.Name)
		}
	})
	flags := map[string]*pflag.Flag{}
	f.all.VisitAll(func(flag *pflag.Flag) { flags[variableOf(flag.Name)] = flag })
	for _, variable := range slices.Sorted(slices.Values(environment)) {
		name, value, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, variablePrefix) || value == "" || slices.Contains(notOurs, name) {
			continue
		}
		flag := flags[name]
		switch {
		case flag == nil:
			warnOf(warnings, name, flags)
		case slices.Contains(notSettings, flag.Name):
			fmt.Fprintf(warnings, "cwharvest: warning: %s has no effect: --%s is for the command line only\n", name, flag.Name)
		case flag.Changed || shadowed(flag.Name, given):
		default:
			if e := f.all.Set(flag.Name, value); e != nil && err == nil {
				err = fmt.Errorf("%s=%q is not possible: it is --%s, and takes %s", name, masked(flag.Name, value), flag.Name, cmp.Or(kinds[flag.Value.Type()], "text"))
			}
			f.givenBy[flag.Name] = name
		}
	}
	return err
}

// warnOf names the variable that a misspelt one most likely means.
func warnOf(w io.Writer, name string, flags map[string]*pflag.Flag) {
	var known []string
	for variable, flag := range flags {
		if !slices.Contains(notSettings, flag.Name) {
			known = append(known, variable)
		}
	}
	slices.Sort(known)
	tails := make([]string, len(known)) // the prefix is no likeness
	for i := range known {
		tails[i] = strings.TrimPrefix(known[i], variablePrefix)
	}
	hint := "see cwharvest run --help for what there is"
	if near := config.Nearest(strings.TrimPrefix(name, variablePrefix), tails); near != "" {
		hint = "did you mean " + variablePrefix + near + "?"
	}
	fmt.Fprintf(w, "cwharvest: warning: %s is no setting: %s\n", name, hint)
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

// said reports whether the command line or the environment sets a flag.
func (f *runFlags) said(flag string) bool { return f.givenBy[flag] != "" }

// origin is how a value was given: --period or CWHARVEST_PERIOD.
func (f *runFlags) origin(flag string) string { return cmp.Or(f.givenBy[flag], "--"+flag) }

// origins are how several were given, those that were.
func (f *runFlags) origins(flags ...string) string {
	var all []string
	for _, flag := range flags {
		if f.said(flag) {
			all = append(all, f.givenBy[flag])
		}
	}
	return strings.Join(all, ", ")
}

// settings are where flags go in a specification.
var settings = map[string][]string{
	"$.dir": {"dir"}, "$.out": {"out"}, "$.format": {"format"}, "$.compression": {"compression"},
	"$.range": {"range", "last", "from", "to"}, "$.period": {"period"}, "$.settle": {"settle"},
	"$.defaults.role_arn": {"role-arn"}, "$.defaults.external_id": {"external-id"}, "$.defaults.profile": {"profile"},
	"$.defaults.session_duration": {"session-duration"}, "$.defaults.regions": {"region"},
	"$.instances.file": {"instances-from"}, "$.instances.sources": {"instances-from"},
	"$.part_size": {"part-size"}, "$.concurrency": {"concurrency"}, "$.api": {"api"}, "$.protocol": {"protocol"}, "$.strict_period": {"strict-period"},
	"$.max_cost": {"max-cost"}, "$.max_duration": {"max-duration"}, "$.give_up_after": {"give-up-after"},
	"$.allow_unknown_metric": {"allow-unknown-metric"}, "$.insecure_endpoint": {"insecure-endpoint"},
}

// tellOrigins tells the specification what overrides its settings.
func (f *runFlags) tellOrigins(s *config.Config) {
	tell := func(path string, flags ...string) {
		if by := f.origins(flags...); by != "" {
			s.Override(path, by)
		}
	}
	for path, flags := range settings {
		tell(path, flags...)
	}
	for i := range s.Metrics {
		at := fmt.Sprintf("$.metrics[%d]", i)
		if f.said("metric") {
			tell(at+".names", "metric")
			s.Override(at+".namespace", cmp.Or(f.givenBy["namespace"], f.givenBy["metric"]))
			s.Override(at+".dimensions", cmp.Or(f.givenBy["dimension"], f.givenBy["metric"]))
			s.Override(at+".statistics", f.givenBy["metric"])
		}
		tell(at+".statistics", "stat")
	}
}
