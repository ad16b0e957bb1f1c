package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cwharvest/store/check"
	"cwharvest/store/record"
)

// small is a harvest directory with one job for each day of a few instances.
type small struct {
	testing.TB
	path string
	out  string
}

var smallDay = time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)

func newSmall(t testing.TB) *small {
	path := t.TempDir()
	return &small{TB: t, path: path, out: filepath.Join(path, "data")}
}

// plan is the plan of day n: one window of an hourly metric, and one of another
// that no instance has.
func (s *small) plan(n int) record.Plan {
	start := smallDay.AddDate(0, 0, n)
	window := record.Window{Start: start.Unix(), End: start.AddDate(0, 0, 1).Unix(), Period: 3600}
	series := func(metric string) record.Series {
		return record.Series{Namespace: "AWS/EC2", Dimensions: []string{"InstanceId"}, Metric: metric,
			Statistics: []string{"Average"}, Windows: []record.Window{window}, CostUSD: 0.01, WorstUSD: 0.01}
	}
	return record.Plan{Name: "small", Start: start, End: start.AddDate(0, 0, 1), Created: start, Format: "csv", Out: s.out,
		PartSize: 1 << 20, Settings: []byte("{}"), Series: []record.Series{series("CPUUtilization"), series("Misspelt")}}
}

func smallInstance(i int) record.Instance {
	return record.Instance{Namespace: "AWS/EC2", Dimensions: []record.Dimension{{Name: "InstanceId", Value: fmt.Sprintf("i-%04d", i)}}}
}

// smallResult is a day of one instance: 24 rows, or none of the second metric.
func smallResult(t record.Target, i, series int) Result {
	r := Result{Target: t, Instance: smallInstance(i).Key(), Series: series}
	if series == 0 {
		column := make([]float64, 24)
		for h := range column {
			column[h] = float64(100*i + h)
		}
		r.Columns = [][]float64{column}
	}
	return r
}

func failedResult(t record.Target, i int) Result {
	r := smallResult(t, i, 1)
	r.Failure = &record.Failure{Class: "poison", Message: "status 500"}
	return r
}

func (s *small) open() *Dir {
	s.Helper()
	d, err := Open(s.path, Config{})
	if err != nil {
		s.Fatal(err)
	}
	return d
}

// begin creates the job of day n and starts an attempt; the test publishes its
// status.
func (s *small) begin(d *Dir, n int, targets ...record.Target) *Job {
	s.Helper()
	job, err := d.Create(context.Background(), s.plan(n), targets)
	if err == nil {
		err = job.Begin(context.Background())
	}
	if err != nil {
		s.Fatal(err)
	}
	d.nights.ticker.stop()
	return job
}

func (s *small) commit(j *Job, b *Batch) {
	s.Helper()
	if err := j.Commit(context.Background(), b); err != nil {
		s.Fatal(err)
	}
}

// list has a target enumerated with so many instances.
func list(t record.Target, instances int) Discovery {
	d := Discovery{Target: t, Complete: true}
	for i := range instances {
		d.Instances = append(d.Instances, smallInstance(i))
	}
	return d
}

// whole is all of a target with so many instances.
func whole(t record.Target, instances int) *Batch {
	b := &Batch{Discovered: []Discovery{list(t, instances)}}
	for i := range instances {
		b.Results = append(b.Results, smallResult(t, i, 0), smallResult(t, i, 1))
	}
	return b
}

// day harvests day n of one target whole, or with failures, and returns the job.
func (s *small) day(n int, failures ...Result) string {
	s.Helper()
	d := s.open()
	job := s.begin(d, n, testTargets[0])
	b := whole(testTargets[0], 2)
	for _, r := range failures {
		for i := range b.Results {
			if b.Results[i].Instance == r.Instance && b.Results[i].Series == r.Series {
				b.Results[i] = r
			}
		}
	}
	s.commit(job, b)
	if err := job.Finish(context.Background()); err != nil {
		s.Fatal(err)
	}
	exit := 0
	if len(failures) > 0 {
		exit = 3
	}
	id := job.plan.ID
	if err := errors.Join(job.Close(exit, "done"), d.Close()); err != nil {
		s.Fatal(err)
	}
	return id
}

