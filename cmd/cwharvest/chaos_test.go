package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"
	"cwharvest/pipeline/config"
	"cwharvest/store"
	"cwharvest/store/place/s3test"
	"cwharvest/store/record"
)

// chaos is a harvest directory in which everything goes wrong, by a schedule,
// while a supervisor runs the same command again and again. One goroutine owns
// all fields except ahead.
type chaos struct {
	*night
	base   []string     // the environment without the clock
	ahead  atomic.Int64 // offset of the simulated AWS's clock, in ns
	clock  time.Time    // the program's
	latest time.Time    // the latest that clock has been
	disk   bool         // the directory is a disk of its own
	key    int          // number of the base key in the credentials file
	flags  []string
	once   bool   // the command is not run again
	ticked func() // nil, or called after each look at the status
	// patience limits the duration of a run after all mishaps have ended.
	patience time.Duration

	process *exec.Cmd // nil: no process runs
	output  *lockedBuffer
	sent    map[syscall.Signal]bool // signals sent to the process
	exited  chan error              // receives one result for each process
	again   <-chan time.Time

	started time.Time
	shown   map[string]*record.Status // by job: the status of the latest transaction
	exits   map[int]int
	applied map[string]int
	looks   int
}

const (
	chaosApart  = 1000 * time.Millisecond // the most time between the beginnings of two mishaps
	chaosPeriod = 6 * time.Hour           // few rows for many requests
	chaosFleet  = 1010                    // instances per target: two pages
	diskSize    = 512 << 20
)

// chaosLength returns the length of the schedules and their seeds: the first
// seconds of two schedules, or the values that `make chaos` sets.
func chaosLength(t *testing.T) (length time.Duration, seeds []uint64) {
	t.Helper()
	length, seeds = 12*time.Second, []uint64{1, 2}
	if text := os.Getenv("CWHARVEST_CHAOS"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv("CWHARVEST_CHAOS_SEED"); text != "" {
		seeds = nil
		for field := range strings.SplitSeq(text, ",") {
			seed, err := strconv.ParseUint(field, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			seeds = append(seeds, seed)
		}
	}
	return length, seeds
}

// TestChaos proves that after any number of mishaps at once, every row of every
// night exists once, and nothing that a status showed as done was lost meanwhile.
// `make chaos SEED=7` runs the schedule of seed 7.
func TestChaos(t *testing.T) {
	length, seeds := chaosLength(t)
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			c := newChaos(t, seed, chaosFleet, []string{"CPUUtilization", "NetworkIn", "NetworkOut"}, []string{"Average", "Maximum"}, "quota_share: 0.1\n")
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("to see it again: make chaos SEED=%d MINUTES=%g", seed, length.Minutes())
				}
			})
			c.mountDisk()
			c.rage(schedule(seed, length, chaosApart, chaosKinds), length)
			c.mend()
			c.complete()
			if c.bucket != nil {
				c.download()
			}
			found := c.check()
			c.checkStatus()
			stats := c.sim.Stats()
			c.Logf("seed %d: %d rows in %d files, 0/0/0; exits %v; %d looks at the status; %v", seed, found.Rows, found.Files, c.exits, c.looks, c.applied)
			c.Logf("seed %d: %d calls, %d answered, %v", seed, stats.Total(), stats.Answered, stats.Codes)
			if c.looks == 0 || len(stats.Codes) == 0 {
				t.Errorf("%d looks at the status, %v: too little went wrong to tell", c.looks, stats.Codes)
			}
		})
	}
}

// newChaos makes a directory, ninety days ago, for targets with a number of instances.
func newChaos(t *testing.T, seed uint64, instances int, metrics, statistics []string, settings string) *chaos {
	t.Helper()
	c := &chaos{key: 1, patience: 4 * time.Minute, exited: make(chan error, 1),
		shown: map[string]*record.Status{}, exits: map[int]int{}, applied: map[string]int{}}
	c.night = newNight(t, awssim.Config{
		Accounts: chaosAccounts, Regions: chaosRegions, Instances: instances,
		PageDatapoints: 700, Latency: 5 * time.Millisecond, Jitter: 20 * time.Millisecond, SessionLife: 4 * time.Second, Seed: seed,
		Now: func() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) },
	}, chaosPeriod, 1, metrics, statistics, "")
	c.setClock(c.truth.End.AddDate(0, 0, -90).Add(75 * time.Minute))
	c.truth.Start = c.clock.Truncate(24*time.Hour).AddDate(0, 0, -1)
	c.base = append(slices.DeleteFunc(c.env, func(variable string) bool { return strings.HasPrefix(variable, "CWHARVEST_") }),
		"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(c.dir, "credentials"))
	c.flags = []string{"--call-timeout", "2s", "--wait-for-credentials", "1s", "--drain-timeout", "1s"}
	c.writeKey()
	c.configure(seed, settings)
	t.Cleanup(func() {
		c.sim.Clear("") // a hanging call would keep the server from closing
		if c.process != nil {
			_ = c.process.Process.Kill() // the test has failed already
			<-c.exited
		}
	})
	return c
}

