package config

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store/record"
)

// longestJob is how long a job may last. Data that become too old during that
// time count as too old when the plan is made.
const longestJob = 12 * time.Hour

// jobMargin returns the part of longestJob that is allowed for at a step of
// CloudWatch's retention: less for data that are kept for hours only.
func jobMargin(r cloudwatch.Retention) time.Duration { return min(longestJob, r.After/6) }

// Freeze returns the plan of a job that harvests an interval, as of now. It rounds
// start and end down to whole periods. The windows of every series cover the
// resulting range exactly once.
func (c *Config) Freeze(i Interval, now time.Time) (record.Plan, error) {
	if now.Sub(i.Start) > cloudwatch.Oldest-longestJob {
		return record.Plan{}, c.errorAt("$.range", "CloudWatch keeps nothing older than 455 days").
			withHint("begin after %s", now.Add(longestJob-cloudwatch.Oldest).Format(time.DateOnly))
	}
	spans := c.spans(i, now)
	if len(spans) == 0 {
		return record.Plan{}, c.errorAt("$.range", "%s contains no whole period of %s", i, formatDuration(c.Period)).
			withHint("choose a longer range or a shorter period")
	}
	out := c.Out
	if out == "" {
		out = filepath.Join(c.Dir, "data")
	}
	if !strings.Contains(out, "://") {
		var err error
		if out, err = filepath.Abs(out); err != nil {
			return record.Plan{}, fmt.Errorf("cannot find the output directory %s: %w", out, err)
		}
	}
	if c.StrictPeriod {
		for _, w := range spans {
			if w.Period != c.periodSeconds() {
				return record.Plan{}, c.errorAt("$.range", "CloudWatch keeps %s only by %s, but strict_period wants %s",
					Interval{time.Unix(w.Start, 0).UTC(), time.Unix(w.End, 0).UTC()},
					formatDuration(time.Duration(w.Period)*time.Second), formatDuration(c.Period)).
					withHint("begin at %s, or leave strict_period out", time.Unix(w.End, 0).UTC().Format(time.RFC3339))
			}
		}
	}
	plan, err := json.Marshal(c.planSettings())
	if err != nil {
		return record.Plan{}, fmt.Errorf("cannot encode the settings of the plan: %w", err)
	}
	return record.Plan{
		Name: c.Job, Created: now.UTC(), Out: out, Settings: plan, Shard: c.Shard,
		Start: time.Unix(spans[0].Start, 0).UTC(), End: time.Unix(spans[len(spans)-1].End, 0).UTC(),
		Format: c.Format, Compression: c.Compression, PartSize: c.PartSize,
		Series: c.series(spans),
	}, nil
}

// Frozen returns the configuration that lists and fetches what a job's plan says. The
// rest, such as accounts, concurrency and budgets, stays as it is.
func (c *Config) Frozen(plan *record.Plan) (*Config, error) {
	var was planSettings
	if err := json.Unmarshal(plan.Settings, &was); err != nil {
		return nil, fmt.Errorf("cannot read the settings of the plan: %w", err)
	}
	f := *c
	f.API, f.Metrics = was.API, nil
	f.Instances = Instances{File: c.Instances.File, Tags: was.Tags, States: was.States, Monitoring: was.Monitoring}
	for i := range plan.Series {
		s := &plan.Series[i]
		f.Metrics = append(f.Metrics, Metric{Namespace: s.Namespace, Names: []string{s.Metric}, Statistics: s.Statistics, Dimensions: append([]string{}, s.Dimensions...), Unit: s.Unit})
	}
	if was.SourcesNamed || !slices.Equal(f.sources(), was.Sources) {
		f.Instances.Sources = was.Sources
	}
	switch usesFile := slices.Contains(was.Sources, "file"); {
	case !usesFile:
		f.Instances.File = ""
	case f.Instances.File == "":
		return nil, c.errorAt("$.instances.file", "job %s reads its instances from a file, and the configuration names none", plan.ID).
			withHint("name the file until the job is finished")
	}
	return &f, nil
}

// spans splits an interval at the ages where CloudWatch changes to a coarser
// period.
func (c *Config) spans(i Interval, now time.Time) []record.Window {
	period := c.periodSeconds()
	start, end := i.Start.Unix(), i.End.Unix()
	var spans []record.Window
	for n, r := range cloudwatch.Retentions {
		coarse := roundUp(period, r.Period)
		finer := period
		if n+1 < len(cloudwatch.Retentions) {
			finer = roundUp(period, cloudwatch.Retentions[n+1].Period)
		}
		boundary := roundUp(now.Add(jobMargin(r)-r.After).Unix(), lcm(coarse, finer))
		if start >= boundary || coarse == period {
			continue
		}
		from := start - start%coarse
		to := min(boundary, end-end%coarse)
		if from < to {
			spans = append(spans, record.Window{Start: from, End: to, Period: coarse})
		}
		start = max(to, from)
		if to < boundary {
			return spans
		}
	}
	from, to := start-start%c.gridSeconds(), end-end%c.gridSeconds()
	if from < to {
		spans = append(spans, record.Window{Start: from, End: to, Period: period})
	}
	return spans
}

