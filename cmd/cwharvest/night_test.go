package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cwharvest/cmd/cwharvest/demo"
	"cwharvest/pipeline/awssim"
	"cwharvest/store"
	"cwharvest/store/place/s3test"
	"cwharvest/store/record"
)

// night is one job against a simulated AWS, run by processes of their own.
type night struct {
	*testing.T
	sim     *awssim.Server
	config  awssim.Config
	env     []string
	dir     string
	program string
	truth   demo.Expected
	bucket  *s3test.Server // where its output lies; nil: in a directory
}

// newNight serves a simulated AWS and writes a configuration for its accounts
// and regions with these extra settings, for yesterday.
func newNight(t *testing.T, c awssim.Config, period time.Duration, days int, metrics, statistics []string, settings string) *night {
	t.Helper()
	needsProcesses(t)
	c.RoleName, c.ExternalID = "metrics-reader", "x1"
	c.Distinct = true // so that a value in a wrong place is wrong
	n := &night{T: t, sim: awssim.New(c), config: c, dir: t.TempDir(), program: "cwharvest"}
	server := httptest.NewServer(n.sim)
	t.Cleanup(server.Close)
	n.env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CWHARVEST_") }) // settings
	n.env = append(n.env, awssim.Environment(c, server.URL)...)
	end := demo.LastSettled(time.Now())
	n.truth = demo.Expected{
		AWS: c, Namespace: "AWS/EC2", Metrics: metrics, Statistics: map[string]string{},
		Start: end.Add(-time.Duration(days) * 24 * time.Hour), End: end, Period: period,
	}
	for _, s := range statistics {
		n.truth.Statistics[strings.ToLower(s)] = s
	}
	var spec strings.Builder
	fmt.Fprintf(&spec, "dir: harvest\nperiod: %d\nrange: {from: %s, to: %s}\n", period/time.Second,
		n.truth.Start.Format(time.RFC3339), n.truth.End.Format(time.RFC3339))
	fmt.Fprintf(&spec, "defaults: {role_name: metrics-reader, external_id: x1, regions: [%s]}\naccounts:\n", strings.Join(c.Regions, ", "))
	for _, account := range c.Accounts {
		fmt.Fprintf(&spec, "  - {id: %q}\n", account)
	}
	fmt.Fprintf(&spec, "metrics: [{namespace: AWS/EC2, names: [%s], statistics: [%s]}]\n%s",
		strings.Join(metrics, ", "), strings.Join(statistics, ", "), settings)
	if err := os.WriteFile(filepath.Join(n.dir, "harvest.yaml"), []byte(spec.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	return n
}

// builtProgram is the program as it is released, built once beside the test
// binary: without the race detector and the tests, which cost memory and time.
var builtProgram = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	program := filepath.Join(filepath.Dir(self), "cwharvest-built")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, nil
})

// build has the night run by the program as it is released.
func (n *night) build() {
	n.Helper()
	needsProcesses(n.T)
	var err error
	if n.program, err = builtProgram(); err != nil {
		n.Fatal(err)
	}
}

func (n *night) command(args ...string) (*exec.Cmd, *bytes.Buffer) {
	var output bytes.Buffer
	c := exec.Command(n.program, args...)
	c.Dir, c.Env, c.Stdout, c.Stderr = n.dir, n.env, &output, &output
	return c, &output
}

// run runs the job to its end, which must be complete.
func (n *night) run(flags ...string) string {
	n.Helper()
	c, output := n.command(append([]string{"run", "-c", "harvest.yaml"}, flags...)...)
	if err := c.Run(); err != nil {
		n.Fatalf("run %s: %v\n%s", flags, err, output)
	}
	return output.String()
}

// killed starts a run and kills it after d. It reports false when the run
// ended before.
func (n *night) killed(d time.Duration, flags ...string) bool {
	n.Helper()
	c, output := n.command(append([]string{"run", "-c", "harvest.yaml"}, flags...)...)
	if err := c.Start(); err != nil {
		n.Fatal(err)
	}
	timer := time.AfterFunc(d, func() {
		if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			n.Errorf("kill: %v", err)
		}
	})
	defer timer.Stop()
	err := c.Wait()
	if err != nil && c.ProcessState.ExitCode() != -1 {
		n.Fatalf("run: %v\n%s", err, output)
	}
	return err != nil
}

func (n *night) status() *record.Status {
	n.Helper()
	c, output := n.command("status", "harvest", "--json")
	if err := c.Run(); err != nil {
		n.Fatalf("status: %v\n%s", err, output)
	}
	var s record.Status
	if err := json.Unmarshal(output.Bytes(), &s); err != nil {
		n.Fatalf("status: %v\n%s", err, output)
	}
	return &s
}

