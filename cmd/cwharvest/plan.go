package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"cwharvest/cmd/cwharvest/harvest"
	"cwharvest/cmd/cwharvest/human"
	"cwharvest/pipeline"
	"cwharvest/pipeline/config"
	"cwharvest/store/record"

	"github.com/spf13/cobra"
)

func newPlan() *cobra.Command {
	f := &runFlags{}
	var asJSON *bool
	c := &cobra.Command{
		Use:   "plan",
		Short: "Show the requests, cost and duration of the next job, without starting it",
		Long: `Lists the instances of every target and shows what the job that is due would do: requests,
datapoints, cost, duration at the speed of the quotas, ranges that CloudWatch keeps only
at a coarser period, and targets that cannot be reached. It makes discovery calls only
(DescribeInstances and DescribeRegions are free, a thousand ListMetrics cost one cent) and
creates nothing. Exit code 4 if credentials need a person, 3 if a target that is not tolerated cannot be reached or a metric
cannot be listed, 5 if the job would cost more than max_cost.`,
		Example: "  cwharvest plan -c harvest.yaml",
		Args:    usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := f.configuration(c)
			if err != nil {
				return err
			}
			f.waitForCredentials, f.attended = min(f.waitForCredentials, 30*time.Second), true
			log := newLogger(c.ErrOrStderr(), f.log.verbose)
			resolver, err := f.prepare(s, log)
			if err != nil {
				return err
			}
			defer resolver.Manager.Close()
			report, err := plan(c.Context(), f.harvestConfig(s, resolver, log))
			if err != nil {
				return err
			}
			report.status = choice{}.look("status", s.Dir)
			return show(c, report, *asJSON)
		},
	}
	f.register(c, func(flag string) bool { return !slices.Contains(notPlanFlags, flag) })
	asJSON = jsonFlag(c)
	return c
}

// planReport is the output of `plan --json`. Version counts incompatible changes.
type planReport struct {
	Version int                `json:"version"`
	Job     string             `json:"job"`
	Shard   string             `json:"shard,omitempty"`
	OpenJob string             `json:"open_job,omitempty"` // a run continues it first
	status  string             // the command that shows the open job
	Due     bool               `json:"due"`
	Next    time.Time          `json:"next,omitzero"` // when the next job is due; zero if one is due now
	Changes []string           `json:"changes"`       // of the configuration since the last job, if none is due; they apply from the next one
	Range   record.StatusRange `json:"range,omitzero"`
	API     config.API         `json:"api"`

	Targets     int     `json:"targets"`
	OutOfReach  int     `json:"out_of_reach"` // of these
	Instances   int64   `json:"instances"`
	Series      int64   `json:"series"`
	Datapoints  int64   `json:"datapoints"` // estimated, as quotas count them
	Rows        int64   `json:"rows"`       // at most
	Requests    int64   `json:"requests"`
	CostUSD     float64 `json:"cost_usd"`
	WorstUSD    float64 `json:"worst_usd"`
	MaxCostUSD  float64 `json:"max_cost_usd"`
	Discovery   int64   `json:"discovery_calls"` // charged now, and again by the run
	DiscoverUSD float64 `json:"discovery_usd"`
	Seconds     float64 `json:"seconds_at_quota"`
	OutputBytes int64   `json:"output_bytes"` // estimated

	AskableUntil time.Time       `json:"askable_until,omitzero"`
	Degraded     []degraded      `json:"degraded"`
	Sessions     []string        `json:"sessions_ending"` // warnings about keys: they end before the job, or a wrong account is declared for them
	Details      []plannedTarget `json:"target_details"`
}

// degraded is a part of the range that CloudWatch keeps only at a coarser period.
type degraded struct {
	Start  time.Time `json:"start"`
	End    time.Time `json:"end"`
	Period int64     `json:"period_s"`
}

type plannedTarget struct {
	record.Target
	Failure   *record.Failure `json:"failure,omitempty"`
	Tolerated bool            `json:"tolerated,omitempty"`
	Instances int64           `json:"instances"`
	Requests  int64           `json:"requests"`
	CostUSD   float64         `json:"cost_usd"`
	Seconds   float64         `json:"seconds_at_quota"`

	FailedMetrics []record.MetricFailure `json:"failed_metrics,omitempty"` // their instances cannot be listed
}

