package store

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cwharvest/store/check"
	"cwharvest/store/durable"
	"cwharvest/store/record"
)

// fixture is a job and the rows that it must publish.
type fixture struct {
	testing.TB
	rng  *rand.Rand
	path string
	plan record.Plan
	job  *Job // of the attempt at hand
	// fault is planted in every directory that the fixture opens.
	fault  func(step durable.Step, after bool) error
	remote record.Remote // of an output that is no directory
	files  durable.Files // of the test itself

	instances []record.Instance
	results   []Result
	want      map[string]string // row name -> values
}

var testTargets = []record.Target{{Account: "111122223333", Region: "eu-west-1"}, {Account: "111122223333", Region: "us-east-1"}, {Account: "444455556666", Region: "us-east-1"}}

// newFixture plans two series over three dates, split into windows at odd
// places, for some instances of each target.
func newFixture(t testing.TB, seed uint64) *fixture {
	f := &fixture{TB: t, rng: rand.New(rand.NewPCG(seed, 3)), path: t.TempDir(), want: map[string]string{}}
	start := time.Date(2026, 11, 19, 22, 0, 0, 0, time.UTC)
	windows := []record.Window{
		{Start: start.Unix(), End: start.Add(7 * time.Hour).Unix(), Period: 3600},
		{Start: start.Add(7 * time.Hour).Unix(), End: start.Add(30 * time.Hour).Unix(), Period: 300},
	}
	f.plan = record.Plan{
		Name: "night", Start: start, End: start.Add(30 * time.Hour), Created: start, Format: "jsonl",
		Out: filepath.Join(f.path, "data"), PartSize: 20_000, Settings: json.RawMessage(`{}`),
		Series: []record.Series{
			{Namespace: "AWS/EC2", Dimensions: []string{"InstanceId"}, Metric: "CPUUtilization", Statistics: []string{"Average", "Maximum"}, Windows: windows},
			{Namespace: "AWS/EC2", Dimensions: []string{"InstanceId"}, Metric: "NetworkIn", Statistics: []string{"Sum"}, Windows: windows},
		},
	}
	for _, target := range testTargets {
		for i := range 4 {
			in := record.Instance{Namespace: "AWS/EC2", Dimensions: []record.Dimension{{Name: "InstanceId", Value: fmt.Sprintf("i-%08x", i)}}, State: "running"}
			f.instances = append(f.instances, in)
			f.addResults(target, in)
		}
	}
	f.rng.Shuffle(len(f.results), func(i, j int) { f.results[i], f.results[j] = f.results[j], f.results[i] })
	return f
}

func (f *fixture) addResults(t record.Target, in record.Instance) {
	for s, series := range f.plan.Series {
		for w, window := range series.Windows {
			r := Result{Target: t, Instance: in.Key(), Series: s, Window: w}
			if f.rng.IntN(5) > 0 {
				r.Columns = f.columns(window.Points(), len(series.Statistics))
			}
			f.expect(&r)
			f.results = append(f.results, r)
		}
	}
}

func (f *fixture) columns(points, statistics int) [][]float64 {
	columns := make([][]float64, statistics)
	for s := range columns {
		columns[s] = make([]float64, points)
		for i := range columns[s] {
			columns[s][i] = math.NaN()
			if f.rng.IntN(3) > 0 {
				columns[s][i] = f.rng.Float64() * 1000
			}
		}
	}
	return columns
}

// expect notes the rows of a result by name.
func (f *fixture) expect(r *Result) {
	series := f.plan.Series[r.Series]
	w := series.Windows[r.Window]
	for i := range w.Points() {
		values, some := map[string]any{"average": nil, "maximum": nil, "sum": nil}, false
		for s := range r.Columns {
			if v := r.Columns[s][i]; v == v {
				values[strings.ToLower(series.Statistics[s])], some = v, true
			}
		}
		if !some {
			continue
		}
		at := time.Unix(w.Start+int64(i)*w.Period, 0).UTC().Format(time.RFC3339)
		text, err := json.Marshal(values)
		if err != nil {
			f.Fatal(err)
		}
		dims := r.Instance[strings.LastIndexByte(r.Instance, 0)+1:]
		f.want[strings.Join([]string{r.Target.Account, r.Target.Region, series.Metric, dims, at, fmt.Sprint(w.Period)}, " ")] = string(text)
	}
}

// moveTo continues in another directory.
func (f *fixture) moveTo(path string) { f.path, f.plan.Out = path, filepath.Join(path, "data") }

// open opens the directory with the fixture's fault planted.
func (f *fixture) open() (*Dir, error) {
	d, err := Open(f.path, Config{Remote: f.remote})
	if err == nil {
		d.disk.Files.Fault = f.fault
	}
	return d, err
}

// attempt does the work of one process: it opens or creates the job, commits the
// pending instances in random batches, with some repeated, and finishes. It may
// give up at random, and returns the first error it meets.
func (f *fixture) attempt(giveUp bool) (err error) {
	d, err := f.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	jobs, err := d.Jobs()
	if err != nil {
		return err
	}
	var job *Job
	if len(jobs) == 0 {
		job, err = d.Create(context.Background(), f.plan, testTargets)
	} else {
		job, err = d.OpenJob(jobs[0].Plan.ID)
	}
	if err != nil {
		return err
	}
	f.job = job
	defer func() { err = errors.Join(err, job.Close(0, "")) }()
	if err := job.Begin(context.Background()); err != nil {
		return err
	}
	return f.harvest(job, giveUp)
}