// configure writes a configuration; the seed selects its format or S3.
func (c *chaos) configure(seed uint64, settings string) {
	c.Helper()
	formats := []string{"format: csv\ncompression: gzip", "format: parquet", "format: jsonl\ncompression: zstd", "out: s3://bucket/harvest/data"}
	if seed%4 == 3 {
		c.bucket = s3test.Start(c.T, "bucket")
		c.base = append(c.base, "AWS_ENDPOINT_URL_S3="+c.bucket.URL)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "dir: harvest\nrange: since_last\nperiod: %v\npart_size: 64KiB\n%s\n%s", chaosPeriod, formats[seed%4], settings)
	fmt.Fprintf(&text, "defaults: {role_name: metrics-reader, external_id: x1, regions: [%s]}\naccounts:\n", strings.Join(chaosRegions, ", "))
	for _, account := range chaosAccounts {
		fmt.Fprintf(&text, "  - {id: %q}\n", account)
	}
	fmt.Fprintf(&text, "metrics: [{namespace: AWS/EC2, names: [%s], statistics: [%s]}]\n",
		strings.Join(c.truth.Metrics, ", "), strings.Join(slices.Sorted(maps.Values(c.truth.Statistics)), ", "))
	if err := os.WriteFile(filepath.Join(c.dir, "harvest.yaml"), []byte(text.String()), 0o666); err != nil {
		c.Fatal(err)
	}
}

// start starts the command once more.
func (c *chaos) start(flags ...string) {
	c.Helper()
	c.env = append(slices.Clip(c.base), testClock+"="+c.clock.Format(time.RFC3339))
	c.process, _ = c.command(append(append([]string{"run", "-c", "harvest.yaml"}, c.flags...), flags...)...)
	c.output, c.sent = &lockedBuffer{}, map[syscall.Signal]bool{}
	c.process.Stdout, c.process.Stderr = c.output, c.output
	if err := c.process.Start(); err != nil {
		c.Fatal(err)
	}
	go func(p *exec.Cmd) { c.exited <- p.Wait() }(c.process)
}

// rage runs the command again and again while the schedule's mishaps happen.
func (c *chaos) rage(all []mishap, length time.Duration) {
	c.Helper()
	c.started = time.Now()
	c.start()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	left := steps(all)
	for time.Since(c.started) < length {
		wait := length - time.Since(c.started)
		if len(left) > 0 {
			wait = left[0].at - time.Since(c.started)
		}
		timer := time.NewTimer(wait)
		select {
		case <-c.exited:
			c.ended()
			if c.once {
				return
			}
			c.again = time.After(100 * time.Millisecond)
		case <-c.again:
			c.again = nil
			c.start()
		case <-tick.C:
			c.look()
			if c.ticked != nil {
				c.ticked()
			}
		case <-timer.C:
			if len(left) > 0 {
				left[0].do(c)
				left = left[1:]
			}
		}
		timer.Stop()
	}
}

// ended checks the exit code and output of a process. After a complete run it
// moves the clock on.
func (c *chaos) ended() {
	c.Helper()
	code, text := c.process.ProcessState.ExitCode(), c.output.String()
	c.process = nil
	c.exits[code]++
	c.Logf("%7.3fs exit %d: %s", time.Since(c.started).Seconds(), code, lastOf(text))
	full := strings.Contains(text, "no space left on device") // a commit may have waited for room at SIGTERM
	allowed := map[int]bool{
		exitComplete: true, exitIncomplete: true, exitCredentials: true, exitFatal: full && c.sent[syscall.SIGTERM],
		exitSignal + int(syscall.SIGTERM): c.sent[syscall.SIGTERM],
		-1:                                c.sent[syscall.SIGKILL] || c.sent[syscall.SIGTERM], // SIGTERM came before its handler was set
	}[code]
	marks := []string{"panic:", "fatal error:", "DATA RACE", "goroutine ", "\nSDK "}
	if !allowed || slices.ContainsFunc(marks, func(mark string) bool { return strings.Contains(text, mark) }) {
		c.Fatalf("exit %d:\n%s", code, text)
	}
	if slices.ContainsFunc(c.sim.Secrets(), func(secret string) bool { return strings.Contains(text, secret) }) {
		c.Errorf("a secret was printed:\n%s", text)
	}
	if code == exitComplete {
		c.setClock(c.clock.Add(time.Duration(5+c.exits[code]*7%20) * time.Hour))
	}
}

