package demo

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

// Expected describes the rows that a job against the simulated AWS writes: every datapoint of the simulator's function, once, and
// nothing else. Check shares only that function with a run, and reads the files with other libraries than those that wrote them.
type Expected struct {
	AWS        awssim.Config
	Namespace  string
	By         []string // dimension names; empty: InstanceId of the whole fleet
	Beside     []string // dimension names of other rows in the same files, which Check skips
	Metrics    []string
	Statistics map[string]string // by column name
	Start, End time.Time
	Period     time.Duration
	Within     map[string]config.Interval // of accounts that were configured for part of the range only
}

// Findings counts the rows of all files and their differences from the expected ones.
type Findings struct {
	Rows, Files               int
	Missing, Duplicate, Wrong int
}

// Bad reports whether any row is missing, duplicate or wrong.
func (f Findings) Bad() bool { return f.Missing+f.Duplicate+f.Wrong > 0 }

// SeriesKey names one series of one instance by its dimensions.
type SeriesKey struct{ Account, Region, Dimensions, Metric string }

// Check reads every file of rows below dir; inventories are left out.
func (e *Expected) Check(dir string) (Findings, error) {
	var found Findings
	seen := e.series()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && d.Name() == "instances" {
			return fs.SkipDir
		}
		if err != nil || d.IsDir() || !strings.Contains(path, "date=") || strings.HasPrefix(d.Name(), "_") {
			return err
		}
		found.Files++
		if err := e.checkFile(path, seen, &found); err != nil {
			return fmt.Errorf("check %s: %w", path, err)
		}
		return nil
	})
	if err != nil {
		return found, err
	}
	for key, times := range seen {
		for i, hit := range times {
			if !hit && e.Has(key, e.Start.Add(time.Duration(i)*e.Period)) {
				found.Missing++
			}
		}
	}
	return found, nil
}

// series returns every series of the fleet with one mark a timestamp, none set.
func (e *Expected) series() map[SeriesKey][]bool {
	seen := map[SeriesKey][]bool{}
	points := int(e.End.Sub(e.Start) / e.Period)
	for _, account := range e.AWS.Accounts {
		for _, region := range e.AWS.Regions {
			for _, dimensions := range e.instances(account, region) {
				for _, metric := range e.Metrics {
					seen[SeriesKey{account, region, dimensions, metric}] = make([]bool, points)
				}
			}
		}
	}
	return seen
}

// instances returns the dimensions of the whole fleet, or of everything that publishes by e.By.
func (e *Expected) instances(account, region string) (all []string) {
	if len(e.By) > 0 {
		return e.AWS.Published(account, region, e.Namespace, e.By)
	}
	for i := range e.AWS.Instances {
		all = append(all, "InstanceId="+e.AWS.Instance(account, region, i).ID)
	}
	return all
}

// Has reports whether any statistic Has a datapoint there.
func (e *Expected) Has(key SeriesKey, at time.Time) bool {
	for _, statistic := range e.Statistics {
		if _, ok := e.Datapoint(key, statistic, at); ok {
			return true
		}
	}
	return false
}

// Datapoint returns the simulator's value of one statistic at a time, and whether there is one.
func (e *Expected) Datapoint(key SeriesKey, statistic string, at time.Time) (float64, bool) {
	if part, known := e.Within[key.Account]; known && (at.Before(part.Start) || !at.Before(part.End)) {
		return 0, false
	}
	return e.AWS.Datapoint(key.Account, key.Region, e.Namespace, key.Metric, key.Dimensions, statistic, at, e.Period)
}

func (e *Expected) checkFile(path string, seen map[SeriesKey][]bool, found *Findings) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	columns := slices.Sorted(maps.Keys(e.Statistics))
	return ReadRows(file, columns, func(row *Row) { e.checkRow(row, columns, seen, found) })
}

func (e *Expected) checkRow(row *Row, columns []string, seen map[SeriesKey][]bool, found *Findings) {
	found.Rows++
	key := SeriesKey{row.Account, row.Region, row.Dimensions, row.Metric}
	times, known := seen[key]
	if !known && len(e.Beside) > 0 && slices.Contains(e.AWS.Published(key.Account, key.Region, e.Namespace, e.Beside), key.Dimensions) {
		found.Rows--
		return
	}
	point := int(row.At.Sub(e.Start) / e.Period)
	switch {
	case !known, row.At.Before(e.Start), point >= len(times), row.At.Sub(e.Start)%e.Period != 0,
		row.Namespace != e.Namespace,
		!strings.Contains(","+key.Dimensions+",", "="+row.InstanceID+",") && len(e.By) < 2,
		row.Period != int64(e.Period/time.Second):
		found.Wrong++
		return
	case times[point]:
		found.Duplicate++
		return
	}
	times[point] = true
	for i, column := range columns {
		value := row.Values[i]
		want, exists := e.Datapoint(key, e.Statistics[column], row.At)
		if math.IsNaN(value) == exists || exists && value != want {
			found.Wrong++
			return
		}
	}
}