func (n *night) check() demo.Findings {
	n.Helper()
	found, err := n.truth.Check(filepath.Join(n.dir, "harvest", "data"))
	if err != nil {
		n.Fatal(err)
	}
	if found.Bad() || found.Rows == 0 {
		n.Fatalf("rows missing/duplicate/wrong %d/%d/%d of %d", found.Missing, found.Duplicate, found.Wrong, found.Rows)
	}
	n.verify()
	return found
}

func (n *night) verify() {
	n.Helper()
	c, output := n.command("verify", "harvest", "--deep", "-c", "harvest.yaml")
	if err := c.Run(); err != nil {
		n.Fatalf("verify: %v\n%s", err, output)
	}
}

// done returns the instances that are done, as account/region/dimensions, from
// a copy of the harvest directory.
func (n *night) done() []string {
	n.Helper()
	harvest, copied := filepath.Join(n.dir, "harvest"), filepath.Join(n.TempDir(), "harvest")
	if _, err := os.Stat(harvest); errors.Is(err, os.ErrNotExist) {
		return nil // killed before there was a directory
	}
	if err := os.CopyFS(copied, os.DirFS(harvest)); err != nil {
		n.Fatal(err)
	}
	dir, err := store.Open(copied, store.Config{})
	if err != nil {
		n.Fatal(err)
	}
	defer dir.Close()
	jobs, err := dir.Jobs()
	if err != nil || len(jobs) == 0 {
		return nil // killed before the job existed
	}
	job, err := dir.OpenJob(jobs[0].Plan.ID)
	if err != nil {
		n.Fatal(err)
	}
	defer func() {
		if err := job.Close(0, ""); err != nil {
			n.Error(err)
		}
	}()
	var done []string
	for _, t := range job.Targets() {
		if t.Enumerated {
			done = append(done, n.notPending(job, t.Target)...)
		}
	}
	slices.Sort(done)
	return done
}

func (n *night) notPending(job *store.Job, t record.Target) []string {
	n.Helper()
	page, err := job.Pending(t, "", 1<<30)
	if err != nil {
		n.Fatal(err)
	}
	pending := map[string]bool{}
	for _, p := range page {
		pending[record.FormatDimensions(p.Instance.Dimensions)] = true
	}
	var done []string
	for i := range n.config.Instances {
		if d := "InstanceId=" + n.config.Instance(t.Account, t.Region, i).ID; !pending[d] {
			done = append(done, t.String()+"/"+d)
		}
	}
	return done
}

// TestKilledRunsLoseAndRepeatNothing proves that runs killed at random moments
// write every row once, fetch no finished instance again, and repeat only the
// requests that were in flight or waited for one group commit.
func TestKilledRunsLoseAndRepeatNothing(t *testing.T) {
	const most = 3
	for seed := range uint64(sized(6, 20)) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 7))
			n := newNight(t, awssim.Config{
				Accounts: []string{"111122223333", "444455556666"}, Regions: []string{"us-east-1"}, Instances: 150,
				Latency: 10 * time.Millisecond, SessionLife: 2 * time.Second, TrackRepeats: true, Seed: seed,
			}, 5*time.Minute, 1, []string{"CPUUtilization", "NetworkIn", "NetworkOut"}, []string{"Average", "Maximum"},
				"quota_share: 0.2\npart_size: 256KB\n")
			kills := 0
			var done []string // when the last attempt was killed
			for kills < most && n.killed(time.Duration(rng.Int64N(int64(1500*time.Millisecond)))) {
				kills++
				n.compareServed(done)
				done = n.done()
				n.sim.Mark()
			}
			n.run()
			n.compareServed(done)
			found := n.check()
			n.checkRepeats(kills)
			t.Logf("%d kills, %d rows, %d series fetched again", kills, found.Rows, n.sim.Stats().Repeated/2)
		})
	}
}

// compareServed checks that no finished instance has been served since.
func (n *night) compareServed(done []string) {
	n.Helper()
	for _, instance := range n.sim.Served() {
		if _, again := slices.BinarySearch(done, instance); again {
			n.Errorf("%s was done and was fetched again", instance)
		}
	}
}

// checkRepeats bounds the cost of kills: 8 requests in flight for each of 2
// targets, and one second of quota before a group commit.
func (n *night) checkRepeats(kills int) {
	n.Helper()
	const perRequest, perKill = 350, 2 * (8 + 2)
	stats := n.sim.Stats()
	if stats.Repeated > kills*perKill*perRequest {
		n.Errorf("%d queries answered again after %d kills", stats.Repeated, kills)
	}
}

