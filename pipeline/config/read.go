package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxConfigSize bounds harvest.yaml, in bytes. A longer file is most likely not
// a configuration.
const maxConfigSize = 4 << 20

var errTooLong = errors.New("too long")

// ReadFile reads a configuration file. Relative paths in the file are relative
// to its directory. The result is not validated yet.
func ReadFile(path string) (Config, error) {
	data, err := readLimited(path)
	if errors.Is(err, errTooLong) {
		return Config{}, invalid("cannot read configuration: %s is longer than %d MiB", path, maxConfigSize>>20).
			withHint("name a harvest.yaml")
	}
	if err != nil {
		e := invalid("cannot read configuration: %v", err)
		if errors.Is(err, fs.ErrNotExist) {
			e.Remedy, e.File = CreateFile, path
			return Config{}, e
		}
		return Config{}, e.withHint("name a file that this user can read")
	}
	c, err := Parse(path, data, os.LookupEnv)
	if err != nil {
		return c, err
	}
	dir := filepath.Dir(path)
	paths := []*string{&c.Dir, &c.Out, &c.Instances.File}
	for i := range c.Accounts {
		paths = append(paths, &c.Accounts[i].File)
	}
	for _, p := range paths {
		if *p != "" && *p != "-" && !filepath.IsAbs(*p) && !strings.Contains(*p, "://") {
			*p = filepath.Join(dir, *p)
		}
	}
	return c, nil
}

func readLimited(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxConfigSize+1))
	if err == nil && len(data) > maxConfigSize {
		err = errTooLong
	}
	return data, errors.Join(err, file.Close())
}

// Given is the value of a flag or of its variable.
type Given struct {
	By     string   // --period or CWHARVEST_PERIOD
	Values []string // one, except for a list
}

func (g Given) value() string { return strings.Join(g.Values, ",") }

// Override applies flags and variables. given holds those that are set, by flag.
// Errors and Print name them. The first value that cannot be read is an error.
func (c *Config) Override(given map[string]Given) error {
	for i := range settings {
		s := &settings[i]
		g, isGiven := given[s.Flag]
		if s.field == nil || !isGiven || s.kind != list && g.value() == "" {
			continue
		}
		if err := s.kind.set(s.field(c), g.Values); err != nil {
			return wrap(g.By, err)
		}
		c.overridden("$."+s.Key, g.By)
	}
	c.overrideInstances(given["instances-from"])
	c.overrideMetrics(given)
	return c.overrideRange(given)
}

func (c *Config) overrideInstances(file Given) {
	if file.value() == "" {
		return
	}
	c.Instances.File, c.Instances.Sources = file.value(), []string{"file"}
	c.overridden("$.instances.file", file.By)
	c.overridden("$.instances.sources", file.By)
}

// overrideMetrics replaces all metrics by those of --metric, and the statistics of
// all metrics by those of --stat.
func (c *Config) overrideMetrics(given map[string]Given) {
	if metric, set := given["metric"]; set {
		namespace, dimensions := given["namespace"], given["dimension"]
		c.Metrics = []Metric{{Namespace: cmp.Or(namespace.value(), "AWS/EC2"), Names: metric.Values, Statistics: []string{"Average", "Maximum"}, Dimensions: dimensions.Values}}
		c.overridden("$.metrics[0].names", metric.By)
		c.overridden("$.metrics[0].statistics", metric.By)
		c.overridden("$.metrics[0].namespace", cmp.Or(namespace.By, metric.By))
		c.overridden("$.metrics[0].dimensions", cmp.Or(dimensions.By, metric.By))
	}
	if statistics, set := given["stat"]; set {
		for i := range c.Metrics {
			c.Metrics[i].Statistics = statistics.Values
			c.overridden(fmt.Sprintf("$.metrics[%d].statistics", i), statistics.By)
		}
	}
}

// overrideRange reads --range, or --last, or --from and --to.
func (c *Config) overrideRange(given map[string]Given) (err error) {
	var by, ends []string
	for _, flag := range []string{"range", "last", "from", "to"} {
		if g, set := given[flag]; set {
			by = append(by, g.By)
			if flag == "from" || flag == "to" {
				ends = append(ends, g.By)
			}
		}
	}
	names := strings.Join(by, ", ")
	word, last, from, to := given["range"].value(), given["last"].value(), given["from"].value(), given["to"].value()
	switch {
	case word != "" && last+from+to != "", last != "" && from+to != "":
		return invalid("--range, --last and --from with --to exclude each other: use one of %s", names)
	case (from == "") != (to == ""):
		return invalid("--from and --to go together, but only %s is given", strings.Join(ends, ", "))
	case word != "":
		c.Range, err = ParseRange(word)
	case last != "" || from != "":
		c.Range, err = NewRange(last, from, to)
	}
	if err != nil {
		return wrap(names, err)
	}
	if names != "" {
		c.overridden("$.range", names)
	}
	return nil
}
