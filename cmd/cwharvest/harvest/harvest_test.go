package harvest

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/creds"
	"cwharvest/pipeline"
	"cwharvest/pipeline/awssim"
	"cwharvest/pipeline/config"
	"cwharvest/store"
	"cwharvest/store/record"
)

var simulated = awssim.Config{
	Accounts: []string{"111122223333", "222233334444"}, Regions: []string{"us-east-1"}, Instances: 5, RoleName: "metrics-reader", ExternalID: "x1",
}

const yaml = "defaults: {role_name: metrics-reader, external_id: x1, regions: [us-east-1]}\n" +
	"accounts: [{id: \"111122223333\"}, {id: \"222233334444\"}]\n" +
	"metrics: [{namespace: AWS/EC2, names: [CPUUtilization], statistics: [Average]}]\n"

// The exit codes that Verdict returns in these tests.
const exitFailed, exitIncomplete = 1, 3

// fixture runs over one directory against a simulated AWS.
type fixture struct {
	*testing.T
	sim     *awssim.Server
	dir     string
	reports []JobReport
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{T: t, sim: awssim.New(simulated), dir: t.TempDir()}
	server := httptest.NewServer(f.sim)
	t.Cleanup(server.Close)
	for _, variable := range awssim.Environment(simulated, server.URL) {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	return f
}

func (f *fixture) settings(more string) *config.Config {
	f.Helper()
	c, err := config.Parse("harvest.yaml", []byte(yaml+"dir: "+filepath.Join(f.dir, "harvest")+"\n"+more), func(string) (string, bool) { return "", false })
	if err == nil {
		err = c.Validate()
	}
	if err != nil {
		f.Fatal(err)
	}
	return &c
}

// run runs once with these settings; change may adjust the configuration of the run.
func (f *fixture) run(ctx context.Context, more string, change func(*Config)) (Outcome, error) {
	f.Helper()
	s, log := f.settings(more), slog.New(slog.DiscardHandler)
	manager := creds.NewManager(creds.Config{Log: log})
	defer manager.Close()
	dir, err := store.Open(s.Dir, store.Config{Log: log})
	if err != nil {
		f.Fatal(err)
	}
	defer dir.Close()
	cfg := Config{
		Settings: s, Now: time.Now, Log: log,
		Accounts:    &accounts.Resolver{Config: s, Manager: manager, Getenv: os.Getenv, Log: log, Attended: true},
		CallTimeout: time.Minute, DrainTimeout: time.Second, WaitForCredentials: time.Second,
		Verdict: func(err error) (int, string) {
			switch {
			case err == nil:
				return 0, ""
			case errors.Is(err, ErrIncomplete):
				return exitIncomplete, err.Error()
			}
			return exitFailed, err.Error()
		},
		Follow: func(context.Context, *store.Job) func() { return func() {} },
		Report: func(r JobReport) { f.reports = append(f.reports, r) },
	}
	if change != nil {
		change(&cfg)
	}
	return Run(ctx, dir, cfg)
}

// complete runs and fails the test unless one job is worked and complete.
func (f *fixture) complete(more string, change func(*Config)) {
	f.Helper()
	f.reports = nil
	o, err := f.run(f.Context(), more, change)
	if err != nil || len(o.Jobs) != 1 || o.Incomplete() || o.Idle != nil || len(f.reports) != 1 {
		f.Fatalf("%+v, %v, %d reports", o, err, len(f.reports))
	}
}

func (f *fixture) calls() int { return f.sim.Stats().Total() }

func (f *fixture) lastAttempt() (exit int, reason string) {
	f.Helper()
	s, err := record.ReadStatus(filepath.Join(f.dir, "harvest"))
	if err != nil {
		f.Fatal(err)
	}
	a := s.Attempts[len(s.Attempts)-1]
	return *a.Exit, a.Reason
}

func TestIdleRunCallsNothing(t *testing.T) {
	f := newFixture(t)
	f.complete("", nil)
	before := f.calls()
	o, err := f.run(t.Context(), "", nil)
	if err != nil || o.Idle == nil || o.Idle.Finished != "yesterday" || o.Idle.Next.Before(time.Now()) || len(o.Idle.Changes) > 0 {
		t.Fatalf("%+v, %v", o, err)
	}
	if f.calls() != before {
		t.Errorf("an idle run made %d calls", f.calls()-before)
	}
	o, err = f.run(t.Context(), "period: 1m\n", nil)
	if err != nil || o.Idle == nil || len(o.Idle.Changes) != 1 {
		t.Errorf("with another period: %+v, %v", o, err)
	}
}

func TestDeniedTargetIsRetried(t *testing.T) {
	f := newFixture(t)
	if err := f.sim.Inject(awssim.Fault{Kind: "role_denied", Account: "222233334444"}); err != nil {
		t.Fatal(err)
	}
	o, err := f.run(t.Context(), "", nil)
	if err != nil || !o.Incomplete() || !f.reports[0].Incomplete {
		t.Fatalf("%+v, %v", o, err)
	}
	if exit, reason := f.lastAttempt(); exit != exitIncomplete || reason != ErrIncomplete.Error() {
		t.Errorf("recorded exit %d, %q", exit, reason)
	}
	o, err = f.run(t.Context(), "", func(c *Config) { c.NoRetry = true })
	if err != nil || o.Idle == nil {
		t.Errorf("without retry: %+v, %v", o, err)
	}
	f.sim.Clear("role_denied")
	f.complete("", nil)
	if s := f.reports[0].Status; s.Targets.Done != 2 || s.Targets.Denied != 0 {
		t.Errorf("after the retry: %+v", s.Targets)
	}
}

func TestInterruptedRunResumes(t *testing.T) {
	f := newFixture(t)
	interrupted := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	o, err := f.run(ctx, "", func(c *Config) {
		c.Follow = func(context.Context, *store.Job) func() { cancel(interrupted); return func() {} }
	})
	if !errors.Is(err, interrupted) || len(o.Jobs) != 1 {
		t.Fatalf("%+v, %v", o, err)
	}
	if exit, reason := f.lastAttempt(); exit != exitFailed || !strings.Contains(reason, "interrupted") {
		t.Errorf("recorded exit %d, %q", exit, reason)
	}
	var differs *PlanDiffersError
	if _, err := f.run(t.Context(), "period: 1m\n", nil); !errors.As(err, &differs) || differs.Job != o.Jobs[0].ID || differs.Hint() == "" {
		t.Errorf("with another period: %v", err)
	}
	f.complete("", nil)
	if f.reports[0].Status.Job != o.Jobs[0].ID {
		t.Errorf("another job than %s was worked: %s", o.Jobs[0].ID, f.reports[0].Status.Job)
	}
}

func TestOnlySelectedTargets(t *testing.T) {
	f := newFixture(t)
	only := func(text string) func(*Config) { return func(c *Config) { c.Only = accounts.Selection{text} } }
	var input *accounts.InputError
	if _, err := f.run(t.Context(), "", only("999999999999")); !errors.As(err, &input) || !strings.Contains(input.Hint(), "111122223333/us-east-1") {
		t.Fatalf("no such target: %v", err)
	}
	f.complete("", only("222233334444"))
	if s := f.reports[0].Status; s.State != string(record.Unfinished) || s.Targets.Done != 1 {
		t.Errorf("%+v", s)
	}
	f.complete("", nil)
}

func TestRedo(t *testing.T) {
	f := newFixture(t)
	redo := func(c *Config) { c.Redo, c.Only = true, accounts.Selection{"222233334444"} }
	var input *accounts.InputError
	if _, err := f.run(t.Context(), "", redo); !errors.As(err, &input) || input.Hint() == "" {
		t.Fatalf("redo of an empty directory: %v", err)
	}
	f.complete("", nil)
	if _, err := f.run(t.Context(), "max_cost: 0.000001\n", redo); !errors.Is(err, pipeline.ErrBudget) {
		t.Errorf("redo above max_cost: %v", err)
	}
	if _, err := f.run(t.Context(), "", func(c *Config) { c.Redo, c.Only = true, accounts.Selection{"999999999999"} }); !errors.As(err, &input) {
		t.Errorf("redo of another account: %v", err)
	}
	points := f.sim.Stats().Answered
	f.complete("", redo)
	if again := f.sim.Stats().Answered - points; again == 0 {
		t.Error("the redo fetched nothing")
	}
}

func TestMaxDurationStopsResumably(t *testing.T) {
	f := newFixture(t)
	if err := f.sim.Inject(awssim.Fault{Kind: "latency", Millis: 2000}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := LimitDuration(t.Context(), time.Second)
	defer stop()
	_, err := f.run(ctx, "max_duration: 1s\n", nil)
	var hinted interface{ Hint() string }
	if !errors.Is(err, pipeline.ErrBudget) || !errors.As(err, &hinted) || hinted.Hint() == "" {
		t.Fatal(err)
	}
	f.sim.Clear("latency")
	f.complete("", nil)
}

// TestBudgetOfOneNight proves that a night which max_cost has stopped does not keep the next one from beginning.
func TestBudgetOfOneNight(t *testing.T) {
	f := newFixture(t)
	const least = "max_cost: 0.0000001\n"
	day := func(n int) func(*Config) {
		at := time.Now().AddDate(0, 0, n-1)
		return func(c *Config) { c.Now = func() time.Time { return at } }
	}
	for n, jobs := range []int{1, 2} {
		o, err := f.run(t.Context(), least, day(n))
		if !errors.Is(err, pipeline.ErrBudget) || len(o.Jobs) != jobs || o.Incomplete() {
			t.Fatalf("night %d: %+v, %v", n, o, err)
		}
	}
	if s, err := record.ReadStatus(filepath.Join(f.dir, "harvest")); err != nil || len(s.OpenNights) != 1 || s.OpenNights[0].Pending != 10 {
		t.Errorf("%+v, %v", s, err)
	}
	o, err := f.run(t.Context(), "", day(1))
	if err != nil || len(o.Jobs) != 2 || o.Incomplete() {
		t.Errorf("without the limit: %+v, %v", o, err)
	}
}

func TestDue(t *testing.T) {
	now := time.Date(2026, 11, 25, 1, 0, 0, 0, time.UTC)
	c := Config{Settings: (&fixture{T: t, dir: t.TempDir()}).settings(""), Now: func() time.Time { return now }}
	plan, _, err := c.Due(nil)
	if err != nil || plan == nil || !plan.Start.Equal(now.Add(-25*time.Hour)) || !plan.End.Equal(now.Add(-time.Hour)) {
		t.Fatalf("%+v, %v", plan, err)
	}
	jobs := []record.JobInfo{{Plan: *plan}}
	again, next, err := c.Due(jobs)
	if err != nil || again != nil || !next.After(now) {
		t.Errorf("with the job finished: %+v, next %v, %v", again, next, err)
	}
	if !ofNight(&jobs[0], plan.Start) || ofNight(&jobs[0], plan.End) {
		t.Error("a job holds the day on which it begins, and not the day on which it ends")
	}
}

// TestLeaves proves that a run whose range follows the clock ends, and that while it waits for an earlier night it harvests
// the next ones in the lengths of before.
func TestLeaves(t *testing.T) {
	begin := time.Date(2026, 11, 25, 1, 0, 0, 0, time.UTC)
	night := func(end time.Time, length time.Duration) *record.Plan {
		return &record.Plan{Start: end.Add(-length), End: end}
	}
	latest := []record.JobInfo{{Plan: *night(begin, 24*time.Hour)}}
	for _, c := range []struct {
		name, settings string
		created, waits int
		plan           *record.Plan
		want           bool
	}{
		{"the first one", "range: since_last\n", 0, 0, night(begin.Add(time.Hour), 5*time.Minute), false},
		{"settled before", "range: since_last\n", 1, 0, night(begin, time.Hour), false},
		{"settled since", "range: since_last\n", 1, 0, night(begin.Add(5*time.Minute), 5*time.Minute), true},
		{"a period while it waits", "range: since_last\n", 1, 1, night(begin.Add(5*time.Minute), 5*time.Minute), true},
		{"a day while it waits", "range: since_last\n", 1, 1, night(begin.Add(24*time.Hour), 24*time.Hour), false},
		{"a range of hours while it waits", "range: {last: 24h}\n", 1, 1, night(begin.Add(12*time.Hour), 12*time.Hour), true},
		{"the next day", "", 1, 1, night(begin.Add(24*time.Hour), 24*time.Hour), false},
	} {
		n := nights{run: &run{Config: Config{Settings: (&fixture{T: t, dir: t.TempDir()}).settings(c.settings)}}, begin: begin, created: c.created}
		n.active = make([]*worker, c.waits)
		if got := n.leaves(c.plan, latest); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