func (f *fixture) harvest(job *Job, giveUp bool) error {
	for i, target := range testTargets {
		d := Discovery{Target: target, Instances: f.instances[4*i : 4*i+4], Complete: true}
		if err := job.Commit(context.Background(), &Batch{Discovered: []Discovery{d}}); err != nil {
			return err
		}
	}
	pending := f.pending(job)
	for len(pending) > 0 {
		n := 1 + f.rng.IntN(min(6, len(pending)))
		batch := Batch{Results: append([]Result(nil), pending[:n]...), Counters: record.Counters{RequestsSent: 1}}
		batch.Results = append(batch.Results, f.results[f.rng.IntN(len(f.results))], pending[0])
		if err := job.Commit(context.Background(), &batch); err != nil {
			return err
		}
		pending = f.pending(job)
		if giveUp && f.rng.IntN(6) == 0 {
			return nil
		}
	}
	return job.Finish(context.Background())
}

// pending returns the results of all that the job says is missing.
func (f *fixture) pending(job *Job) []Result {
	missing := map[string]bool{}
	for _, t := range testTargets {
		after := ""
		for {
			page, err := job.Pending(t, after, 3)
			if err != nil {
				f.Fatal(err)
			}
			for _, p := range page {
				after = p.Instance.Key()
				for _, m := range p.Missing {
					missing[fmt.Sprint(t, p.Instance.Key(), m.Series, m.Window)] = true
				}
			}
			if len(page) < 3 {
				break
			}
		}
	}
	var results []Result
	for _, r := range f.results {
		if missing[fmt.Sprint(r.Target, r.Instance, r.Series, r.Window)] {
			results = append(results, r)
		}
	}
	return results
}

// check reads every published part and compares all rows with those wanted.
func (f *fixture) check() {
	f.Helper()
	paths, err := filepath.Glob(filepath.Join(f.plan.Out, "date=*", "[^_]*.jsonl"))
	if err != nil {
		f.Fatal(err)
	}
	got := map[string]int{}
	for _, path := range paths {
		f.checkPart(path, got)
	}
	for name := range f.want {
		if got[name] != 1 {
			f.Fatalf("row %s is there %d times", name, got[name])
		}
	}
	f.checkFiles()
	report, err := check.Verify(context.Background(), f.path, nil, true)
	if err != nil || len(report.Problems) > 0 || report.Rows != int64(len(f.want)) {
		f.Fatalf("verify: %v, %+v, want %d rows", err, report, len(f.want))
	}
}

// checkFiles reads the files on which repair relies.
func (f *fixture) checkFiles() {
	f.Helper()
	var plan record.Plan
	var m record.Manifest
	job := strings.TrimSuffix(f.database(), ".db")
	if err := errors.Join(record.ReadJSON(job+".json", &plan), record.ReadJSON(job+".manifest.json", &m)); err != nil {
		f.Fatal(err)
	}
	if len(m.Parts) == 0 || m.Inventory == nil || len(plan.Series) != len(f.plan.Series) {
		f.Fatalf("manifest %+v, %d series", m, len(plan.Series))
	}
}

func (f *fixture) checkPart(path string, got map[string]int) {
	f.Helper()
	file, err := os.Open(path)
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	last := ""
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var row struct {
			Account, Region, Namespace, Metric, Dimensions, Timestamp string
			Instance                                                  string `json:"instance_id"`
			Period                                                    int64  `json:"period_s"`
			Average                                                   any    `json:"average"`
			Maximum                                                   any    `json:"maximum"`
			Sum                                                       any    `json:"sum"`
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			f.Fatalf("%s: %v", path, err)
		}
		name := strings.Join([]string{row.Account, row.Region, row.Metric, row.Dimensions, row.Timestamp, fmt.Sprint(row.Period)}, " ")
		values, err := json.Marshal(map[string]any{"average": row.Average, "maximum": row.Maximum, "sum": row.Sum})
		if err != nil {
			f.Fatal(err)
		}
		order := strings.Join([]string{row.Account, row.Region, row.Dimensions, row.Metric, row.Timestamp}, " ")
		switch {
		case f.want[name] != string(values):
			f.Fatalf("%s: row %s is %s, want %s", path, name, values, f.want[name])
		case !strings.Contains(path, "date="+row.Timestamp[:10]):
			f.Fatalf("%s holds a row of %s", path, row.Timestamp)
		case order <= last:
			f.Fatalf("%s is not sorted at %s", path, order)
		}
		last = order
		got[name]++
	}
}

// create returns a new job and its directory, which the caller closes.
func (f *fixture) create() (*Dir, *Job) {
	f.Helper()
	d, err := f.open()
	if err != nil {
		f.Fatal(err)
	}
	job, err := d.Create(context.Background(), f.plan, testTargets)
	if err != nil {
		f.Fatal(err)
	}
	return d, job
}

// begin returns a new job after Begin.
func (f *fixture) begin() *Job {
	f.Helper()
	d, job := f.create()
	f.Cleanup(func() {
		if err := d.Close(); err != nil {
			f.Error(err)
		}
	})
	f.Cleanup(func() {
		if err := job.Close(0, ""); err != nil {
			f.Error(err)
		}
	})
	if err := job.Begin(context.Background()); err != nil {
		f.Fatal(err)
	}
	return job
}
