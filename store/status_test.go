package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"cwharvest/store/durable"
	"cwharvest/store/record"
)

// TestStatusOnAFullDisk proves that on a full disk the status replaces the previous
// one, with every target waiting and the reason why writing waits; one that does
// not fit leaves the previous one intact.
func TestStatusOnAFullDisk(t *testing.T) {
	f := newFixture(t, 1)
	d, job := f.create()
	if err := job.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.nights.ticker.stop()
	if err := d.publishStatus(); err != nil {
		t.Fatal(err)
	}
	live := record.Live{Targets: map[record.Target]record.LiveTarget{}}
	for _, target := range testTargets {
		live.Targets[target] = record.LiveTarget{Waiting: true, Class: "outage", Reason: strings.Repeat("as errors of services are ", 10)}
	}
	job.SetLive(func() record.Live { return live })
	job.setTrouble(fmt.Errorf("write %s: %w", f.path, syscall.ENOSPC))
	full, err := job.Status()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	if err := overwrite(record.StatusPath(f.path), text); err != nil {
		t.Error(err)
	}
	if s, err := record.ReadSnapshot(f.path); err != nil || s.Trouble == nil || s.Targets.Waiting != 3 {
		t.Errorf("%v, %+v", err, s)
	}
	before, err := os.ReadFile(record.StatusPath(f.path))
	if err != nil {
		t.Fatal(err)
	}
	if err := overwrite(record.StatusPath(f.path), bytes.Repeat(text, 5)); err == nil {
		t.Error("what does not fit was written")
	}
	if after, err := os.ReadFile(record.StatusPath(f.path)); err != nil || !bytes.Equal(before, after) {
		t.Errorf("what does not fit has damaged what was there: %v", err)
	}
	if err := errors.Join(job.Close(0, ""), d.Close()); err != nil {
		t.Fatal(err)
	}
}

// A job that the disk has no room for is made when it has some.
func TestCreateOnAFullDisk(t *testing.T) {
	f := newFixture(t, 1)
	d, err := Open(f.path, Config{})
	if err != nil {
		t.Fatal(err)
	}
	full := 2 // that so many steps find
	d.disk.Files.Fault = func(s durable.Step, after bool) error {
		if !after && full > 0 && (s.Name == "create" || s.Name == "rename") {
			full--
			return fmt.Errorf("%s: %w", s.Path, syscall.ENOSPC)
		}
		return nil
	}
	job, err := d.Create(context.Background(), f.plan, testTargets)
	if err != nil || full > 0 {
		t.Fatalf("%v, with %d faults left", err, full)
	}
	if err := errors.Join(job.Begin(context.Background()), job.Close(0, "")); err != nil {
		t.Fatal(err)
	}
	if jobs, err := d.Jobs(); err != nil || len(jobs) != 1 {
		t.Errorf("%d jobs, %v", len(jobs), err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("interrupted"))
	d.disk.Files.Fault = func(s durable.Step, _ bool) error { return syscall.ENOSPC }
	if _, err := d.Create(ctx, f.plan, testTargets); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("waits on, interrupted as it is: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkStatusOfAMillion reads the status of a job of a million instances over
// a hundred targets from its database.
func BenchmarkStatusOfAMillion(b *testing.B) {
	f := newFixture(b, 1)
	path := b.TempDir()
	f.plan.Out = path + "/data"
	targets := make([]record.Target, 100)
	for i := range targets {
		targets[i] = record.Target{Account: fmt.Sprintf("%012d", i), Region: "us-east-1"}
	}
	d, err := Open(path, Config{})
	if err != nil {
		b.Fatal(err)
	}
	job, err := d.Create(context.Background(), f.plan, targets)
	if err != nil {
		b.Fatal(err)
	}
	for _, t := range targets {
		all := make([]record.Instance, 10_000)
		for i := range all {
			all[i] = record.Instance{Namespace: "AWS/EC2", Dimensions: []record.Dimension{{Name: "InstanceId", Value: fmt.Sprintf("i-%017x", i)}}, Type: "m7i.large", State: "running"}
		}
		if err := job.Commit(context.Background(), &Batch{Discovered: []Discovery{{Target: t, Instances: all, Complete: true}}}); err != nil {
			b.Fatal(err)
		}
	}
	if err := errors.Join(job.Close(0, ""), d.Close()); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for b.Loop() {
		s, err := record.ReadStatus(path)
		if err != nil || s.Instances.Planned != 1_000_000 {
			b.Fatalf("%v, %+v", err, s)
		}
	}
}