// needsPerson reports that a run would wait for credentials, and end with exit code 4.
func (t plannedTarget) needsPerson() bool {
	return t.Failure != nil && !t.Tolerated && t.Failure.Class == "credentials"
}

// plan reports what a run with this configuration would do.
func plan(ctx context.Context, cfg harvest.Config) (*planReport, error) {
	s := cfg.Settings
	jobs, err := record.ReadJobs(s.Dir)
	if err != nil {
		return nil, err
	}
	if err := s.Shard.CheckJobs(s.Dir, jobs); err != nil {
		return nil, err
	}
	report := &planReport{
		Version: 1, Job: s.Job, Shard: s.Shard.String(), API: s.API, MaxCostUSD: s.MaxCost,
		Changes: []string{}, Degraded: []degraded{}, Sessions: []string{}, Details: []plannedTarget{},
	}
	for _, j := range jobs {
		if j.State == record.Unfinished {
			report.OpenJob = j.Plan.ID
		}
	}
	frozen, next, err := cfg.Due(jobs)
	if err != nil {
		return nil, err
	}
	if report.Next = next; frozen == nil {
		if n := len(jobs); n > 0 && report.OpenJob == "" {
			report.Changes = append(report.Changes, cfg.ChangesSince(&jobs[n-1])...)
		}
		return report, nil
	}
	report.Due, report.Next = true, time.Time{}
	report.Range = record.StatusRange{Start: frozen.Start, End: frozen.End}
	report.windows(frozen, s.Period)
	return report, report.survey(ctx, cfg, frozen)
}

// survey adds the instances of all targets, and the requests, cost and time to fetch them.
func (r *planReport) survey(ctx context.Context, cfg harvest.Config, frozen *record.Plan) error {
	set, err := cfg.Accounts.Resolve(ctx)
	if err != nil {
		return err
	}
	targets := set.Targets()
	listed, err := cfg.ReadInstances(targets)
	if err != nil {
		return err
	}
	surveys, err := pipeline.SurveyTargets(ctx, cfg.Pipeline(set, listed), frozen.Series, targets)
	if err != nil {
		return err
	}
	for i := range surveys {
		r.add(&surveys[i], cfg.Settings)
	}
	r.DiscoverUSD = cfg.Settings.Prices.Listing(r.Discovery)
	r.CostUSD += r.DiscoverUSD
	r.WorstUSD += r.DiscoverUSD
	r.OutputBytes = r.Rows * bytesPerRow[cfg.Settings.Format]
	for i := range surveys {
		cfg.Accounts.Points = max(cfg.Accounts.Points, surveys[i].Datapoints)
	}
	for _, src := range set.Principals() {
		if p, err := cfg.Accounts.Manager.Principal(ctx, src); err == nil {
			r.note(p.Conflict(cfg.Accounts.Getenv))
			r.note(p.Warning(cfg.Accounts.JobLength()))
		}
	}
	return context.Cause(ctx)
}

// note adds a line about the keys of a principal, if there is any.
func (r *planReport) note(line string) {
	if line != "" && !slices.Contains(r.Sessions, line) {
		r.Sessions = append(r.Sessions, line)
	}
}

// bytesPerRow estimates the size of a row. It was measured with two statistics of values that do not repeat; real values
// compress better.
var bytesPerRow = map[string]int64{"parquet": 11, "jsonl": 240, "csv": 130}

func (r *planReport) add(v *pipeline.Survey, s *config.Config) {
	t := plannedTarget{
		Target: v.Target, Failure: v.Failure, Instances: v.Instances, Requests: v.Requests, CostUSD: v.CostUSD, Seconds: v.Duration.Seconds(),
		FailedMetrics: v.Metrics,
	}
	r.Targets++
	if v.Failure != nil {
		r.OutOfReach++
		t.Tolerated = s.Tolerated(v.Target, now())
	}
	r.Instances += v.Instances
	r.Series += v.Series
	r.Datapoints += v.Datapoints
	r.Rows += v.Rows
	r.Requests += v.Requests
	r.CostUSD += v.CostUSD
	r.WorstUSD += v.WorstUSD
	r.Discovery += v.Charged
	r.Seconds = max(r.Seconds, v.Duration.Seconds()) // each target has its own quota
	r.Details = append(r.Details, t)
}

