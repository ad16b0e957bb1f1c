package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"
	"cwharvest/store/encode"
)

// TestBench measures the table of docs/performance.md for `make bench`. Only wrong
// results fail it; figures never do. CWHARVEST_BENCH is the document in which the
// table is replaced, or "print".
func TestBench(t *testing.T) {
	document := os.Getenv("CWHARVEST_BENCH")
	if document == "" {
		t.Skip("measures for seven minutes: make bench")
	}
	groups := []struct {
		name    string
		measure func(*testing.T, *benchTable)
	}{
		{"processor", benchProcessor}, {"quota", benchQuota}, {"unbounded", benchUnbounded}, {"large", benchLarge},
		{"writing", benchWriting}, {"bytes", benchBytes},
	}
	figures, measured := &benchTable{}, 0
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			g.measure(t, figures)
			measured++
		})
	}
	fmt.Print(figures)
	if document == "print" || measured < len(groups) {
		return
	}
	if err := figures.replaceIn(document); err != nil {
		t.Fatal(err)
	}
}

// shape is the size of a job's requests and their statistics.
type shape struct {
	name           string
	series, points int // per request
	statistics     []string
}

// benchShapes are full requests: for a day, for a fortnight, and for a day of the
// default statistics.
var benchShapes = []shape{
	{"350x288", 350, 288, []string{"Average"}},
	{"25x4032", 25, 4032, []string{"Average"}},
	{"175x288x2", 175, 288, []string{"Average", "Maximum"}},
}

// unlimited sets a quota that no machine can reach.
const unlimited = "quota_share: 1000\n"

// benchNight returns a job with a number of requests of one shape, in one target.
func benchNight(t *testing.T, s shape, requests int, settings string) *night {
	t.Helper()
	c := awssim.Config{
		Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}, Instances: s.series * requests / len(usualMetrics),
	}
	n := newNight(t, c, 5*time.Minute, s.points/288, usualMetrics, s.statistics, settings)
	n.build()
	return n
}

// plain returns a command that runs plainSDK with the requests of the night.
func (n *night) plain(s shape, inFlight int) *exec.Cmd {
	n.Helper()
	r := plainRequests{
		Region: n.config.Regions[0], Start: n.truth.Start, End: n.truth.End, Period: int32(n.truth.Period / time.Second),
		Metrics: n.truth.Metrics, Statistics: s.statistics, Series: s.series, InFlight: inFlight,
	}
	for i := range n.config.Instances {
		r.Instances = append(r.Instances, n.config.Instance(n.config.Accounts[0], n.config.Regions[0], i).ID)
	}
	input, err := json.Marshal(r)
	if err != nil {
		n.Fatal(err)
	}
	c := exec.Command("plainsdk")
	c.Env, c.Stdin = n.env, bytes.NewReader(input)
	return c
}

// again returns a command that runs the whole night from the beginning.
func (n *night) again(flags ...string) *exec.Cmd {
	n.Helper()
	if err := os.RemoveAll(filepath.Join(n.dir, "harvest")); err != nil {
		n.Fatal(err)
	}
	c, _ := n.command(append([]string{"run", "-c", "harvest.yaml", "--quiet"}, flags...)...)
	return c
}

// cost is the time that a program took and the amount of data that it received.
type cost struct {
	wall, processor time.Duration
	datapoints      int64
	requests        int
}

func (c cost) perPoint() float64  { return float64(c.processor) / float64(c.datapoints) } // ns
func (c cost) perSecond() float64 { return float64(c.datapoints) / c.wall.Seconds() }

func (n *night) cost(c *exec.Cmd) cost {
	n.Helper()
	var output bytes.Buffer
	c.Stdout, c.Stderr = &output, &output
	before, began := n.sim.Stats(), time.Now()
	if err := c.Run(); err != nil {
		n.Fatalf("%s: %v\n%s", c.Args, err, &output)
	}
	after := n.sim.Stats()
	return cost{
		wall: time.Since(began), processor: c.ProcessState.UserTime() + c.ProcessState.SystemTime(),
		datapoints: after.Datapoints - before.Datapoints, requests: after.Answered - before.Answered,
	}
}