// TestFivePerCentOfCallsFaulty proves that no row is missing, doubled or wrong
// when 5 % of calls fail in every way the simulated AWS knows.
func TestFivePerCentOfCallsFaulty(t *testing.T) {
	besideOthers(t)
	n := newNight(t, awssim.Config{
		Accounts: []string{"111122223333", "444455556666"}, Regions: []string{"us-east-1", "eu-west-1"}, Instances: sized(1500, 3000),
		PageDatapoints: 5000, Latency: 2 * time.Millisecond, SessionLife: 5 * time.Second, Seed: 11,
	}, time.Hour, 1, usualMetrics, []string{"Average", "Maximum"}, "")
	kinds := []awssim.Fault{
		{Kind: "throttle"}, {Kind: "error500"}, {Kind: "error503"}, {Kind: "cut"}, {Kind: "truncate"}, {Kind: "hang"},
		{Kind: "latency", Millis: 1500}, {Kind: "partial"}, {Kind: "internal_result"},
		{Kind: "expired"}, {Kind: "expired", Spelling: "xml"}, {Kind: "expired", Spelling: "empty"}, {Kind: "expired", Spelling: "RequestExpired"},
	}
	for _, f := range kinds {
		f.Probability = 0.05 / float64(len(kinds))
		if f.Kind == "expired" {
			f.Service = "monitoring"
		}
		if err := n.sim.Inject(f); err != nil {
			t.Fatal(err)
		}
	}
	c, output := n.command("run", "-c", "harvest.yaml", "--call-timeout", "2s")
	if err := c.Run(); err != nil {
		t.Fatalf("run: %v\n%s", err, output)
	}
	found := n.check()
	stats := n.sim.Stats()
	if len(stats.Codes) < 4 {
		t.Errorf("only these went wrong: %v", stats.Codes)
	}
	t.Logf("%d rows, %d calls, %v", found.Rows, stats.Total(), stats.Codes)
}

// TestManyTargets proves that 2,400 targets of ten instances, a tenth of them in
// a slice, take no more memory or connections than a few targets.
func TestManyTargets(t *testing.T) {
	besideOthers(t)
	var accounts, regions []string
	for i := range sized(20, 200) {
		accounts = append(accounts, fmt.Sprintf("%012d", 100_000_000_000+i))
	}
	for i := range 12 {
		regions = append(regions, fmt.Sprintf("us-test-%d", i+1))
	}
	n := newNight(t, awssim.Config{Accounts: accounts, Regions: regions, Instances: 10}, 5*time.Minute, 1,
		[]string{"CPUUtilization", "NetworkIn"}, []string{"Average", "Maximum"}, "")
	n.build()
	started := time.Now()
	c, output := n.command("run", "-c", "harvest.yaml")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- c.Wait() }()
	most, sockets, first := n.watchSockets(c.Process.Pid, exited, output, started)
	n.verify()
	stats, status := n.sim.Stats(), n.status()
	t.Logf("%v, first datapoints after %v, RssAnon %d MB, %d file descriptors, %d calls, %d of them GetMetricData", time.Since(started).Round(time.Second/10),
		first.Round(time.Second/10), most>>20, sockets, stats.Total(), stats.Calls["monitoring.GetMetricData"])
	targets := len(accounts) * len(regions)
	if status.Targets.Done != int64(targets) || status.Instances.Planned != int64(10*targets) {
		t.Errorf("%d targets done, %d instances planned", status.Targets.Done, status.Instances.Planned)
	}
	if stats.Answered != targets || most > 250<<20 || sockets > 300 {
		t.Errorf("%d requests for %d targets, %d MB, %d file descriptors", stats.Answered, targets, most>>20, sockets)
	}
	if proving() && first > 10*time.Second {
		t.Errorf("first datapoints after %v", first)
	}
}

// watchSockets follows a run to its end: its largest anonymous memory, its most
// file descriptors, and when it got its first datapoints.
func (n *night) watchSockets(pid int, exited <-chan error, output *bytes.Buffer, started time.Time) (memory int64, files int, first time.Duration) {
	n.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-exited:
			if err != nil {
				n.Fatalf("run: %v\n%s", err, output)
			}
			return memory, files, first
		case <-tick.C:
			memory = max(memory, rssAnon(pid))
			if open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
				files = max(files, len(open))
			}
			if first == 0 && n.sim.Stats().Answered > 0 {
				first = time.Since(started)
			}
		}
	}
}

// rssAnon returns a process's anonymous memory in bytes; 0 when it has ended.
func rssAnon(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if rest, found := strings.CutPrefix(line, "RssAnon:"); found {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				return 0
			}
			return kb << 10
		}
	}
	return 0
}