func lastOf(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// look reads the status, as a person might at any time.
func (c *chaos) look() {
	c.Helper()
	s, err := record.ReadStatus(filepath.Join(c.dir, "harvest"))
	if err != nil {
		if !errors.Is(err, record.ErrNoJob) {
			c.Errorf("%7.3fs status: %v", time.Since(c.started).Seconds(), err)
		}
		return
	}
	c.looks++
	c.compare(s)
}

// compare checks that a status counts everything, and that done instances stay
// done. The snapshot of a killed process may be older than the last status from
// the database; its source says that it is a snapshot.
func (c *chaos) compare(s *record.Status) {
	c.Helper()
	in := s.Instances
	if in.Planned != in.Done+in.Empty+in.Failed+in.Denied+in.Pending {
		c.Errorf("status of %s does not add up: %+v", s.Job, in)
	}
	before := c.shown[s.Job]
	switch {
	case before == nil:
	case s.Transaction < before.Transaction && s.Source == "snapshot":
		return
	case s.Transaction < before.Transaction, in.Done+in.Empty < before.Instances.Done+before.Instances.Empty:
		c.Errorf("status of %s: %s, transaction %d: %+v; it was transaction %d, %+v before",
			s.Job, s.Source, s.Transaction, in, before.Transaction, before.Instances)
		return
	}
	c.shown[s.Job] = s
}

// mend ends all mishaps; a process that is running must then exit by itself.
func (c *chaos) mend() {
	c.Helper()
	for i := range chaosKinds {
		c.end(&mishap{kind: chaosKinds[i].name})
	}
	c.ahead.Store(0) // AWS's clock decides what is due
	c.Logf("%7.3fs all trouble is over", time.Since(c.started).Seconds())
	if c.process != nil {
		c.wait()
	}
}

// wait waits for the process to exit, with one of the codes if any, within c.patience.
func (c *chaos) wait(codes ...int) {
	c.Helper()
	stuck := time.AfterFunc(c.patience, func() { c.signal(syscall.SIGQUIT) }) // its trace shows where
	<-c.exited
	stuck.Stop()
	code := c.process.ProcessState.ExitCode()
	c.ended()
	if len(codes) > 0 && !slices.Contains(codes, code) {
		c.Fatalf("without any trouble it ends with %d:\n%s", code, c.output)
	}
}

// complete harvests everything until the last midnight. The first run leaves the
// denied targets of an open job alone, so each such night is then run by name.
func (c *chaos) complete() {
	c.Helper()
	c.truth.End = c.latest.Truncate(24*time.Hour).AddDate(0, 0, 1)
	c.clock = c.truth.End.Add(config.Default().Settle + 10*time.Minute)
	c.start()
	c.wait(exitComplete, exitIncomplete)
	jobs, err := record.ReadJobs(filepath.Join(c.dir, "harvest"))
	if err != nil {
		c.Fatal(err)
	}
	for _, j := range jobs {
		if j.State == record.FinishedWithFailures {
			c.start("--night", j.Plan.Start.Format(time.DateOnly))
			c.wait(exitComplete)
		}
	}
}

// checkStatus compares each job with the latest status that was shown of it.
func (c *chaos) checkStatus() {
	c.Helper()
	dir, err := store.Open(filepath.Join(c.dir, "harvest"), store.Config{})
	if err != nil {
		c.Fatal(err)
	}
	defer dir.Close()
	for _, id := range slices.Sorted(maps.Keys(c.shown)) {
		s, err := record.JobStatus(filepath.Join(c.dir, "harvest"), id)
		if err != nil {
			c.Fatal(err)
		}
		c.compare(s)
		if in := s.Instances; in.Planned != int64(4*c.config.Instances) || in.Failed+in.Denied+in.Pending > 0 {
			c.Errorf("%s: %+v", id, in)
		}
	}
}
