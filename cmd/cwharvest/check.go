package main

import (
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cwharvest/pipeline/awssim"
	"cwharvest/pipeline/config"
)

// truth is what a job against the simulated AWS must have written: every
// datapoint of the simulator's function, once, and nothing else. It shares
// nothing with a run but that function, and reads the files with another
// Parquet library than the one that wrote them.
type truth struct {
	aws        awssim.Config
	namespace  string
	by         []string // names of dimensions; none: InstanceId of the whole fleet
	beside     []string // names of dimensions of rows that are another truth's
	metrics    []string
	statistics map[string]string // by column name
	start, end time.Time
	period     time.Duration
	within     map[string]config.Interval // of accounts that were there for a part of it
}

// findings are what a check of the files found.
type findings struct {
	rows, files               int
	missing, duplicate, wrong int
}

func (f findings) bad() bool { return f.missing+f.duplicate+f.wrong > 0 }

// seriesKey names one series of one instance, which its dimensions tell.
type seriesKey struct{ account, region, dimensions, metric string }

// check reads every file of data below dir: those of a date, but for inventories.
func (t *truth) check(dir string) (findings, error) {
	var found findings
	seen := t.expected()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && d.Name() == "instances" {
			return fs.SkipDir
		}
		if err != nil || d.IsDir() || !strings.Contains(path, "date=") || strings.HasPrefix(d.Name(), "_") {
			return err
		}
		found.files++
		if err := t.checkFile(path, seen, &found); err != nil {
			return fmt.Errorf("check %s: %w", path, err)
		}
		return nil
	})
	if err != nil {
		return found, err
	}
	for key, times := range seen {
		for i, hit := range times {
			if !hit && t.has(key, t.start.Add(time.Duration(i)*t.period)) {
				found.missing++
			}
		}
	}
	return found, nil
}

// expected returns an empty tick list for every series of the fleet.
func (t *truth) expected() map[seriesKey][]bool {
	seen := map[seriesKey][]bool{}
	ticks := int(t.end.Sub(t.start) / t.period)
	for _, account := range t.aws.Accounts {
		for _, region := range t.aws.Regions {
			for _, dimensions := range t.instances(account, region) {
				for _, metric := range t.metrics {
					seen[seriesKey{account, region, dimensions, metric}] = make([]bool, ticks)
				}
			}
		}
	}
	return seen
}

// instances are all of the fleet, or those that publish what the truth is about.
func (t *truth) instances(account, region string) (all []string) {
	if len(t.by) > 0 {
		return t.aws.Published(account, region, t.namespace, t.by)
	}
	for i := range t.aws.Instances {
		all = append(all, "InstanceId="+t.aws.Instance(account, region, i).ID)
	}
	return all
}

// has reports whether any statistic has a datapoint there.
func (t *truth) has(key seriesKey, at time.Time) bool {
	for _, statistic := range t.statistics {
		if _, ok := t.datapoint(key, statistic, at); ok {
			return true
		}
	}
	return false
}

func (t *truth) datapoint(key seriesKey, statistic string, at time.Time) (float64, bool) {
	if part, known := t.within[key.account]; known && (at.Before(part.Start) || !at.Before(part.End)) {
		return 0, false
	}
	return awssim.Datapoint(key.account, key.region, t.namespace, key.metric, key.dimensions, statistic, at)
}

func (t *truth) checkFile(path string, seen map[seriesKey][]bool, found *findings) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	columns := slices.Sorted(maps.Keys(t.statistics))
	return readPublished(file, columns, func(row *publishedRow) { t.checkRow(row, columns, seen, found) })
}

func (t *truth) checkRow(row *publishedRow, columns []string, seen map[seriesKey][]bool, found *findings) {
	found.rows++
	key := seriesKey{row.account, row.region, row.dimensions, row.metric}
	times, known := seen[key]
	if !known && len(t.beside) > 0 && slices.Contains(t.aws.Published(key.account, key.region, t.namespace, t.beside), key.dimensions) {
		found.rows--
		return
	}
	tick := int(row.at.Sub(t.start) / t.period)
	switch {
	case !known, row.at.Before(t.start), tick >= len(times), row.at.Sub(t.start)%t.period != 0,
		row.namespace != t.namespace,
		!strings.Contains(","+key.dimensions+",", "="+row.instanceID+",") && len(t.by) < 2,
		row.period != int64(t.period/time.Second):
		found.wrong++
		return
	case times[tick]:
		found.duplicate++
		return
	}
	times[tick] = true
	for i, column := range columns {
		value := row.values[i]
		want, exists := t.datapoint(key, t.statistics[column], row.at)
		if math.IsNaN(value) == exists || exists && value != want {
			found.wrong++
			return
		}
	}
}