// shows wants the status of the directory in a state and from a source.
func (s *small) shows(state, source string) *record.Status {
	s.Helper()
	status, err := record.ReadStatus(s.path)
	if err != nil {
		s.Fatal(err)
	}
	if status.State != state || status.Source != source {
		s.Fatalf("the status is %s from the %s, want %s from the %s", status.State, status.Source, state, source)
	}
	in := status.Instances
	if in.Planned != in.Done+in.Empty+in.Failed+in.Denied+in.Pending {
		s.Errorf("instances do not add up: %+v", in)
	}
	if c := status.Targets; c.Planned != c.Done+c.Active+c.Pending+c.Waiting+c.Denied || int(c.Planned) != len(status.TargetDetails) {
		s.Errorf("targets do not add up: %+v, %d details", c, len(status.TargetDetails))
	}
	return status
}

// A job's status through its life: nothing, running, waiting, crashed, stopped,
// finished.
func TestStatesOfAJob(t *testing.T) {
	s := newSmall(t)
	if _, err := record.ReadStatus(s.path); !errors.Is(err, record.ErrNoJob) {
		t.Fatalf("an empty directory: %v", err)
	}
	d := s.open()
	if _, err := record.ReadStatus(s.path); !errors.Is(err, record.ErrNoJob) {
		t.Fatalf("a directory that was just taken: %v", err)
	}
	job := s.begin(d, 0, testTargets...)
	id := job.plan.ID
	live := record.Live{Targets: map[record.Target]record.LiveTarget{testTargets[0]: {}}}
	job.SetLive(func() record.Live { return live })
	s.commit(job, &Batch{Discovered: []Discovery{list(testTargets[0], 3)}, Results: []Result{smallResult(testTargets[0], 0, 0)}})
	s.publish(job)
	if got := s.shows("running", "snapshot"); got.Job != id || got.Rows != 24 || got.Targets.Active != 1 || got.Targets.Pending != 2 || got.Instances.Pending != 3 {
		t.Errorf("%+v", got)
	}

	live.Targets = map[record.Target]record.LiveTarget{testTargets[0]: {Waiting: true, Class: "outage", Reason: "503"}}
	s.publish(job)
	if got := s.shows("waiting", "snapshot"); got.Targets.Waiting != 1 || got.TargetDetails[0].Reason != "503" {
		t.Errorf("%+v", got.TargetDetails)
	}

	// As a killed process leaves it: the database unlocked, the attempt without an end.
	job.builder.stop()
	if err := errors.Join(job.db.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	if got := s.shows("crashed", "database"); got.Rows != 24 || got.Targets.Pending != 3 {
		t.Errorf("%+v", got.Targets)
	}

	d = s.open()
	job = s.reopen(d, id)
	if err := errors.Join(job.Close(130, "interrupted"), d.Close()); err != nil {
		t.Fatal(err)
	}
	got := s.shows("stopped", "database")
	if n := len(got.Attempts); n != 2 || got.Attempts[0].Exit != nil || got.Attempts[0].Reason != "crashed" || *got.Attempts[1].Exit != 130 {
		t.Errorf("attempts %+v", got.Attempts)
	}

	d = s.open()
	job = s.reopen(d, id)
	s.commit(job, whole(testTargets[0], 3))
	s.commit(job, whole(testTargets[1], 1))
	s.commit(job, &Batch{Discovered: []Discovery{list(testTargets[2], 0)}})
	if err := errors.Join(job.Finish(context.Background()), job.Close(0, ""), d.Close()); err != nil {
		t.Fatal(err)
	}
	got = s.shows("finished", "database")
	if got.Instances.Done != 4 || got.Targets.Done != 3 || got.Rows != 96 || got.Progress != 1 || got.ETASeconds != nil {
		t.Errorf("%+v", got)
	}
	if len(got.EmptyMetrics) != 1 || !strings.Contains(got.EmptyMetrics[0], "Misspelt") {
		t.Errorf("metrics without a row: %q", got.EmptyMetrics)
	}
}

func (s *small) publish(j *Job) {
	s.Helper()
	if err := j.dir.publishStatus(); err != nil {
		s.Fatal(err)
	}
}

func (s *small) reopen(d *Dir, id string) *Job {
	s.Helper()
	job, err := d.OpenJob(id)
	if err == nil {
		err = job.Begin(context.Background())
	}
	if err != nil {
		s.Fatal(err)
	}
	return job
}

// A snapshot that is old means a run that does not respond, whatever it said.
func TestStatusOfARunThatDoesNotRespond(t *testing.T) {
	s := newSmall(t)
	d := s.open()
	defer d.Close()
	job := s.begin(d, 0, testTargets[0])
	text, err := os.ReadFile(record.StatusPath(s.path))
	if err != nil {
		t.Fatal(err)
	}
	status, err := job.Status()
	if err != nil {
		t.Fatal(err)
	}
	old := strings.Replace(string(text), status.Written.Format("2006-01-02T15"), status.Written.Add(-time.Hour).Format("2006-01-02T15"), 1)
	if old == string(text) {
		t.Fatalf("the snapshot was not written within this hour: %.200s", text)
	}
	if err := os.WriteFile(record.StatusPath(s.path), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := s.shows("unresponsive", "snapshot"); got.AgeSeconds < 3000 {
		t.Errorf("%v s old", got.AgeSeconds)
	}
	if err := job.Close(0, ""); err != nil {
		t.Fatal(err)
	}
}

// Half a snapshot is never shown: a reader waits for the whole one, then reports
// the file.
func TestStatusOfHalfASnapshot(t *testing.T) {
	s := newSmall(t)
	d := s.open()
	defer d.Close()
	for text, want := range map[string]string{`{"version": 1, "job":`: "status.json", "": "status.json"} {
		if err := os.WriteFile(record.StatusPath(s.path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(s.path, "jobs"), 0o777); err != nil {
			t.Fatal(err)
		}
		if got, err := record.ReadStatus(s.path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

// A snapshot holds a hundred failed instances; the list of all of them is read
// from the database when the run has ended.
func TestFailedInstances(t *testing.T) {
	const many = 150
	s := newSmall(t)
	d := s.open()
	job := s.begin(d, 0, testTargets[0])
	b := &Batch{Discovered: []Discovery{list(testTargets[0], many)}}
	for i := range many {
		b.Results = append(b.Results, smallResult(testTargets[0], i, 0), failedResult(testTargets[0], i))
	}
	s.commit(job, b)
	s.publish(job)
	running := s.shows("running", "snapshot")
	all, err := record.ReadFailed(s.path, running)
	if err != nil || len(all) != 100 || running.Instances.Failed != many {
		t.Errorf("while it runs: %d of %d, %v", len(all), running.Instances.Failed, err)
	}
	if err := errors.Join(job.Finish(context.Background()), job.Close(3, ""), d.Close()); err != nil {
		t.Fatal(err)
	}
	ended := s.shows("finished_with_failures", "database")
	if len(ended.Failed) != 100 {
		t.Errorf("%d in the status", len(ended.Failed))
	}
	all, err = record.ReadFailed(s.path, ended)
	if err != nil || len(all) != many {
		t.Fatalf("%d, %v", len(all), err)
	}
	for i, f := range all {
		if want := fmt.Sprintf("InstanceId=i-%04d", i); f.Dimensions != want || f.Class != "poison" || f.Account != testTargets[0].Account || f.Namespace != "AWS/EC2" {
			t.Fatalf("%d: %+v", i, f)
		}
	}
}

// The status shows the job that was worked last, the days of others that have failures,
// and the others that are open.
func TestStatusOfManyJobs(t *testing.T) {
	s := newSmall(t)
	first := s.day(0, failedResult(testTargets[0], 1))
	second := s.day(1)
	got := s.shows("finished", "database")
	if got.Job != second || len(got.Others) != 1 || !got.Others[0].Start.Equal(smallDay) {
		t.Errorf("%s, others %+v", got.Job, got.Others)
	}
	d := s.open()
	job, err := d.OpenJob(first)
	if err == nil {
		err = errors.Join(job.Retry(), job.Discard(), d.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	got = s.shows("finished", "database")
	if got.Job != second || len(got.OpenNights) != 1 || len(got.Others) != 0 {
		t.Fatalf("%s, open %+v, others %+v", got.Job, got.OpenNights, got.Others)
	}
	if open := got.OpenNights[0]; open.Job != first || !open.Range.Start.Equal(smallDay) || open.State != "stopped" || open.Pending != 1 || open.Targets != 1 || open.Reason == "" {
		t.Errorf("open: %+v", open)
	}
	d = s.open()
	job = s.reopen(d, first)
	s.commit(job, &Batch{Results: []Result{smallResult(testTargets[0], 1, 1)}})
	if err := errors.Join(job.Finish(context.Background()), job.Close(0, ""), d.Close()); err != nil {
		t.Fatal(err)
	}
	if got := s.shows("finished", "database"); got.Job != first || len(got.Others) != 0 {
		t.Errorf("%s, others %+v", got.Job, got.Others)
	}
}

// A denial is new unless the job before had it; since when it has lasted is known
// over all jobs, and a tolerated one leaves no failure.
func TestDenialsOverJobs(t *testing.T) {
	s := newSmall(t)
	deny := func(n int, tolerated bool) *record.Status {
		t.Helper()
		d := s.open()
		job := s.begin(d, n, testTargets[0], testTargets[1])
		b := whole(testTargets[0], 1)
		b.Denied = []Denial{{Target: testTargets[1], Failure: record.Failure{Class: "refused", Message: "no"}, Tolerated: tolerated}}
		s.commit(job, b)
		if err := errors.Join(job.Finish(context.Background()), job.Close(3, ""), d.Close()); err != nil {
			t.Fatal(err)
		}
		state := "finished_with_failures"
		if tolerated {
			state = "finished"
		}
		return s.shows(state, "database")
	}
	first, second := deny(0, false), deny(1, false)
	since := func(s *record.Status) time.Time { return s.TargetDetails[1].Since }
	if first.Targets.New != 1 || second.Targets.New != 0 || since(first).IsZero() || !since(first).Equal(since(second)) {
		t.Errorf("new %d then %d, since %v then %v", first.Targets.New, second.Targets.New, since(first), since(second))
	}
	if third := deny(2, true); third.Targets.Tolerated != 1 || third.Targets.Denied != 1 || third.TargetDetails[1].Instances != nil {
		t.Errorf("%+v", third.TargetDetails[1])
	}
}

// A job with pending or unknown targets does not finish.
func TestUnfinishedIsNotFinished(t *testing.T) {
	s := newSmall(t)
	d := s.open()
	defer d.Close()
	job := s.begin(d, 0, testTargets[0], testTargets[1])
	for _, b := range []*Batch{{}, whole(testTargets[0], 2), {Discovered: []Discovery{list(testTargets[1], 1)}}} {
		s.commit(job, b)
		if err := job.Finish(context.Background()); err == nil {
			t.Errorf("finished with %+v", job.Targets())
		}
	}
	s.commit(job, whole(testTargets[1], 1))
	if err := errors.Join(job.Finish(context.Background()), job.Close(0, "")); err != nil {
		t.Fatal(err)
	}
}

// Counters, costs and rows add up over batches and attempts; results that come
// again add nothing.
func TestCountersAddUp(t *testing.T) {
	s := newSmall(t)
	d := s.open()
	job := s.begin(d, 0, testTargets[0])
	once := record.Counters{RequestsSent: 3, RequestsRepeated: 1, Throttled: 2, CostUSD: 0.5, CostWorstUSD: 0.75, SessionsAssumed: 1, RefusedExpired: 4}
	b := whole(testTargets[0], 3)
	b.Counters = once
	for range 3 {
		s.commit(job, b)
	}
	id := job.plan.ID
	if err := errors.Join(job.Close(130, ""), d.Close()); err != nil {
		t.Fatal(err)
	}
	d = s.open()
	job = s.reopen(d, id)
	s.commit(job, b)
	if err := errors.Join(job.Finish(context.Background()), job.Close(0, ""), d.Close()); err != nil {
		t.Fatal(err)
	}
	got := s.shows("finished", "database")
	if got.Requests != (record.StatusRequests{Sent: 12, Repeated: 4, Throttled: 8}) || got.Sessions.Assumed != 4 || got.Sessions.RefusedExpired != 16 {
		t.Errorf("%+v, %+v", got.Requests, got.Sessions)
	}
	if got.Rows != 72 || got.Datapoints != 72 || math.Abs(got.CostUSD.Spent-2) > 1e-9 || math.Abs(got.CostUSD.WorstCase-3) > 1e-9 {
		t.Errorf("%d rows, %d datapoints, %+v", got.Rows, got.Datapoints, got.CostUSD)
	}
	if want := 3 * 2 * 0.01; math.Abs(got.CostUSD.Planned-want) > 1e-9 {
		t.Errorf("planned %v, want %v", got.CostUSD.Planned, want)
	}
}

// TestTwoOpenJobs proves that two jobs of a directory are worked side by side: they share
// the spool, the later one is the current night of the status, also after its end, and
// the data of the one that waits are published before it is finished.
func TestTwoOpenJobs(t *testing.T) {
	s := newSmall(t)
	d := s.open()
	old := s.begin(d, 0, testTargets[:2]...)
	s.commit(old, whole(testTargets[0], 2))
	old.SetLive(func() record.Live {
		return record.Live{Targets: map[record.Target]record.LiveTarget{testTargets[1]: {Waiting: true, Class: "outage", Reason: "503"}}}
	})
	if err := errors.Join(old.Publish(t.Context()), old.Drain(t.Context())); err != nil {
		t.Fatal(err)
	}
	tonight := s.begin(d, 1, testTargets[0])
	if jobs, err := d.Jobs(); err != nil || len(jobs) != 2 || jobs[0].State != record.Unfinished || len(jobs[0].Targets) != 2 {
		t.Fatalf("%+v, %v", jobs, err)
	}
	s.commit(tonight, whole(testTargets[0], 1))
	if d.spool.bytes == 0 || d.spool.bytes != tonight.builder.spooled || old.builder.spooled != 0 {
		t.Errorf("spooled: %d of all, %d of tonight, %d of the old night", d.spool.bytes, tonight.builder.spooled, old.builder.spooled)
	}
	waits := testTargets[1].String() + " waits, outage: 503"
	open := func(got *record.Status, state string) {
		t.Helper()
		if got.Job != tonight.plan.ID || len(got.OpenNights) != 1 {
			t.Fatalf("%s, open %+v", got.Job, got.OpenNights)
		}
		if o := got.OpenNights[0]; o.Job != old.plan.ID || o.State != state || o.Targets != 1 || o.Reason != waits {
			t.Errorf("open: %+v, want it %s: %s", o, state, waits)
		}
	}
	s.publish(tonight)
	open(s.shows("running", "snapshot"), "waiting")
	if err := errors.Join(tonight.Finish(t.Context()), tonight.Close(0, "")); err != nil {
		t.Fatal(err)
	}
	open(s.shows("finished", "snapshot"), "waiting")
	if d.spool.bytes != 0 || d.spool.sealed != 0 {
		t.Errorf("%d bytes and %d segments are left in the spool", d.spool.bytes, d.spool.sealed)
	}
	if err := errors.Join(old.Close(143, "interrupted"), d.Close()); err != nil {
		t.Fatal(err)
	}
	open(s.shows("finished", "database"), "stopped")
	report, err := check.Verify(context.Background(), s.path, nil, true)
	if err != nil || len(report.Problems) > 0 || report.Parts != 2 {
		t.Errorf("%+v, %v", report, err)
	}
}

// TestPruneOfManyJobs proves that Prune keeps the latest job, open ones and those
// that ended too late, and that the remains of the others still hold their days.
func TestPruneOfManyJobs(t *testing.T) {
	s := newSmall(t)
	if _, err := Prune(context.Background(), s.path, time.Now(), Config{}); !errors.Is(err, record.ErrNoJob) {
		t.Errorf("prune of nothing: %v", err)
	}
	var ids []string
	for n := range 5 {
		ids = append(ids, s.day(n, failedResult(testTargets[0], n%2)))
	}
	d := s.open()
	job, err := d.OpenJob(ids[2])
	if err == nil {
		err = errors.Join(job.Retry(), job.Discard(), d.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	pruned, err := Prune(context.Background(), s.path, time.Now().Add(time.Minute), Config{})
	if err != nil || len(pruned) != 3 {
		t.Fatalf("%+v, %v", pruned, err)
	}
	for i, n := range []int{0, 1, 3} {
		if pruned[i].Job != ids[n] || pruned[i].Bytes == 0 {
			t.Errorf("%+v, want %s", pruned[i], ids[n])
		}
	}
	if again, err := Prune(context.Background(), s.path, time.Now().Add(time.Minute), Config{}); err != nil || len(again) != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
	jobs, err := record.ReadJobs(s.path)
	if err != nil || len(jobs) != 5 {
		t.Fatalf("%d jobs, %v", len(jobs), err)
	}
	for n, j := range jobs {
		want := n != 2 && n != 4
		if j.Plan.ID != ids[n] || j.Pruned != want || !j.Plan.Start.Equal(smallDay.AddDate(0, 0, n)) {
			t.Errorf("%d: %s pruned %v", n, j.Plan.ID, j.Pruned)
		}
	}
	if got := s.shows("finished_with_failures", "database"); got.Job != ids[4] || len(got.Others) != 0 || len(got.OpenNights) != 1 || got.OpenNights[0].Job != ids[2] {
		t.Errorf("%s, others %+v, open %+v", got.Job, got.Others, got.OpenNights)
	}
	report, err := check.Verify(context.Background(), s.path, nil, true)
	if err != nil || len(report.Problems) > 0 || report.Jobs != 5 || report.Rows != 5*48 {
		t.Errorf("%+v, %v", report, err)
	}
	d = s.open()
	defer d.Close()
	if _, err := d.OpenJob(ids[0]); err == nil {
		t.Error("a pruned job was opened")
	}
}
