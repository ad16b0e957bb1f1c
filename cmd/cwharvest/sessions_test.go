package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"
)

// TestShortSessionsManyWorkers proves that sessions of three seconds, with 64
// requests in flight, are refreshed before they expire and no more often than
// needed, and that no call waits for a refresh after the first.
func TestShortSessionsManyWorkers(t *testing.T) {
	besideOthers(t)
	accounts := []string{"111122223333", "222233334444", "333344445555", "444455556666"}
	regions := []string{"us-east-1", "us-west-2", "eu-west-1", "eu-central-1"}
	n := newNight(t, awssim.Config{
		Accounts: accounts, Regions: regions, Instances: 20_000 / 16,
		SessionLife: 3 * time.Second,
	}, time.Hour, 1, []string{"CPUUtilization", "NetworkIn", "NetworkOut"}, []string{"Average"},
		"concurrency: 4\nmax_in_flight: 64\n")
	n.build()
	if err := n.sim.Inject(awssim.Fault{Kind: "latency", Operation: "GetMetricData", Millis: 2500}); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	n.run()
	took := time.Since(started)
	n.check()
	stats, status := n.sim.Stats(), n.status()
	most := int(took/(2*time.Second)) + 2 // life 3 s, renewed a third of it ahead
	for role, calls := range stats.Roles {
		if calls > most {
			t.Errorf("%s: %d AssumeRole calls in %v, at most %d", role, calls, took, most)
		}
	}
	if proving() && (stats.ExpiredInTime+stats.ExpiredEarly > 0 || status.Sessions.Waits > 0) {
		t.Errorf("%d ExpiredToken, %d calls waited for a refresh", stats.ExpiredInTime, status.Sessions.Waits)
	}
	if stats.MostInFlight < 60 {
		t.Errorf("%d requests in flight at most, want about 64", stats.MostInFlight)
	}
	t.Logf("%v, %d requests, %d in flight, AssumeRole calls %v, at most %d each", took, stats.Answered, stats.MostInFlight, stats.Roles, most)
}

// TestMinuteOfTwoSecondSessions proves that no instance fails in a minute (a few
// lives in a slice) of two-second sessions with 64 requests in flight. On a quiet
// machine no call waits for a session after the first.
func TestMinuteOfTwoSecondSessions(t *testing.T) {
	besideOthers(t)
	instances, least := sized(700, 5000), sized(6*time.Second, 50*time.Second)
	accounts := []string{"111122223333", "222233334444", "333344445555", "444455556666"}
	n := newNight(t, awssim.Config{
		Accounts: accounts, Regions: []string{"us-east-1", "us-west-2", "eu-west-1", "eu-central-1"}, Instances: instances,
		SessionLife: 2 * time.Second,
	}, time.Hour, 1, []string{"CPUUtilization", "NetworkIn", "NetworkOut", "EBSReadOps", "EBSWriteOps", "EBSReadBytes", "EBSWriteBytes",
		"CPUCreditBalance"}, []string{"Average"}, "concurrency: 4\nmax_in_flight: 64\n")
	n.build()
	if err := n.sim.Inject(awssim.Fault{Kind: "latency", Operation: "GetMetricData", Millis: 3000}); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	n.run()
	took := time.Since(started)
	n.verify()
	stats, status := n.sim.Stats(), n.status()
	if late := status.Sessions.Waits + int64(stats.ExpiredInTime); proving() && late > 0 || stats.Repeated > 0 {
		t.Errorf("%d calls waited, %d ExpiredToken, %d fetched again", status.Sessions.Waits, stats.ExpiredInTime, stats.Repeated)
	}
	if stats.MostInFlight < 60 || took < least {
		t.Errorf("%d requests in flight at most, for %v: too easy", stats.MostInFlight, took)
	}
	t.Logf("%v, %d requests, %d in flight, %d waited, AssumeRole calls %v", took, stats.Answered, stats.MostInFlight, status.Sessions.Waits, stats.Roles)
}

