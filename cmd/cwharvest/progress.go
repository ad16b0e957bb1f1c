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
	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store/record"

	"golang.org/x/term"
)

// progress displays a run in the last lines of a terminal, below the log. It redraws them twice a second.
type progress struct {
	out  io.Writer
	size func() (width, height int)

	mu    sync.Mutex
	whole string // the command that shows all lines
	drawn int    // number of lines on the terminal
	lines string // the text to display
}

// newProgress returns the display of a terminal, or nil if w is none.
func newProgress(w io.Writer) *progress {
	if !isTerminal(w) {
		return nil
	}
	return &progress{out: w, size: func() (int, int) { return sizeOf(w) }}
}

// sizeOf returns the size of a terminal, or 80 x 24 if it is unknown. It returns 0 x 0 if w is no terminal.
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

// isTerminal reports whether w is a terminal that can move its cursor.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb"
}

// Write writes a part of the log above the display.
func (p *progress) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.redraw(string(text)); err != nil {
		return 0, err
	}
	return len(text), nil
}

// show replaces the displayed text, of which the command whole shows all lines; an empty text removes the display.
func (p *progress) show(lines, whole string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines, p.whole = lines, whole
	_ = p.redraw("") // a closed terminal must not end the run
}

// redraw erases the display, writes the text that belongs above it, and draws the display again. It does all this in
// one write, so that nothing flickers.
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
		lines = append(lines[:room-1], fmt.Sprintf("  ... and %d more lines; see: %s", len(lines)-room+1, p.whole))
	}
	for _, line := range lines {
		b.WriteString(cut(line, width-1) + "\n") // no line wraps
		p.drawn++
	}
	_, err := b.WriteTo(p.out)
	return err
}

// meteredRate measures datapoints per second over the last half minute.
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

// follower shows the progress of a run: in the display on a terminal, in a log line now and then elsewhere, and in a log
// line for each SIGUSR1.
type follower struct {
	status func() (*record.Status, error) // of the current night
	dir    string                         // the harvest directory, for commands in the display
	shown  *progress                      // nil off a terminal
	log    *slog.Logger
	stats  time.Duration // between two log lines; 0: none
	share  float64       // of the quota that the run uses

	job  string // the current night, to which the rate belongs
	rate meteredRate
	end  chan struct{} // closed by stop
	done sync.WaitGroup
}

func (f *follower) start() {
	f.end = make(chan struct{})
	requested := make(chan os.Signal, 1) // the runtime sends; it is never closed
	signal.Notify(requested, syscall.SIGUSR1)
	f.done.Go(func() {
		defer signal.Stop(requested)
		draw := time.NewTicker(500 * time.Millisecond)
		defer draw.Stop()
		var logged <-chan time.Time
		if f.stats > 0 && f.shown == nil {
			lines := time.NewTicker(f.stats)
			defer lines.Stop()
			logged = lines.C
		}
		for {
			select {
			case <-draw.C:
				f.draw()
			case <-logged:
				f.report("progress")
			case <-requested:
				f.report("progress requested by SIGUSR1")
			case <-f.end:
				if f.shown != nil {
					f.shown.show("", "")
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
	s, err := f.status()
	if err != nil {
		return // the run itself reports it
	}
	rate := f.measure(s)
	if f.shown == nil {
		return
	}
	s.Source = "run"
	if s.State == string(record.Unfinished) {
		s.State = s.Activity()
	}
	var b strings.Builder
	width, _ := f.shown.size()
	b.WriteString("\n")
	printStatus(&b, s, f.dir, width-1)
	if active := s.Targets.Active; active > 0 {
		fmt.Fprintf(&b, "\nspeed      %s datapoints/s, %.0f%% of the quota of %d targets; %d in flight\n",
			human.Short(int64(rate)), 100*rate/(quotaOf(s, f.share)*float64(active)), active, s.InFlight)
	}
	for _, d := range s.TargetDetails {
		if d.State == "active" && d.Instances != nil {
			fmt.Fprintf(&b, "  %s/%s  %s of %s instances\n", d.Account, d.Region, human.Number(d.Instances.Planned-d.Instances.Pending), human.Number(d.Instances.Planned))
		}
	}
	f.shown.show(b.String(), choice{}.look("status", f.dir))
}

// measure returns the rate of the current night in datapoints per second.
func (f *follower) measure(s *record.Status) float64 {
	if f.job != s.Job {
		f.job, f.rate = s.Job, meteredRate{}
	}
	return f.rate.add(s.Written, s.Estimated.Done)
}

// quotaOf returns the datapoints per second that a run may request from one target for a job.
func quotaOf(s *record.Status, share float64) float64 {
	return share * cloudwatch.DatapointsPerSecond(s.Written.Sub(s.Range.Start))
}

// report logs one line.
func (f *follower) report(message string) {
	s, err := f.status()
	if err != nil {
		f.log.Warn("cannot read the status", "error", err)
		return
	}
	values := []any{"job", s.Job, "percent", fmt.Sprintf("%.1f", 100*s.Progress), "datapoints_per_second", int64(f.measure(s)),
		"instances", s.Instances.Planned, "done", s.Instances.Done, "empty", s.Instances.Empty, "failed", s.Instances.Failed, "pending", s.Instances.Pending,
		"targets", s.Targets.Planned, "active", s.Targets.Active, "waiting", s.Targets.Waiting, "denied", s.Targets.Denied,
		"requests", s.Requests.Sent, "throttled", s.Requests.Throttled, "usd", fmt.Sprintf("%.4f", s.CostUSD.Spent)}
	if s.ETASeconds != nil {
		values = append(values, "left", time.Duration(*s.ETASeconds*float64(time.Second)).Round(time.Second).String())
	}
	if s.Trouble != nil {
		values = append(values, "waits_for", s.Trouble.Reason)
	}
	if n := len(s.OpenNights); n > 0 {
		values = append(values, "open_nights", n)
	}
	f.log.Info(message, values...)
}