// compare runs the night and the plain client and checks that both received the same.
func (n *night) compare(s shape, inFlight int, flags ...string) (ours, plain cost) {
	n.Helper()
	ours, plain = n.cost(n.again(flags...)), n.cost(n.plain(s, inFlight))
	if ours.datapoints == 0 || ours.datapoints != plain.datapoints || ours.requests != plain.requests {
		n.Fatalf("the run was answered %d datapoints in %d requests, the plain client %d in %d", ours.datapoints, ours.requests, plain.datapoints, plain.requests)
	}
	if s := n.status(); s.Datapoints != ours.datapoints || s.State != "finished" {
		n.Fatalf("%d datapoints of %d were committed, %s", s.Datapoints, ours.datapoints, s.State)
	}
	return ours, plain
}

// benchProcessor compares whole runs with the plain client. The two alternate,
// because the speed of a machine varies.
func benchProcessor(t *testing.T, figures *benchTable) {
	const rounds = 5
	for _, s := range benchShapes {
		n := benchNight(t, s, 100, unlimited)
		var ratios, ours, plain []float64
		for range rounds {
			run, other := n.compare(s, 1)
			ratios = append(ratios, float64(run.processor)/float64(other.processor))
			ours, plain = append(ours, run.perPoint()), append(plain, other.perPoint())
			t.Logf("%s: %.1f and %.1f ns a datapoint", s.name, run.perPoint(), other.perPoint())
		}
		statistics := strings.ToLower(strings.Join(s.statistics, " and "))
		figures.add(fmt.Sprintf("processor time, run over plain SDK client: %d series x %d datapoints, %s", s.series, s.points, statistics),
			"%.2f (%.2f to %.2f); %.0f and %.0f ns a datapoint", median(ratios), slices.Min(ratios), slices.Max(ratios), median(ours), median(plain)).target("at most 0.5")
	}
}

// benchQuota measures runs at the quotas that the simulated AWS enforces.
func benchQuota(t *testing.T, figures *benchTable) {
	const watch, around = 30 * time.Second, 20 * time.Second
	one := awssim.Config{Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}}
	eight := awssim.Config{Accounts: []string{"111122223333", "222233334444", "333344445555", "444455556666"}, Regions: []string{"us-east-1", "eu-west-1"}}
	for _, c := range []struct {
		name       string
		config     awssim.Config
		share      float64
		points     int
		statistics []string
		perSecond  float64 // instances that the quota allows
	}{
		{"requests, one target", one, 0.05, 1, []string{"Average"}, 0.05 * 500 * 500 / 8},
		{"datapoints, one target", one, 1, 288, []string{"Average", "Maximum"}, 396_000 / 8 / 2 / 288},
		{"datapoints, the slowest of eight targets", eight, 1, 288, []string{"Average", "Maximum"}, 396_000 / 8 / 2 / 288},
	} {
		targets := len(c.config.Accounts) * len(c.config.Regions)
		c.config.Instances = int(c.perSecond * (watch + around).Seconds())
		n := quotaNight(t, c.share, c.config, c.points, usualMetrics, c.statistics)
		n.start(8 * targets)
		r := n.measure(watch)
		reached := r.requests / (500 * c.share)
		if c.points > 1 {
			reached = slices.Min(slices.Collect(maps.Values(r.targets))) / (396_000 * c.share)
		}
		if len(r.targets) != targets || reached == 0 {
			t.Fatalf("%s: %d targets were answered", c.name, len(r.targets))
		}
		figures.add("quota reached over quota enforced: "+c.name, "%.3f; %.2f %% of the calls throttled", reached, 100*r.throttled/(r.requests+r.throttled))
	}
}

// benchUnbounded measures runs that only the machine limits.
func benchUnbounded(t *testing.T, figures *benchTable) {
	s := benchShapes[2]
	n := benchNight(t, s, 200, unlimited)
	for _, inFlight := range []int{1, 8, 32} {
		ours, plain := n.compare(s, inFlight, "--concurrency", strconv.Itoa(inFlight))
		figures.add(fmt.Sprintf("datapoints a second, no quota, no latency, %d in flight (plain SDK client)", inFlight),
			"%.1f million (%.1f million)", ours.perSecond()/1e6, plain.perSecond()/1e6)
	}
}

