package check_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"cwharvest/store"
	"cwharvest/store/record"
)

// The harvest that all tests start from: two targets with three instances each, and
// two metrics over two days of hours. The third instance of the first target has no
// rows; the third of the second target failed in the last window.
var (
	day       = time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	targets   = []record.Target{{Account: "111122223333", Region: "eu-west-1"}, {Account: "444455556666", Region: "us-east-1"}}
	instances = []record.Instance{instance(0), instance(1), instance(2)}
)

const (
	windowRows    = 24
	instanceRows  = 2 * 2 * windowRows // metrics, windows
	publishedRows = 2 * instanceRows   // of the first target
	allRows       = 5*instanceRows - windowRows
	spooledRows   = instanceRows // of a stopped job
)

func instance(i int) record.Instance {
	return record.Instance{Namespace: "AWS/EC2", Dimensions: []record.Dimension{{Name: "InstanceId", Value: fmt.Sprintf("i-%04d", i)}}}
}

// planOf returns the plan of two days from a start.
func planOf(start time.Time, out string) record.Plan {
	var windows []record.Window
	for d := range 2 {
		from := start.AddDate(0, 0, d)
		windows = append(windows, record.Window{Start: from.Unix(), End: from.AddDate(0, 0, 1).Unix(), Period: 3600})
	}
	series := func(metric string, statistics ...string) record.Series {
		return record.Series{Namespace: "AWS/EC2", Dimensions: []string{"InstanceId"}, Metric: metric, Statistics: statistics, Windows: slices.Clone(windows)}
	}
	return record.Plan{Name: "night", Start: start, End: start.AddDate(0, 0, 2), Created: start, Format: "jsonl", Out: out, PartSize: 2000,
		Settings: json.RawMessage(`{}`), Series: []record.Series{series("CPUUtilization", "Average", "Maximum"), series("NetworkIn", "Sum")}}
}

// results returns the outcomes of all series-windows of one instance.
func results(plan *record.Plan, target, in int) (all []store.Result) {
	for s := range plan.Series {
		for w := range plan.Series[s].Windows {
			r := store.Result{Target: targets[target], Instance: instances[in].Key(), Series: s, Window: w}
			switch {
			case target == 0 && in == 2:
			case target == 1 && in == 2 && s == 1 && w == 1:
				r.Failure = &record.Failure{Class: "poison", Message: "status 500"}
			default:
				for c := range plan.Series[s].Statistics {
					column := make([]float64, windowRows)
					for i := range column {
						column[i] = 1 / float64(2+i+100*c+1000*in+10_000*w) // uses all bytes of a value
					}
					r.Columns = append(r.Columns, column)
				}
			}
			all = append(all, r)
		}
	}
	return all
}

// template is a harvest directory in memory: content by path.
type template map[string]string

// Each state of a directory is built once, through the writer's public API.
var templates = map[string]func() (template, error){
	"finished": sync.OnceValues(func() (template, error) { return build(finish) }),
	"stopped":  sync.OnceValues(func() (template, error) { return build(stop) }),
	"pruned":   sync.OnceValues(func() (template, error) { return build(finishAndPrune) }),
}

func build(write func(dir string) error) (template, error) {
	dir, err := os.MkdirTemp("", "check")
	if err != nil {
		return nil, err
	}
	files := template{}
	err = write(dir)
	if err == nil {
		files, err = readFiles(dir)
	}
	return files, errors.Join(err, os.RemoveAll(dir))
}

// finish writes a finished job with failures.
func finish(dir string) error {
	return work(dir, day, func(j *store.Job) error {
		plan := j.Plan()
		for target := range targets {
			var b store.Batch
			for in := range instances {
				b.Results = append(b.Results, results(&plan, target, in)...)
			}
			if err := j.Commit(context.Background(), &b); err != nil {
				return err
			}
		}
		return j.Finish(context.Background())
	})
}

// stop writes a job with its first target published and one instance of the second
// target in its spool.
func stop(dir string) error {
	return work(dir, day, func(j *store.Job) error {
		plan := j.Plan()
		for target := range targets {
			b := store.Batch{Results: results(&plan, target, 0)}
			if target == 0 {
				b.Results = append(b.Results, slices.Concat(results(&plan, target, 1), results(&plan, target, 2))...)
			}
			if err := j.Commit(context.Background(), &b); err != nil {
				return err
			}
		}
		return nil
	})
}

// finishAndPrune writes two finished jobs and removes the database of the first.
func finishAndPrune(dir string) error {
	later := func(j *store.Job) error {
		for _, t := range targets {
			denied := store.Denial{Target: t, Failure: record.Failure{Class: "refused", Message: "no"}, Tolerated: true}
			if err := j.Commit(context.Background(), &store.Batch{Denied: []store.Denial{denied}}); err != nil {
				return err
			}
		}
		return j.Finish(context.Background())
	}
	if err := errors.Join(finish(dir), work(dir, day.AddDate(0, 0, 7), later)); err != nil {
		return err
	}
	_, err := store.Prune(context.Background(), dir, time.Now().Add(time.Hour), store.Config{})
	return err
}

// work creates a job, or opens the only one, and does one attempt. A spool limit of one
// byte lets each commit wait until the parts of earlier segments are published.
func work(dir string, start time.Time, do func(*store.Job) error) (err error) {
	d, err := store.Open(dir, store.Config{SpoolLimit: 1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	jobs, err := d.Jobs()
	if err != nil {
		return err
	}
	var job *store.Job
	if i := slices.IndexFunc(jobs, func(j record.JobInfo) bool { return j.Plan.Start.Equal(start) }); i >= 0 {
		job, err = d.OpenJob(jobs[i].Plan.ID)
	} else {
		job, err = d.Create(context.Background(), planOf(start, filepath.Join(dir, "data")), targets)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, job.Close(0, "done")) }()
	if err := job.Begin(context.Background()); err != nil {
		return err
	}
	var b store.Batch
	for _, t := range targets {
		b.Discovered = append(b.Discovered, store.Discovery{Target: t, Instances: instances, Complete: true})
	}
	if start.Equal(day) {
		if err := job.Commit(context.Background(), &b); err != nil {
			return err
		}
	}
	return do(job)
}

// readFiles returns the files below a directory.
func readFiles(dir string) (template, error) {
	files := template{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, dir+"/")] = string(data)
		return err
	})
	return files, err
}
