package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cwharvest/pipeline/awssim"

	"github.com/parquet-go/parquet-go"
)

// truth is what a job against the simulated AWS must have written: every
// datapoint of the simulator's function, once, and nothing else. It shares
// nothing with a run but that function, and reads the files with another
// Parquet library than the one that wrote them.
type truth struct {
	aws        awssim.Config
	namespace  string
	metrics    []string
	statistics map[string]string // by column name
	start, end time.Time
	period     time.Duration
}

// findings are what a check of the files found.
type findings struct {
	rows, files               int
	missing, duplicate, wrong int
}

func (f findings) bad() bool { return f.missing+f.duplicate+f.wrong > 0 }

// seriesKey names one series of one instance.
type seriesKey struct{ account, region, instance, metric string }

// check reads every Parquet file below dir.
func (t *truth) check(dir string) (findings, error) {
	var found findings
	seen := t.expected()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".parquet") || strings.HasPrefix(d.Name(), "_") {
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
			for i := range t.aws.Instances {
				id := t.aws.Instance(account, region, i).ID
				for _, metric := range t.metrics {
					seen[seriesKey{account, region, id, metric}] = make([]bool, ticks)
				}
			}
		}
	}
	return seen
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
	return awssim.Datapoint(key.account, key.region, t.namespace, key.metric, "InstanceId="+key.instance, statistic, at)
}

func (t *truth) checkFile(path string, seen map[seriesKey][]bool, found *findings) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	reader := parquet.NewReader(file)
	defer reader.Close()
	columns := map[string]int{}
	for i, name := range reader.Schema().Columns() {
		columns[name[0]] = i
	}
	for statistic := range t.statistics {
		if _, ok := columns[statistic]; !ok {
			return fmt.Errorf("no column %q", statistic)
		}
	}
	rows := make([]parquet.Row, 1024)
	for {
		n, err := reader.ReadRows(rows)
		for _, row := range rows[:n] {
			t.checkRow(row, columns, seen, found)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (t *truth) checkRow(row parquet.Row, columns map[string]int, seen map[seriesKey][]bool, found *findings) {
	found.rows++
	text := func(name string) string { return string(row[columns[name]].ByteArray()) }
	key := seriesKey{text("account"), text("region"), text("instance_id"), text("metric")}
	at := time.UnixMilli(row[columns["timestamp"]].Int64()).UTC()
	times, known := seen[key]
	tick := int(at.Sub(t.start) / t.period)
	switch {
	case !known, at.Before(t.start), tick >= len(times), at.Sub(t.start)%t.period != 0,
		text("namespace") != t.namespace,
		text("dimensions") != "InstanceId="+key.instance,
		row[columns["period_s"]].Int64() != int64(t.period/time.Second):
		found.wrong++
		return
	case times[tick]:
		found.duplicate++
		return
	}
	times[tick] = true
	for column, statistic := range t.statistics {
		value := row[columns[column]]
		want, exists := t.datapoint(key, statistic, at)
		if value.IsNull() == exists || exists && value.Double() != want {
			found.wrong++
			return
		}
	}
}
