package main

import (
	"bufio"
	"cmp"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// held is a sample of a process's resources. The heap's goal is five times the
// live heap, until the memory limit is nearer; memory follows it.
type held struct{ memory, goal, goroutines, files int64 }

// soak is one long run with every fault that a run survives.
type soak struct {
	*chaos
	url     string
	samples []held
	last    time.Time
}

// TestSoak proves that a run under constant faults, as long as CWHARVEST_SOAK
// says, holds no more memory, goroutines and files in its last third than in its
// first. It is then stopped and the rest is fetched at full speed, so that every
// row can be checked.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("CWHARVEST_SOAK"))
	if err != nil {
		t.Skip("CWHARVEST_SOAK says for how long, such as 2h")
	}
	const seed, perSecond = 1, 48 // instances of a target: more than that trouble lets through
	s := &soak{chaos: newChaos(t, seed, perSecond*int(length.Seconds()), usualMetrics, []string{"Average", "Maximum", "Minimum", "Sum"},
		"quota_share: 0.01\n")}
	s.flags = []string{"--call-timeout", "2s", "--listen", "127.0.0.1:0"}
	s.once, s.ticked, s.patience = true, s.measure, max(s.patience, length/4)
	outlived := slices.DeleteFunc(slices.Clone(chaosKinds), func(k chaosKind) bool { return k.ends })
	s.rage(schedule(seed, length, 5*time.Second, outlived), length)
	s.compareThirds()
	if s.process == nil {
		t.Fatalf("it ended after %v with %v, before the trouble did", time.Since(s.started), s.exits)
	}
	s.signal(syscall.SIGTERM)
	s.mend()
	s.configure(seed, "quota_share: 1\n")
	s.start()
	s.wait(exitComplete) // nothing in all that trouble is a denial
	s.truth.End = s.truth.Start.AddDate(0, 0, 1)
	found := s.check()
	stats := s.sim.Stats()
	t.Logf("%v of trouble, %d rows, 0/0/0; %d calls, %d answered, %v; exits %v", length, found.Rows, stats.Total(), stats.Answered, stats.Codes, s.exits)
}

// measure takes a sample a second.
func (s *soak) measure() {
	s.Helper()
	if time.Since(s.last) < time.Second || s.process == nil {
		return
	}
	s.last = time.Now()
	if s.url == "" {
		if at := shownAt.FindStringSubmatch(s.output.String()); at != nil {
			s.url = at[1]
		}
		return
	}
	pid := s.process.Process.Pid
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	goroutines, goal := s.ask()
	if err == nil && goroutines > 0 {
		s.samples = append(s.samples, held{rssAnon(pid), goal, goroutines, int64(len(files))})
	}
}

// ask asks the run itself; 0 while it is suspended or has ended.
func (s *soak) ask() (goroutines, goal int64) {
	client := http.Client{Timeout: 200 * time.Millisecond}
	defer client.CloseIdleConnections()
	answer, err := client.Get(s.url + "metrics")
	if err != nil {
		return 0, 0
	}
	defer answer.Body.Close()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		name, text, _ := strings.Cut(lines.Text(), " ")
		value, err := strconv.ParseFloat(text, 64)
		switch {
		case err != nil:
		case name == "go_goroutines":
			goroutines = int64(value)
		case name == "go_memstats_next_gc_bytes":
			goal = int64(value)
		}
	}
	return goroutines, goal
}

// compareThirds holds the median of the last third against that of the first.
func (s *soak) compareThirds() {
	s.Helper()
	third := len(s.samples) / 3
	if third < 10 {
		s.Fatalf("%d samples are too few to tell", len(s.samples))
	}
	for _, kind := range []struct {
		name  string
		of    func(held) int64
		slack int64
	}{
		{"bytes of RssAnon", func(x held) int64 { return x.memory }, 8 << 20},
		{"bytes of the heap's goal", func(x held) int64 { return x.goal }, 8 << 20},
		{"goroutines", func(x held) int64 { return x.goroutines }, 10},
		{"file descriptors", func(x held) int64 { return x.files }, 5},
	} {
		var values []int64
		for _, x := range s.samples {
			values = append(values, kind.of(x))
		}
		most := slices.Max(values)
		first, last := median(values[:third]), median(values[len(values)-third:])
		s.Logf("%s: %d in the first third, %d in the last, %d at most, of %d samples", kind.name, first, last, most, len(values))
		if last > first+first/4+kind.slack {
			s.Errorf("%s grow", kind.name)
		}
	}
}

func median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
