package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"cwharvest/cmd/cwharvest/human"
	"cwharvest/store/record"
)

// notifier sends the state of a run to systemd (sd_notify(3)). Without NOTIFY_SOCKET it sends nothing. A message that
// cannot be sent is not an error, because systemd acts when it misses one.
type notifier struct {
	socket   string
	watchdog time.Duration // how long systemd waits for WATCHDOG=1; 0: it has no watchdog
}

func newNotifier() *notifier {
	n := &notifier{socket: os.Getenv("NOTIFY_SOCKET")}
	pid := os.Getenv("WATCHDOG_PID")
	if pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return n
	}
	if usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 {
		n.watchdog = time.Duration(usec) * time.Microsecond
	}
	return n
}

func (n *notifier) send(state string) {
	if n.socket == "" {
		return
	}
	// net supports abstract names, which begin with @.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // so that a run never waits for systemd
	_, _ = c.Write([]byte(state))
}

// ready reports that the run works, or has nothing to do. A service of Type=notify that ends without it counts as failed.
func (n *notifier) ready() { n.send("READY=1") }

const statusEvery = 5 * time.Second

// follow reports a job's progress until stop is called, and that the run drains once ctx ends.
func (n *notifier) follow(ctx context.Context, status func() (*record.Status, error), patience time.Duration) (stop func()) {
	if n.socket == "" {
		return func() {}
	}
	n.ready()
	unhook := context.AfterFunc(ctx, func() { n.send("STOPPING=1\nSTATUS=finishing the requests in flight") })
	end, done := make(chan struct{}), make(chan struct{}) // stop closes end, the goroutine done
	go func() {
		defer close(done)
		every := statusEvery
		if n.watchdog > 0 {
			every = min(every, n.watchdog/2)
		}
		tick := time.NewTicker(every)
		defer tick.Stop()
		p := pulse{patience: patience}
		for {
			if s, err := status(); err == nil { // blocks while a commit hangs, so that the watchdog sees nothing
				n.report(s, p.beats(s, time.Now()))
			}
			select {
			case <-tick.C:
			case <-end:
				return
			}
		}
	}()
	return func() { unhook(); close(end); <-done }
}

func (n *notifier) report(s *record.Status, alive bool) {
	state := "STATUS=" + progressLine(s)
	if alive && n.watchdog > 0 {
		state += "\nWATCHDOG=1"
	}
	n.send(state)
}

// pulse detects a run that no longer makes progress.
type pulse struct {
	patience time.Duration // how long a call in flight may take without any sign of progress
	last     string
	since    time.Time
}

// beats reports whether the status changed within patience, or all jobs of the run wait for known reasons.
func (p *pulse) beats(s *record.Status, now time.Time) bool {
	signs, err := json.Marshal(struct {
		Transaction, InFlight, Parts int
		Targets                      []record.TargetDetail
		Open                         []record.OpenNight
	}{s.Transaction, s.InFlight, s.Parts, s.TargetDetails, s.OpenNights})
	if err != nil || string(signs) != p.last {
		p.last, p.since = string(signs), now
	}
	ended := slices.Contains([]string{string(record.Finished), string(record.FinishedWithFailures), "stopped"}, s.State)
	works := !ended && s.Activity() == "running" ||
		slices.ContainsFunc(s.OpenNights, func(o record.OpenNight) bool { return o.State == "running" })
	return !works || now.Sub(p.since) < p.patience
}

// progressLine describes a running job in one line.
func progressLine(s *record.Status) string {
	i := s.Instances
	text := fmt.Sprintf("%s %s: %s of %s instances", title(s.Name, s.Shard), rangeText(s.Range), human.Number(i.Done+i.Empty), human.Number(i.Planned))
	if s.Estimated.Planned > 0 {
		text += fmt.Sprintf(", %d%%", int(s.Progress*100))
	}
	if s.ETASeconds != nil {
		text += ", " + time.Duration(*s.ETASeconds*float64(time.Second)).Round(time.Second).String() + " left"
	}
	if n := s.Targets.Waiting; n > 0 {
		text += fmt.Sprintf("; targets waiting: %d", n)
	}
	if n := s.Targets.Denied; n > 0 {
		text += fmt.Sprintf("; targets denied: %d", n)
	}
	if n := len(s.OpenNights); n > 0 {
		text += fmt.Sprintf("; earlier nights open: %d", n)
	}
	if s.Trouble != nil {
		text += "; writing waits: " + s.Trouble.Reason
	}
	return strings.ReplaceAll(human.Printable(text), "\n", " ") // a line break would begin another message
}