// windows adds the degraded parts of the range, and the time until which all of it can be fetched.
func (r *planReport) windows(frozen *record.Plan, period time.Duration) {
	for i := range frozen.Series {
		for _, w := range frozen.Series[i].Windows {
			if until := pipeline.AnsweredUntil(w); r.AskableUntil.IsZero() || until.Before(r.AskableUntil) {
				r.AskableUntil = until
			}
		}
	}
	for _, w := range harvest.Coarser(frozen, period) {
		r.Degraded = append(r.Degraded, degraded{time.Unix(w.Start, 0).UTC(), time.Unix(w.End, 0).UTC(), w.Period})
	}
}

func (r *planReport) overBudget() bool {
	return r.MaxCostUSD > 0 && r.WorstUSD-r.DiscoverUSD > r.MaxCostUSD*(1+1e-9)
}

func (r *planReport) exitCode() int {
	code := exitComplete
	for i := range r.Details {
		if t := &r.Details[i]; t.Failure != nil && !t.Tolerated || len(t.FailedMetrics) > 0 {
			code = exitIncomplete
		}
	}
	if r.overBudget() {
		code = exitBudget
	}
	if slices.ContainsFunc(r.Details, plannedTarget.needsPerson) {
		code = exitCredentials
	}
	return code
}

func (r *planReport) print(w io.Writer) {
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	if r.OpenJob != "" {
		line("job %s is open: a run finishes it first; %s shows its progress and cost", r.OpenJob, r.status)
	}
	if !r.Due {
		text := "nothing due"
		if r.OpenJob != "" {
			text = "nothing else is due"
		}
		text += changesText(r.Changes)
		if !r.Next.IsZero() {
			text += "; next at " + r.Next.UTC().Format("2006-01-02 15:04 UTC")
		}
		line("%s", text)
		return
	}
	line("%s  %s  PLAN  (nothing was fetched or created)", title(r.Job, r.Shard), rangeText(r.Range))
	line("")
	line("targets     %s", counts(int64(r.Targets), "out of reach", int64(r.OutOfReach)))
	line("instances   %s   %s series", human.Number(r.Instances), human.Number(r.Series))
	line("datapoints  %s estimated, %s rows at most", human.Number(r.Datapoints), human.Number(r.Rows))
	operation := map[config.API]string{config.MetricData: "GetMetricData", config.MetricStatistics: "GetMetricStatistics"}[r.API]
	line("requests    %s %s, %s ListMetrics", human.Number(r.Requests), operation, human.Number(r.Discovery))
	limit := ""
	if r.MaxCostUSD > 0 {
		limit = "; limit $" + dollars(r.MaxCostUSD)
	}
	line("cost        $%.4f   (worst case $%.4f%s)", r.CostUSD, r.WorstUSD, limit)
	line("duration    %s at the speed of the quotas", time.Duration(r.Seconds*float64(time.Second)).Round(time.Second/10))
	line("output      about %s MB", human.Number((r.OutputBytes+999_999)/1e6))
	line("available   until %s", r.AskableUntil.Format("2006-01-02 15:04 UTC"))
	r.printTrouble(line)
}

func (r *planReport) printTrouble(line func(string, ...any)) {
	for _, d := range r.Degraded {
		line("DEGRADED    %s to %s: kept by %ds only", d.Start.Format(time.RFC3339), d.End.Format(time.RFC3339), d.Period)
	}
	for _, s := range r.Sessions {
		line("SESSION     %s", s)
	}
	for i := range r.Details {
		t := &r.Details[i]
		for n := range t.FailedMetrics {
			m := &t.FailedMetrics[n]
			line("METRIC      %s  %s: %s: %s", t.Target, m.Name(), m.Class, m.Message)
		}
		if t.Failure == nil {
			continue
		}
		line("%-11s %s  %s: %s", cmp.Or(map[bool]string{true: "TOLERATED"}[t.Tolerated], "OUT"), t.Target, t.Failure.Class, t.Failure.Message)
	}
	if r.overBudget() {
		line("BUDGET      the job costs up to $%.4f, and max_cost is $%.4f: a run would fetch nothing and exit %d", r.WorstUSD-r.DiscoverUSD, r.MaxCostUSD, exitBudget)
	}
}
