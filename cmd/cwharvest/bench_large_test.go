package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"
	"cwharvest/store/record"
)

// largeNight returns a job of many instances in 20 targets, with few datapoints for each.
func largeNight(t *testing.T, instances int) *night {
	t.Helper()
	c := awssim.Config{
		Accounts: []string{"111122223333", "222233334444", "333344445555", "444455556666", "555566667777"},
		Regions:  []string{"us-east-1", "us-west-2", "eu-west-1", "eu-central-1"},
	}
	c.Instances = instances / len(c.Accounts) / len(c.Regions)
	n := newNight(t, c, time.Hour, 1, []string{"CPUUtilization", "NetworkIn"}, []string{"Average"}, unlimited)
	n.build()
	return n
}

// attempt is a run in progress, with its measurements.
type attempt struct {
	*night
	command *exec.Cmd
	output  *bytes.Buffer
	exited  chan error // receives the one result of Wait
	began   time.Time
	before  awssim.Stats

	first   time.Duration // until its first request
	fetched time.Duration // until its first GetMetricData
	memory  int64         // its largest RssAnon
}

// attempt starts a run and kills it when the test ends.
func (n *night) attempt() *attempt {
	n.Helper()
	a := &attempt{night: n, exited: make(chan error, 1), before: n.sim.Stats(), began: time.Now()}
	a.command, a.output = n.command("run", "-c", "harvest.yaml", "--quiet")
	if err := a.command.Start(); err != nil {
		n.Fatal(err)
	}
	go func() { a.exited <- a.command.Wait() }()
	n.Cleanup(func() {
		if err := a.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			n.Errorf("kill: %v", err)
		}
	})
	return a
}

// watch follows the run until a condition holds; it reports false when the run
// ends first.
func (a *attempt) watch(until func() bool) bool {
	a.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ticks := 0; ; ticks++ {
		select {
		case err := <-a.exited:
			if err != nil {
				a.Fatalf("run: %v\n%s", err, a.output)
			}
			return false
		case <-tick.C:
		}
		if a.fetched == 0 {
			a.look()
		}
		if ticks%20 == 0 {
			a.memory = max(a.memory, rssAnon(a.command.Process.Pid))
			if until() {
				return true
			}
		}
	}
}

func (a *attempt) look() {
	stats := a.sim.Stats()
	if a.first == 0 && stats.Total() > a.before.Total() {
		a.first = time.Since(a.began)
	}
	if stats.Calls["monitoring.GetMetricData"] > a.before.Calls["monitoring.GetMetricData"] {
		a.fetched = time.Since(a.began)
	}
}

func (a *attempt) kill() {
	a.Helper()
	if err := a.command.Process.Kill(); err != nil {
		a.Fatal(err)
	}
	if err := <-a.exited; !errors.As(err, new(*exec.ExitError)) {
		a.Fatalf("the run ended before it was killed: %v\n%s", err, a.output)
	}
}

// hold lets a run fetch a number of instances, hangs all further requests, and
// returns when that number is committed.
func (a *attempt) hold(instances int64) {
	a.Helper()
	done := func() int64 {
		s, err := record.ReadStatus(filepath.Join(a.dir, "harvest"))
		if err != nil {
			return 0 // the directory has no job yet
		}
		return s.Instances.Done + s.Instances.Empty
	}
	points := a.sim.Stats().Estimated + instances*a.pointsOfInstance()
	if !a.watch(func() bool { return a.sim.Stats().Estimated >= points }) {
		a.Fatal("the run ended before it was held")
	}
	if err := a.sim.Inject(awssim.Fault{Kind: "hang", Service: "monitoring"}); err != nil {
		a.Fatal(err)
	}
	if !a.watch(func() bool { return done() >= instances }) {
		a.Fatal("the run ended when it was held")
	}
}

// pointsOfInstance returns the number of datapoints requested for one instance.
func (n *night) pointsOfInstance() int64 {
	return int64(n.truth.End.Sub(n.truth.Start)/n.truth.Period) * int64(len(n.truth.Metrics)*len(n.truth.Statistics))
}

// benchLarge measures runs of ten thousand and of a million instances. It kills
// the large run when nine tenths are done, and resumes it.
func benchLarge(t *testing.T, figures *benchTable) {
	const most, done = 1_000_000, 900_000
	small := largeNight(t, 10_000)
	a := small.attempt()
	a.watch(func() bool { return false })
	few := a.memory
	small.complete()

	n := largeNight(t, most)
	fresh := n.attempt()
	fresh.hold(done)
	beside := n.timeStatuses()
	fresh.kill()
	after := n.timeStatuses()
	t.Logf("%d instances are done", n.status().Instances.Done+n.status().Instances.Empty)
	n.sim.Clear("hang")
	resumed := n.attempt()
	resumed.watch(func() bool { return false })
	n.complete()

	many := max(fresh.memory, resumed.memory)
	figures.add("peak of anonymous memory (RssAnon), 10,000 instances", "%d MB", few>>20).target("at most 200 MB")
	figures.add("the same, 1,000,000 instances", "%d MB, %.2f times as much", many>>20, float64(many)/float64(few)).target("at most 200 MB, 1.3 times")
	figures.add("seconds to the first request, fresh job", "%.2f", fresh.first.Seconds()).target("at most 2")
	figures.add("seconds to the first GetMetricData, 900,000 of 1,000,000 instances done", "%.2f", resumed.fetched.Seconds()).target("at most 2")
	figures.add("`status` there, beside the run", "%d ms", beside.Milliseconds()).target("at most 100 ms")
	figures.add("`status` there, of the killed run", "%d ms", after.Milliseconds()).target("at most 100 ms")
}

// complete fails the test unless every instance was done.
func (n *night) complete() {
	n.Helper()
	all := int64(n.config.Instances * len(n.config.Accounts) * len(n.config.Regions))
	if s := n.status(); s.State != "finished" || s.Instances.Done+s.Instances.Empty != all || s.Rows == 0 {
		n.Fatalf("%s: %+v of %d instances, %d rows", s.State, s.Instances, all, s.Rows)
	}
}

// timeStatuses returns the median time of a status command.
func (n *night) timeStatuses() time.Duration {
	n.Helper()
	var walls []time.Duration
	for range 15 {
		walls = append(walls, n.timeStatus().wall)
	}
	return median(walls)
}
