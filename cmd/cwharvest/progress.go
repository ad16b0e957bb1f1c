package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"cwharvest/cmd/cwharvest/human"
	"cwharvest/store"

	"golang.org/x/term"
)

// progress is the display of a run on a terminal: a few lines at its bottom that
// are drawn anew twice a second, below the log. Off a terminal there is none.
type progress struct {
	out  io.Writer
	size func() (width, height int)

	mu    sync.Mutex
	drawn int    // lines on the terminal
	lines string // that are to be there
}

// newProgress returns the display of a terminal; nil for anything else.
func newProgress(w io.Writer) *progress {
	if !isTerminal(w) {
		return nil
	}
	return &progress{out: w, size: func() (int, int) { return sizeOf(w) }}
}

// sizeOf is the size of a terminal; of one that does not tell, the usual one; of
// anything else none.
func sizeOf(w io.Writer) (width, height int) {
	if !isTerminal(w) {
		return 0, 0
	}
	width, height, err := term.GetSize(int(w.(*os.File).Fd()))
	if err != nil || width < 20 || height < 5 {
		return 80, 24
	}
	return width, height
}

// isTerminal reports whether a person looks at what is written.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb"
}

// Write writes a piece of the log above the display.
func (p *progress) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.redraw(string(text)); err != nil {
		return 0, err
	}
	return len(text), nil
}

// show replaces what is displayed; nothing ends it.
func (p *progress) show(lines string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = lines
	_ = p.redraw("") // a terminal that is gone must not end the night
}

// redraw goes up to where the display began, erases from there on, writes what
// comes above, and draws again: one write, so that nothing flickers.
func (p *progress) redraw(above string) error {
	var b bytes.Buffer
	if p.drawn > 0 {
		fmt.Fprintf(&b, "\r\x1b[%dA\x1b[J", p.drawn)
	}
	b.WriteString(above)
	p.drawn = 0
	width, height := p.size()
	lines := strings.Split(strings.TrimSuffix(p.lines, "\n"), "\n")
	if p.lines == "" {
		lines = nil
	}
	if room := height - 1; len(lines) > room {
		lines = append(lines[:room-1], fmt.Sprintf("  ... and %d lines more; see: cwharvest status", len(lines)-room+1))
	}
	for _, line := range lines {
		b.WriteString(cut(line, width-1) + "\n") // no line wraps
		p.drawn++
	}
	_, err := b.WriteTo(p.out)
	return err
}

// meteredRate tells datapoints per second of the last half minute.
type meteredRate struct {
	times []time.Time
	done  []int64
}

func (m *meteredRate) add(at time.Time, done int64) float64 {
	const window = 30 * time.Second
	m.times, m.done = append(m.times, at), append(m.done, done)
	for len(m.times) > 2 && at.Sub(m.times[0]) > window {
		m.times, m.done = m.times[1:], m.done[1:]
	}
	seconds := at.Sub(m.times[0]).Seconds()
	if seconds <= 0 {
		return 0
	}
	return float64(done-m.done[0]) / seconds
}

// follower tells of a job while it is worked: on a terminal by the display, off
// it by a line now and then, and at any time when SIGUSR1 asks.
type follower struct {
	job   *store.Job
	shown *progress // nil off a terminal
	log   *slog.Logger
	stats time.Duration // 0: no lines
	quota float64       // datapoints a second and target that the run may ask for

	rate meteredRate
	end  chan struct{} // closed by stop
	done sync.WaitGroup
}

func (f *follower) start() {
	f.end = make(chan struct{})
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	f.done.Go(func() {
		defer signal.Stop(asked)
		draw := time.NewTicker(500 * time.Millisecond)
		defer draw.Stop()
		var tell <-chan time.Time
		if f.stats > 0 && f.shown == nil {
			lines := time.NewTicker(f.stats)
			defer lines.Stop()
			tell = lines.C
		}
		for {
			select {
			case <-draw.C:
				f.draw()
			case <-tell:
				f.tell("progress")
			case <-asked:
				f.tell("asked for by SIGUSR1")
			case <-f.end:
				if f.shown != nil {
					f.shown.show("")
				}
				return
			}
		}
	})
}

func (f *follower) stop() {
	close(f.end)
	f.done.Wait()
}

func (f *follower) draw() {
	s, err := f.job.Status()
	if err != nil {
		return // the run itself meets what is wrong
	}
	rate := f.rate.add(s.Written, s.Estimated.Done)
	if f.shown == nil {
		return
	}
	s.State, s.Source = "running", "run"
	if s.Trouble != nil || s.Targets.Waiting > 0 && s.Targets.Active == 0 {
		s.State = "waiting"
	}
	var b strings.Builder
	width, _ := f.shown.size()
	b.WriteString("\n")
	printStatus(&b, s, width-1)
	if active := s.Targets.Active; active > 0 {
		fmt.Fprintf(&b, "\nspeed      %s datapoints/s, %.0f%% of the quota of %d targets; %d in flight\n",
			human.Short(int64(rate)), 100*rate/(f.quota*float64(active)), active, s.InFlight)
	}
	for _, d := range s.TargetDetails {
		if d.State == "active" && d.Instances != nil {
			fmt.Fprintf(&b, "  %s/%s  %s of %s instances\n", d.Account, d.Region, human.Number(d.Instances.Planned-d.Instances.Pending), human.Number(d.Instances.Planned))
		}
	}
	f.shown.show(b.String())
}

// tell logs one line.
func (f *follower) tell(why string) {
	s, err := f.job.Status()
	if err != nil {
		f.log.Warn("status cannot be told", "error", err)
		return
	}
	values := []any{"job", s.Job, "percent", fmt.Sprintf("%.1f", 100*s.Progress), "datapoints_per_second", int64(f.rate.add(s.Written, s.Estimated.Done)),
		"instances", s.Instances.Planned, "done", s.Instances.Done, "empty", s.Instances.Empty, "failed", s.Instances.Failed, "pending", s.Instances.Pending,
		"targets", s.Targets.Planned, "active", s.Targets.Active, "waiting", s.Targets.Waiting, "denied", s.Targets.Denied,
		"requests", s.Requests.Sent, "throttled", s.Requests.Throttled, "usd", fmt.Sprintf("%.4f", s.CostUSD.Spent)}
	if s.ETASeconds != nil {
		values = append(values, "left", time.Duration(*s.ETASeconds*float64(time.Second)).Round(time.Second).String())
	}
	if s.Trouble != nil {
		values = append(values, "waits_for", s.Trouble.Reason)
	}
	f.log.Info(why, values...)
}
