package store

import (
	"context"
	"testing"
	"time"

	"cwharvest/store/check"
	"cwharvest/store/record"
)

// A window that aged out between two attempts is replaced by a coarser one. Data that
// were fetched of it stay, also after reopening.
func TestReplanKeepsWhatIsDone(t *testing.T) {
	fine := record.Window{Start: 1_763_000_100 - 1_763_000_100%86400, End: 1_763_000_100 - 1_763_000_100%86400 + 7200, Period: 60}
	coarse := record.Window{Start: fine.Start, End: fine.End, Period: 300}
	path := t.TempDir()
	d, err := Open(path, Config{})
	if err != nil {
		t.Fatal(err)
	}
	plan := record.Plan{
		Name: "aged", Start: time.Unix(fine.Start, 0), End: time.Unix(fine.End, 0), Out: path + "/data", Format: "jsonl", PartSize: 1 << 20,
		Series: []record.Series{{Namespace: "AWS/EC2", Metric: "M", Dimensions: []string{"InstanceId"}, Statistics: []string{"Sum"}, Windows: []record.Window{fine}}},
	}
	target := record.Target{Account: "111122223333", Region: "us-east-1"}
	job, err := d.Create(context.Background(), plan, []record.Target{target})
	if err != nil {
		t.Fatal(err)
	}
	var instances []record.Instance
	for _, id := range []string{"i-1", "i-2", "i-3"} {
		instances = append(instances, record.Instance{Namespace: "AWS/EC2", Dimensions: []record.Dimension{{Name: "InstanceId", Value: id}}})
	}
	commit := func(b Batch) {
		t.Helper()
		if err := job.Commit(context.Background(), &b); err != nil {
			t.Fatal(err)
		}
	}
	result := func(i int, w record.Window) Result {
		column := make([]float64, w.Points())
		return Result{Target: target, Instance: instances[i].Key(), Columns: [][]float64{column}}
	}
	begin := func() {
		t.Helper()
		if err := job.Begin(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	begin()
	commit(Batch{Discovered: []Discovery{{Target: target, Instances: instances, Complete: true}}, Results: []Result{result(0, fine)}})
	if err := job.Close(143, "interrupted"); err != nil {
		t.Fatal(err)
	}
	reopen := func() {
		t.Helper()
		if job, err = d.OpenJob(job.plan.ID); err != nil {
			t.Fatal(err)
		}
	}
	reopen()
	if err := job.Replan([]record.Replan{{Window: fine, Now: coarse}}); err != nil {
		t.Fatal(err)
	}
	begin()
	commit(Batch{Results: []Result{result(1, coarse)}})
	if err := job.Close(143, "interrupted"); err != nil {
		t.Fatal(err)
	}
	reopen() // the replan is stored
	if w := job.Plan().Series[0].Windows[0]; w != coarse {
		t.Fatalf("reopened with %+v", w)
	}
	gone := record.Window{Start: coarse.Start, End: coarse.Start, Period: coarse.Period}
	if err := job.Replan([]record.Replan{{Window: coarse, Now: gone}}); err != nil {
		t.Fatal(err)
	}
	begin()
	pending, err := job.Pending(target, "", 10)
	if err != nil || len(pending) != 1 {
		t.Fatalf("pending %v, %v", pending, err)
	}
	commit(Batch{Results: []Result{{Target: target, Instance: instances[2].Key(), Failure: &record.Failure{Class: "retention_passed", Message: "too old"}}}})
	if err := job.Finish(context.Background()); err != nil {
		t.Fatal(err)
	}
	status, err := job.Status()
	if err != nil || status.Rows != int64(fine.Points()+coarse.Points()) || status.Instances.Done != 2 || status.Instances.Failed != 1 {
		t.Errorf("%d rows, %+v, %v", status.Rows, status.Instances, err)
	}
	if err := job.Close(3, ""); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := check.Verify(context.Background(), path, nil, false)
	if err != nil || len(report.Problems) > 0 {
		t.Errorf("%+v, %v", report, err)
	}
}
