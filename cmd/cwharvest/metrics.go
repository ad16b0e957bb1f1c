package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"cwharvest/store/record"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// collector turns the status of a harvest directory into metrics at each scrape. It reads the files that `cwharvest
// status` reads, so a run cannot delay it. Labels have a fixed set of values: accounts, regions and instances are not
// labels.
type collector struct {
	read func() (*record.Status, error)
}

var states = []string{"running", "waiting", "stopped", "crashed", "unresponsive", "finished", "finished_with_failures"}

func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("cwharvest_"+name, help, labels, nil)
}

var (
	descBuild     = metric("build_info", "The program, always 1.", "version", "goversion")
	descJob       = metric("job_info", "The job shown and its time range, always 1.", "job_id", "name", "shard", "start", "end")
	descState     = metric("job_state", "1 for the state the job is in.", "state")
	descInstances = metric("instances", "Instances by outcome.", "outcome")
	descTargets   = metric("targets", "Targets (account and region) by state.", "state")
	descTolerated = metric("targets_tolerated", "Denied targets that are tolerated.")
	descRows      = metric("rows_total", "Rows committed.")
	descPoints    = metric("datapoints_total", "Datapoints committed.")
	descEstimated = metric("estimated_datapoints", "Datapoints as quotas count them, grid points times statistics: planned and done.", "kind")
	descSent      = metric("requests_total", "Requests sent, including repeated and throttled ones.")
	descRepeated  = metric("requests_repeated_total", "Requests sent again.")
	descThrottled = metric("requests_throttled_total", "Requests that AWS throttled.")
	descInFlight  = metric("requests_in_flight", "Requests in flight.")
	descAssumed   = metric("sessions_assumed_total", "Sessions assumed.")
	descRefused   = metric("sessions_refused_total", "Calls refused because their session had expired.")
	descWaits     = metric("session_waits_total", "Calls that waited for the refresh of a session.")
	descOpen      = metric("sessions_open", "Sessions open.")
	descRefresh   = metric("session_next_refresh_timestamp_seconds", "When the next session is refreshed.")
	descFallbacks = metric("fallbacks_in_use", "Fallback credentials in use.")
	descCost      = metric("cost_usd", "Cost of the job in USD: spent and planned, as billed and at worst.", "kind")
	descETA       = metric("eta_seconds", "Remaining time at the speed of this attempt; absent while unknown.")
	descParts     = metric("parts", "Parts published.")
	descAttempts  = metric("attempts", "Attempts at the job.")
	descOpenJobs  = metric("open_nights", "Other jobs that are not finished.")
	descHeld      = metric("writing_held_up", "1 while a full disk or the output place stops writing.")
	descWritten   = metric("status_timestamp_seconds", "When the status was written.")
)

func (collector) Describe(chan<- *prometheus.Desc) {} // an unchecked collector: without a job it has fewer metrics

func (c collector) Collect(to chan<- prometheus.Metric) {
	e := emitter{to}
	e.gauge(descBuild, 1, readBuild().String(), runtime.Version())
	s, err := c.read()
	if errors.Is(err, record.ErrNoJob) {
		return
	}
	if err != nil {
		to <- prometheus.NewInvalidMetric(descJob, err)
		return
	}
	e.job(s)
	e.progress(s)
	e.access(s)
}

type emitter struct{ to chan<- prometheus.Metric }

func (e emitter) gauge(d *prometheus.Desc, value float64, labels ...string) {
	e.to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (e emitter) counter(d *prometheus.Desc, value int64) {
	e.to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value))
}

func (e emitter) job(s *record.Status) {
	e.gauge(descJob, 1, s.Job, s.Name, s.Shard, s.Range.Start.UTC().Format(time.RFC3339), s.Range.End.UTC().Format(time.RFC3339))
	for _, state := range states {
		e.gauge(descState, oneIf(s.State == state), state)
	}
	e.gauge(descParts, float64(s.Parts))
	e.gauge(descAttempts, float64(len(s.Attempts)))
	e.gauge(descOpenJobs, float64(len(s.OpenNights)))
	e.gauge(descHeld, oneIf(s.Trouble != nil))
	e.gauge(descWritten, seconds(s.Written))
	for kind, usd := range map[string]float64{
		"spent": s.CostUSD.Spent, "planned": s.CostUSD.Planned,
		"worst_case": s.CostUSD.WorstCase, "worst_planned": s.CostUSD.WorstPlanned,
	} {
		e.gauge(descCost, usd, kind)
	}
	if s.ETASeconds != nil {
		e.gauge(descETA, *s.ETASeconds)
	}
}