func (c *Config) periodSeconds() int64 { return int64(c.Period / time.Second) }

// gridSeconds returns the seconds at whose multiples windows begin and end. CloudWatch
// rounds the start of a request down to a whole minute (API reference of GetMetricData,
// StartTime).
func (c *Config) gridSeconds() int64 { return max(c.periodSeconds(), 60) }

func roundUp(n, step int64) int64 { return (n + step - 1) / step * step }

func lcm(a, b int64) int64 {
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	return a / x * b
}

// series returns one series per metric, with its statistics in column order and
// its windows.
func (c *Config) series(spans []record.Window) []record.Series {
	var all []record.Series
	for _, m := range c.Metrics {
		for _, name := range m.Names {
			series := record.Series{
				Namespace: m.Namespace, Metric: name, Dimensions: m.DimensionNames(), Statistics: cloudwatch.SortStatistics(m.Statistics), Unit: m.Unit,
				Windows: windows(spans, c.timestampsPerCall(len(m.Statistics))),
			}
			each, worst := c.cost(m.Statistics)
			series.CostUSD, series.WorstUSD = each*float64(len(series.Windows)), worst*float64(len(series.Windows))
			all = append(all, series)
		}
	}
	slices.SortFunc(all, func(a, b record.Series) int {
		if order := strings.Compare(a.Namespace, b.Namespace); order != 0 {
			return order
		}
		if order := strings.Compare(a.Metric, b.Metric); order != 0 {
			return order
		}
		return slices.Compare(a.Dimensions, b.Dimensions)
	})
	return all
}

// timestampsPerCall returns the largest number of timestamps in one response.
func (c *Config) timestampsPerCall(statistics int) int64 {
	if c.API == MetricStatistics {
		return cloudwatch.MaxStatisticsDatapoints
	}
	return int64(cloudwatch.MaxDatapoints / statistics)
}

// cost returns the price in USD of one series-window, as AWS documents it and in
// the worst case.
func (c *Config) cost(statistics []string) (usd, worst float64) {
	if c.API == MetricStatistics {
		usd = c.Prices.MetricStatistics(len(cloudwatch.StatisticsCalls(statistics)))
		return usd, usd
	}
	return c.Prices.MetricData(len(statistics))
}

// windows splits spans into windows of at most so many timestamps: as few as
// possible, and about equally long.
func windows(spans []record.Window, most int64) []record.Window {
	var all []record.Window
	for _, span := range spans {
		points := int64(span.Points())
		most = min(most, most*span.Period/60*60/span.Period) // whole minutes
		n := (points + most - 1) / most
		each := roundUp((points+n-1)/n*span.Period, 60)
		for from := span.Start; from < span.End; from += each {
			all = append(all, record.Window{Start: from, End: min(from+each, span.End), Period: span.Period})
		}
	}
	return all
}

// Replans returns replacements for the windows of a job that CloudWatch no longer
// keeps at their period: windows with a coarser period, or none.
func (c *Config) Replans(job *record.Plan, now time.Time) []record.Replan {
	var all []record.Replan
	seen := map[record.Window]bool{}
	for i := range job.Series {
		for _, w := range job.Series[i].Windows {
			if seen[w] || w.Gone() {
				continue
			}
			seen[w] = true
			if left := c.available(w, now); left != w {
				all = append(all, record.Replan{Window: w, Now: left, At: now.UTC()})
			}
		}
	}
	return all
}

// replanMargin is the minimum time that a run has before its windows age out. A
// window that ages out during the run fails, and the next run replans it.
const replanMargin = time.Hour

// available returns the part of a window that CloudWatch still keeps, now and for
// the time of replanMargin.
func (c *Config) available(w record.Window, now time.Time) record.Window {
	now = now.Add(min(replanMargin, time.Duration(w.Period)*time.Minute))
	age := now.Sub(time.Unix(w.Start, 0))
	gone := record.Window{Start: w.Start, End: w.Start, Period: w.Period}
	if age > cloudwatch.Oldest {
		return gone
	}
	for _, r := range cloudwatch.Retentions {
		if age <= r.After || w.Period%r.Period == 0 {
			continue
		}
		coarse := roundUp(w.Period, r.Period)
		coarser := record.Window{Start: roundUp(w.Start, coarse), End: w.End - w.End%coarse, Period: coarse}
		if c.StrictPeriod || coarser.Gone() {
			return gone
		}
		return coarser
	}
	return w
}