// TestSecretsStayInside proves that no secret reaches a disk, a log, a status or
// a crash trace: it searches every byte for every key and token.
func TestSecretsStayInside(t *testing.T) {
	t.Parallel()
	n := newNight(t, awssim.Config{
		Accounts: []string{"111122223333", "444455556666"}, Regions: []string{"us-east-1"}, Instances: 200,
		Latency: 10 * time.Millisecond, SessionLife: 2 * time.Second,
	}, 5*time.Minute, 1, []string{"CPUUtilization", "NetworkIn"}, []string{"Average", "Maximum"}, "quota_share: 0.2\n")
	for _, f := range []awssim.Fault{
		{Kind: "expired", Operation: "GetMetricData", Count: 2}, {Kind: "error500", Count: 3}, {Kind: "truncate", Count: 2},
		{Kind: "access_denied", Account: "444455556666"}, {Kind: "expired", Operation: "GetMetricData", Count: 1, Spelling: "xml"},
	} {
		if err := n.sim.Inject(f); err != nil {
			t.Fatal(err)
		}
	}
	var printed bytes.Buffer
	print := func(args ...string) {
		c, output := n.command(args...)
		err := c.Run()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		printed.Write(output.Bytes())
	}
	c, output := n.command("run", "-c", "harvest.yaml", "--verbose")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	n.waitAnswered(3)
	if err := c.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Errorf("crash: %v", err)
	}
	if err := c.Wait(); err == nil || !strings.Contains(output.String(), "goroutine ") {
		t.Fatalf("the run was to crash with a trace: %v\n%s", err, output)
	}
	printed.Write(output.Bytes())
	print("status", "harvest", "--json")
	print("doctor", "-c", "harvest.yaml", "--json")
	if err := n.sim.Inject(awssim.Fault{Kind: "key_expired"}); err != nil {
		t.Fatal(err)
	}
	print("run", "-c", "harvest.yaml", "--verbose", "--wait-for-credentials", "1s")
	n.sim.Clear("")
	print("run", "-c", "harvest.yaml", "--verbose")
	print("status", "harvest")
	places := map[string][]byte{"output": printed.Bytes()}
	err := filepath.WalkDir(filepath.Join(n.dir, "harvest"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			places[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	secrets := n.sim.Secrets()
	for place, data := range places {
		for _, secret := range secrets {
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%s holds a secret", place)
			}
		}
	}
	t.Logf("%d secrets, %d files, %d bytes of output", len(secrets), len(places)-1, printed.Len())
}

// TestSuspendedPastExpiry proves that a run suspended until its sessions have
// expired continues when it wakes, and fetches nothing twice.
func TestSuspendedPastExpiry(t *testing.T) {
	t.Parallel()
	n := newNight(t, awssim.Config{
		Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}, Instances: 150,
		Latency: 10 * time.Millisecond, SessionLife: 4 * time.Second, TrackRepeats: true,
	}, 5*time.Minute, 1, []string{"CPUUtilization", "NetworkIn"}, []string{"Average", "Maximum"}, "quota_share: 0.1\n")
	c, output := n.command("run", "-c", "harvest.yaml")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	signal := func(s syscall.Signal) {
		if err := c.Process.Signal(s); err != nil {
			t.Errorf("%v: %v", s, err)
		}
	}
	n.waitAnswered(1)
	signal(syscall.SIGSTOP)
	time.Sleep(5 * time.Second) // longer than the session lives
	signal(syscall.SIGCONT)
	if err := c.Wait(); err != nil {
		t.Fatalf("run: %v\n%s", err, output)
	}
	n.check()
	if stats := n.sim.Stats(); stats.Repeated > 0 || stats.ExpiredInTime > 1 {
		t.Errorf("%d fetched again, %d ExpiredToken", stats.Repeated, stats.ExpiredInTime)
	}
}
