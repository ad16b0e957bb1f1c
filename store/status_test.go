package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// BenchmarkStatusOfAMillion reads the status of a job of a million instances over
// a hundred targets from its database.
func BenchmarkStatusOfAMillion(b *testing.B) {
	f := newFixture(b, 1)
	path := b.TempDir()
	f.spec.Out = path + "/data"
	targets := make([]Target, 100)
	for i := range targets {
		targets[i] = Target{fmt.Sprintf("%012d", i), "us-east-1"}
	}
	d, err := Open(path, Config{})
	if err != nil {
		b.Fatal(err)
	}
	job, err := d.Create(context.Background(), f.spec, targets)
	if err != nil {
		b.Fatal(err)
	}
	for _, t := range targets {
		all := make([]Instance, 10_000)
		for i := range all {
			all[i] = Instance{Namespace: "AWS/EC2", Dimensions: []Dimension{{"InstanceId", fmt.Sprintf("i-%017x", i)}}, Type: "m7i.large", State: "running"}
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
		s, err := ReadStatus(path)
		if err != nil || s.Instances.Planned != 1_000_000 {
			b.Fatalf("%v, %+v", err, s)
		}
	}
}
