package main

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cwharvest/store/record"
)

// listen stands in for systemd and returns the messages it receives.
func listen(t *testing.T) <-chan string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	told := make(chan string, 1000) // the goroutine sends and closes; the test may leave it full
	go func() {
		defer close(told)
		buffer := make([]byte, 4096)
		for {
			n, err := c.Read(buffer)
			if err != nil {
				return
			}
			told <- string(buffer[:n])
		}
	}()
	return told
}

func waitFor(t *testing.T, told <-chan string, want string) {
	t.Helper()
	for deadline := time.After(hangAfter); ; {
		select {
		case text := <-told:
			if slices.Contains(strings.Split(text, "\n"), want) {
				return
			}
		case <-deadline:
			t.Fatalf("never told %q", want)
		}
	}
}

func TestNotify(t *testing.T) {
	told := listen(t)
	t.Setenv("WATCHDOG_USEC", "100000")
	t.Setenv("WATCHDOG_PID", "")
	var commits atomic.Int64
	status := func() (*record.Status, error) {
		s := &record.Status{Name: "night", Transaction: int(commits.Load())}
		s.Instances.Planned = 1000
		s.Targets.Active = 1
		return s, nil
	}
	ctx, drain := context.WithCancel(t.Context())
	stop := newNotifier().follow(ctx, status, 200*time.Millisecond)
	waitFor(t, told, "READY=1")
	waitFor(t, told, "STATUS=night 0001-01-01 00:00 to 00:00 UTC: 0 of 1,000 instances")
	waitFor(t, told, "WATCHDOG=1")
	time.Sleep(400 * time.Millisecond) // nothing is committed: silence
	for len(told) > 0 {
		<-told
	}
	select {
	case text := <-told:
		if strings.Contains(text, "WATCHDOG") {
			t.Errorf("told %q without progress", text)
		}
	case <-time.After(hangAfter):
		t.Error("no status")
	}
	commits.Add(1)
	waitFor(t, told, "WATCHDOG=1")
	drain()
	waitFor(t, told, "STOPPING=1")
	stop()
}

func TestPulse(t *testing.T) {
	now := time.Now()
	p := pulse{patience: time.Minute}
	s := &record.Status{}
	s.Targets.Active = 1
	for _, step := range []struct {
		name   string
		after  time.Duration
		change func()
		want   bool
	}{
		{"first", 0, func() {}, true},
		{"within patience", 59 * time.Second, func() {}, true},
		{"standstill", 2 * time.Second, func() {}, false},
		{"a commit", time.Second, func() { s.Transaction++ }, true},
		{"a call came back", time.Hour, func() { s.InFlight++ }, true},
		{"standstill again", time.Hour, func() {}, false},
		{"a full disk", time.Hour, func() { s.Trouble = &record.Trouble{} }, true},
		{"room again", time.Hour, func() { s.Trouble = nil }, false},
		{"an outage", time.Hour, func() { s.Targets.Active, s.Targets.Waiting = 0, 1 }, true},
	} {
		now = now.Add(step.after)
		step.change()
		if got := p.beats(s, now); got != step.want {
			t.Errorf("%s: %v", step.name, got)
		}
	}
}
