package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"cwharvest/cmd/cwharvest/human"
	"cwharvest/store/record"
)

// notifier tells systemd how the run is (sd_notify(3)): nothing at all where
// NOTIFY_SOCKET is not set. A message that does not arrive is not worth an
// error; systemd acts on what it misses.
type notifier struct {
	socket   string
	watchdog time.Duration // systemd's patience without WATCHDOG=1; 0: no end
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
	// A name that begins with @ is abstract, which net knows.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // never waits for systemd
	_, _ = c.Write([]byte(state))
}

// ready says that the run works, or has nothing to do: a service of
// Type=notify that ends before counts as failed.
func (n *notifier) ready() { n.send("READY=1") }

const statusEvery = 5 * time.Second

// follow tells of a job's progress until stop is called, and of the drain
// once ctx ends.
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
			if s, err := status(); err == nil { // blocks while a commit hangs: then nothing is sent
				n.tell(s, p.beats(s, time.Now()))
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

func (n *notifier) tell(s *record.Status, alive bool) {
	state := "STATUS=" + progressLine(s)
	if alive && n.watchdog > 0 {
		state += "\nWATCHDOG=1"
	}
	n.send(state)
}

// pulse tells progress from standstill.
type pulse struct {
	patience time.Duration // that a call in flight may take without any sign
	last     string
	since    time.Time
}

// beats reports whether anything was committed or moved within patience, or
// the run knows what it waits for.
func (p *pulse) beats(s *record.Status, now time.Time) bool {
	signs, err := json.Marshal(struct {
		Transaction, InFlight, Parts int
		Targets                      []record.TargetDetail
	}{s.Transaction, s.InFlight, s.Parts, s.TargetDetails})
	if err != nil || string(signs) != p.last {
		p.last, p.since = string(signs), now
	}
	waits := s.Trouble != nil || s.Targets.Waiting > 0 && s.Targets.Active == 0
	return waits || now.Sub(p.since) < p.patience
}

// progressLine is a running job in one line.
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
	if s.Trouble != nil {
		text += "; writing waits: " + s.Trouble.Reason
	}
	return strings.ReplaceAll(human.Printable(text), "\n", " ") // a line break would begin another message
}