// benchWriting measures a minute of writing at the quota. No run could be faster
// than the quota, even if it discarded its output.
func benchWriting(t *testing.T, figures *benchTable) {
	const quota, points, seconds = 396_000, 288, 60
	n := quotaNight(t, 1, awssim.Config{
		Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}, Instances: quota / 8 / 2 / points * seconds,
	}, points, usualMetrics, []string{"Average", "Maximum"})
	c := n.cost(n.again())
	s := n.status()
	if s.State != "finished" || s.Datapoints != c.datapoints || c.datapoints == 0 {
		t.Fatalf("%d datapoints of %d were committed, %s", s.Datapoints, c.datapoints, s.State)
	}
	ideal := float64(n.sim.Stats().Estimated) / quota
	figures.add("time with everything written over the least that the quota allows",
		"%.3f; %.1f of %.1f s", c.wall.Seconds()/ideal, c.wall.Seconds(), ideal).target("at most 1.15")
	figures.add("commits a second there", "%.2f", float64(s.Transaction)/c.wall.Seconds())
	figures.add(fmt.Sprintf("its database after %.1f million datapoints", float64(s.Datapoints)/1e6), "%.1f MB", float64(n.bytes("harvest/jobs/*.db"))/1e6)
}

// bytes returns the total size of the files that match a pattern.
func (n *night) bytes(pattern string) (total int64) {
	n.Helper()
	paths, err := filepath.Glob(filepath.Join(n.dir, pattern))
	if err != nil || len(paths) == 0 {
		n.Fatalf("%s: no such files; %v", pattern, err)
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			n.Fatal(err)
		}
		total += info.Size()
	}
	return total
}

// benchBytes measures the bytes written for a datapoint, for the values of the
// simulated AWS, which are noise, and for values like those of EC2.
func benchBytes(t *testing.T, figures *benchTable) {
	const text = "bytes for a datapoint (raw: 16), Parquet and CSV with gzip: "
	n := benchNight(t, benchShapes[2], 20, unlimited)
	c := n.cost(n.again())
	export, output := n.command("export", "harvest", "--format", "csv", "--compression", "gzip", "--to", "csv")
	if err := export.Run(); err != nil {
		t.Fatalf("export: %v\n%s", err, output)
	}
	points := float64(c.datapoints)
	figures.add(text+"the simulated values", "%.2f and %.2f", float64(n.bytes("harvest/data/*/*.parquet"))/points, float64(n.bytes("csv/*/*.csv.gz"))/points)
	parquet, points := writeUsual(t, encode.Format{Name: "parquet"})
	csv, _ := writeUsual(t, encode.Format{Name: "csv", Compression: "gzip"})
	figures.add(text+"values like those of EC2", "%.2f and %.2f", parquet/points, csv/points)
}

// writeUsual writes a day of 500 instances and returns the file's size and its
// datapoints.
func writeUsual(t *testing.T, f encode.Format) (size, datapoints float64) {
	var file bytes.Buffer
	w, err := f.NewWriter(&file, []string{"Average", "Maximum"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 500 {
		id := fmt.Sprintf("i-0%016x", rng.Uint64())
		for _, metric := range usualMetrics {
			run := encode.Run{
				Account: "111122223333", Region: "us-east-1", Namespace: "AWS/EC2", Metric: metric, InstanceID: id, Dimensions: "InstanceId=" + id,
				Start: 1_764_028_800, Period: 300, Points: 288, Columns: usualColumns(metric, i, rng),
			}
			if err := w.WriteRun(&run); err != nil {
				t.Fatal(err)
			}
			datapoints += 2 * 288
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return float64(file.Len()), datapoints
}

// usualColumns returns a metric's average and maximum of five values a period:
// any fraction for processors, mostly zero for disks, whole numbers for networks,
// and slowly changing numbers for credits.
func usualColumns(metric string, instance int, rng *rand.Rand) [][]float64 {
	columns := [][]float64{make([]float64, 288), make([]float64, 288)}
	for i := range 288 {
		sum, most := 0.0, 0.0
		idle := strings.HasPrefix(metric, "EBS") && rng.IntN(10) > 0
		for range 5 {
			v := math.Floor(10_000 * (1 + rng.ExpFloat64()))
			switch {
			case metric == "CPUUtilization":
				v = 100 * rng.Float64() * rng.Float64()
			case metric == "CPUCreditBalance":
				v = float64(100 + instance + i/24)
			case idle:
				v = 0
			}
			sum, most = sum+v, max(most, v)
		}
		columns[0][i], columns[1][i] = sum/5, most
	}
	return columns
}