// TestMemoryDoesNotGrowWithInstances proves that requests in flight bound the
// memory, not instances, and that status answers at once beside the run.
func TestMemoryDoesNotGrowWithInstances(t *testing.T) {
	besideOthers(t)
	peak := func(instances int) (int64, []answerTime) {
		n := newNight(t, awssim.Config{
			Accounts:  []string{"111122223333", "222233334444"},
			Regions:   []string{"us-east-1", "us-west-2", "eu-west-1", "eu-central-1"},
			Instances: instances / 8,
		}, 15*time.Minute, 1, []string{"CPUUtilization", "NetworkIn", "NetworkOut", "EBSReadOps", "EBSWriteOps", "EBSReadBytes", "EBSWriteBytes", "CPUCreditBalance"}, []string{"Average", "Maximum"}, "")
		n.build()
		c, output := n.command("run", "-c", "harvest.yaml")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		exited := make(chan error, 1)
		go func() { exited <- c.Wait() }()
		most, answers := n.watch(c.Process.Pid, exited, output)
		n.verify()
		return most, answers
	}
	small, _ := peak(2_000)
	many := sized(12_000, 50_000)
	large, answers := peak(many)
	// On a busy machine the small run ends before its heap reaches the size that
	// the collector allows, which is 102 MB on a quiet machine.
	ratio := float64(large) / float64(max(small, 100<<20))
	t.Logf("RssAnon %d MB at 2,000 instances, %d MB at %d: ratio %.2f", small>>20, large>>20, many, ratio)
	if ratio > 1.3 {
		t.Errorf("memory grows with instances: ratio %.2f", ratio)
	}
	if len(answers) == 0 {
		t.Fatal("status was never asked")
	}
	slices.SortFunc(answers, func(a, b answerTime) int { return cmp.Compare(a.wall, b.wall) })
	median, slowest := answers[len(answers)/2], answers[len(answers)-1]
	t.Logf("status beside the run: median %v of %d, slowest %v; processor time %v", median.wall, len(answers), slowest.wall, median.cpu)
	if proving() && median.cpu > 100*time.Millisecond {
		t.Errorf("status takes %v of processor time beside a run", median.cpu)
	}
}

// answerTime is the duration of one status: wall time, which other processes
// lengthen, and processor time.
type answerTime struct{ wall, cpu time.Duration }

func (n *night) timeStatus() answerTime {
	n.Helper()
	c, output := n.command("status", "harvest", "--json")
	began := time.Now()
	if err := c.Run(); err != nil {
		n.Fatalf("status: %v\n%s", err, output)
	}
	return answerTime{wall: time.Since(began), cpu: c.ProcessState.UserTime() + c.ProcessState.SystemTime()}
}

// watch follows a run to its end: its largest anonymous memory, and how long
// status took to answer beside it.
func (n *night) watch(pid int, exited <-chan error, output *bytes.Buffer) (most int64, answers []answerTime) {
	n.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ticks := 0; ; ticks++ {
		select {
		case err := <-exited:
			if err != nil {
				n.Fatalf("run: %v\n%s", err, output)
			}
			return most, answers
		case <-tick.C:
			most = max(most, rssAnon(pid))
			if ticks%50 == 25 {
				answers = append(answers, n.timeStatus())
			}
		}
	}
}

// TestDatabaseDoesNotGrowWithTheJob proves that the database stays within the
// size of its instances, twice the spool limit, and the 16 MB that bbolt reserves.
func TestDatabaseDoesNotGrowWithTheJob(t *testing.T) {
	t.Parallel()
	const limit, ahead, instances = 2 << 20, 16 << 20, 400
	n := newNight(t, awssim.Config{
		Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}, Instances: instances,
	}, 5*time.Minute, 5, []string{"CPUUtilization", "NetworkIn", "NetworkOut"}, []string{"Average", "Maximum"}, "part_size: 512KiB\nspool_limit: 2MiB\n")
	n.run()
	paths, err := filepath.Glob(filepath.Join(n.dir, "harvest", "jobs", "*.db"))
	if err != nil || len(paths) != 1 {
		t.Fatal(paths, err)
	}
	info, err := os.Stat(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	n.verify()
	raw := 8 * n.sim.Stats().Estimated
	t.Logf("%d MB of datapoints through a database of %d MB", raw>>20, info.Size()>>20)
	if raw < 10*limit {
		t.Errorf("the job is too short to tell: %d MB", raw>>20)
	}
	if most := int64(instances*1024 + 2*limit + ahead); info.Size() > most {
		t.Errorf("%d bytes, want at most %d", info.Size(), most)
	}
}