func (e emitter) progress(s *record.Status) {
	i, t := s.Instances, s.Targets
	for outcome, n := range map[string]int64{"done": i.Done, "empty": i.Empty, "failed": i.Failed, "denied": i.Denied, "pending": i.Pending} {
		e.gauge(descInstances, float64(n), outcome)
	}
	for state, n := range map[string]int64{"done": t.Done, "active": t.Active, "pending": t.Pending, "waiting": t.Waiting, "denied": t.Denied} {
		e.gauge(descTargets, float64(n), state)
	}
	e.gauge(descTolerated, float64(t.Tolerated))
	e.counter(descRows, s.Rows)
	e.counter(descPoints, s.Datapoints)
	e.gauge(descEstimated, float64(s.Estimated.Planned), "planned")
	e.gauge(descEstimated, float64(s.Estimated.Done), "done")
}

func (e emitter) access(s *record.Status) {
	e.counter(descSent, s.Requests.Sent)
	e.counter(descRepeated, s.Requests.Repeated)
	e.counter(descThrottled, s.Requests.Throttled)
	e.gauge(descInFlight, float64(s.InFlight))
	e.counter(descAssumed, s.Sessions.Assumed)
	e.counter(descRefused, s.Sessions.RefusedExpired)
	e.counter(descWaits, s.Sessions.Waits)
	e.gauge(descOpen, float64(s.Sessions.Open))
	e.gauge(descFallbacks, float64(s.Sessions.Fallbacks))
	if !s.Sessions.NextRefresh.IsZero() {
		e.gauge(descRefresh, seconds(s.Sessions.NextRefresh))
	}
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// metricsFile is a file of metrics for node_exporter's textfile collector, replaced by rename. It has no metrics of the Go
// runtime or the process: node_exporter uses these names itself and would refuse the file.
type metricsFile struct {
	path     string
	registry *prometheus.Registry
	exit     prometheus.Gauge
	end      prometheus.Gauge
	log      *slog.Logger
}

const writeMetricsEvery = 15 * time.Second

// newMetricsFile keeps the end of the previous run in the file until this one has ended.
func newMetricsFile(path string, log *slog.Logger) *metricsFile {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "cwharvest_" + name, Help: help})
	}
	m := &metricsFile{
		path: path, registry: prometheus.NewRegistry(), log: log,
		exit: gauge("last_exit_code", "Exit code of the last finished run."),
		end:  gauge("last_end_timestamp_seconds", "When the last run ended."),
	}
	if code, end, ok := readLast(path); ok {
		m.ended(code, end)
	}
	return m
}

func (m *metricsFile) ended(code, end float64) {
	m.exit.Set(code)
	m.end.Set(end)
	for _, g := range []prometheus.Gauge{m.exit, m.end} {
		if err := m.registry.Register(g); err != nil && !errors.As(err, &prometheus.AlreadyRegisteredError{}) {
			m.log.Warn("cannot register the metrics of the last run", "error", err)
		}
	}
}

// readLast reads the end of the last run from an existing file.
func readLast(path string) (code, end float64, ok bool) {
	file, err := os.Open(path)
	if err != nil {
		return 0, 0, false
	}
	defer file.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(file)
	if err != nil {
		return 0, 0, false
	}
	exit, at := families["cwharvest_last_exit_code"], families["cwharvest_last_end_timestamp_seconds"]
	if len(exit.GetMetric()) == 0 || len(at.GetMetric()) == 0 {
		return 0, 0, false
	}
	return exit.Metric[0].GetGauge().GetValue(), at.Metric[0].GetGauge().GetValue(), true
}

func (m *metricsFile) write() error {
	err := prometheus.WriteToTextfile(m.path, m.registry)
	var file *fs.PathError
	if errors.As(err, &file) { // the path is that of a temporary file
		err = &fs.PathError{Op: "write in", Path: filepath.Dir(m.path), Err: file.Err}
	}
	if err != nil {
		return fmt.Errorf("--metrics-file: %w", err)
	}
	return nil
}

// writeUntil writes the file at intervals until end is closed. A failure must not end the run.
func (m *metricsFile) writeUntil(end <-chan struct{}) {
	tick := time.NewTicker(writeMetricsEvery)
	defer tick.Stop()
	for {
		if err := m.write(); err != nil {
			m.log.Warn("cannot write metrics", "error", err)
		}
		select {
		case <-tick.C:
		case <-end:
			return
		}
	}
}

// finish writes the file for the last time.
func (m *metricsFile) finish(code int) {
	m.ended(float64(code), seconds(time.Now()))
	if err := m.write(); err != nil {
		m.log.Warn("cannot write metrics", "error", err)
	}
}
