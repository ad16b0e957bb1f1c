package main

import (
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"
	"cwharvest/store/record"
)

// steady is how long a quota is watched in full.
const steady = time.Minute

// measures skips a test that is nothing but a measurement.
func measures(t *testing.T) {
	t.Helper()
	if !proving() {
		t.Skip("measures: make proofs PROOF=quota")
	}
}

// paced runs a slice to its end: few calls are throttled, and each row is there.
func (n *night) paced() {
	n.Helper()
	n.run()
	n.verify()
	stats := n.sim.Stats()
	n.Logf("%d calls answered, %d throttled", stats.Answered, stats.Throttled)
	if stats.Throttled > max(1, stats.Answered/5) {
		n.Errorf("%d calls throttled, %d answered", stats.Throttled, stats.Answered)
	}
}

// quotaNight is a job that uses a share of the quotas, which the simulated AWS
// enforces, so that the ratio says something of two cores.
func quotaNight(t *testing.T, share float64, c awssim.Config, points int, metrics, statistics []string) *night {
	c.Latency, c.Jitter = 20*time.Millisecond, 40*time.Millisecond
	c.RequestsPerSecond, c.DatapointsPerSecond = 500*share, 396_000*share
	n := newNight(t, c, 24*time.Hour/time.Duration(points), 1, metrics, statistics, fmt.Sprintf("quota_share: %g\n", share))
	n.build()
	return n
}

// start begins a run that ends with the test, and waits for its first answers.
func (n *night) start(answered int) *exec.Cmd {
	n.Helper()
	c, output := n.command("run", "-c", "harvest.yaml")
	if err := c.Start(); err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() {
		if err := c.Process.Kill(); err != nil {
			n.Errorf("the run ended before it was stopped: %v\n%s", err, output)
		}
		_ = c.Wait() // it was killed
	})
	n.waitAnswered(answered)
	return c
}

// waitAnswered waits until the simulated AWS has answered so many calls for data.
func (n *night) waitAnswered(calls int) {
	n.Helper()
	n.waitFor(fmt.Sprint(calls, " calls answered"), func(s awssim.Stats) bool { return s.Answered >= calls })
}

func (n *night) waitFor(what string, holds func(awssim.Stats) bool) {
	n.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(hangAfter); !holds(n.sim.Stats()); <-tick.C {
		if time.Now().After(deadline) {
			n.Fatalf("not within %v: %s", hangAfter, what)
		}
	}
}

// rates are counts per second.
type rates struct {
	requests, points, throttled float64
	targets                     map[string]float64 // datapoints
}

// measure watches for d. The sleep is the measure, not a synchronisation.
func (n *night) measure(d time.Duration) rates {
	before, began := n.sim.Stats(), time.Now()
	time.Sleep(d)
	after, seconds := n.sim.Stats(), time.Since(began).Seconds()
	r := rates{
		requests: float64(after.Answered-before.Answered) / seconds, points: float64(after.Estimated-before.Estimated) / seconds,
		throttled: float64(after.Throttled-before.Throttled) / seconds, targets: map[string]float64{},
	}
	for t, points := range after.Points {
		r.targets[t] = float64(points-before.Points[t]) / seconds
	}
	return r
}

var usualMetrics = []string{"CPUUtilization", "NetworkIn", "NetworkOut", "EBSReadOps", "EBSWriteOps", "EBSReadBytes", "EBSWriteBytes", "CPUCreditBalance"}

// TestQuotaIsReached proves that a run reaches 97 % of the quota of requests or
// datapoints over a steady minute and is hardly ever throttled.
func TestQuotaIsReached(t *testing.T) {
	one := awssim.Config{Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}}
	for _, c := range []struct {
		name               string
		share              float64
		points             int
		instancesPerSecond float64 // that the quota lets through
		statistics         []string
	}{
		{"requests bind", 0.05, 1, 25 * 500 / 8, []string{"Average"}},
		{"datapoints bind", 1, 288, 396_000 / 8 / 2 / 288, []string{"Average", "Maximum"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			besideOthers(t)
			config := one
			config.Instances = int(c.instancesPerSecond * sized(4, steady.Seconds()+15))
			n := quotaNight(t, c.share, config, c.points, usualMetrics, c.statistics)
			if !proving() {
				n.paced()
				return
			}
			n.start(8)
			r := n.measure(steady)
			ofRequests, ofPoints := r.requests/(500*c.share), r.points/(396_000*c.share)
			t.Logf("%.3f of the request quota, %.3f of the datapoint quota, %.4f of the calls throttled", ofRequests, ofPoints, r.throttled/(r.requests+r.throttled))
			if max(ofRequests, ofPoints) < 0.97 || r.throttled > 0.01*r.requests {
				t.Errorf("%.1f requests, %.0f datapoints, %.2f throttles a second", r.requests, r.points, r.throttled)
			}
		})
	}
}

// TestQuotaIsHalvedAndRestored proves that a run slows below a halved quota
// within five seconds, and speeds up again when it is restored.
func TestQuotaIsHalvedAndRestored(t *testing.T) {
	besideOthers(t)
	const share, quota = 0.5, 396_000.0 / 2
	n := quotaNight(t, share, awssim.Config{
		Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}, Instances: sized(500, 9_000),
	}, 96, usualMetrics, []string{"Average", "Maximum"})
	set := func(points float64) {
		if err := n.sim.Inject(awssim.Fault{Kind: "quota", Requests: 500 * share, Datapoints: points}); err != nil {
			t.Fatal(err)
		}
	}
	if !proving() {
		set(quota / 2)
		n.paced()
		return
	}
	n.start(8)
	set(quota / 2)
	n.measure(5 * time.Second)
	halved := n.measure(10 * time.Second)
	set(quota)
	n.measure(45 * time.Second) // 30 s without a throttle, then a probe every 5 s
	restored := n.measure(10 * time.Second)
	t.Logf("halved: %.3f of the quota, %.4f of the calls throttled; restored: %.3f", halved.points/(quota/2),
		halved.throttled/(halved.requests+halved.throttled), restored.points/quota)
	if halved.points < 0.85*quota/2 || 10*halved.throttled > 1 {
		t.Errorf("halved: %.0f of %.0f datapoints, %.2f throttles a second of %.2f requests", halved.points, quota/2, halved.throttled, halved.requests)
	}
	if restored.points < 0.9*quota {
		t.Errorf("restored: %.0f of %.0f datapoints a second", restored.points, quota)
	}
}

// TestQuotaOfManyTargets proves that two targets that are down and one that is
// denied do not slow the others.
func TestQuotaOfManyTargets(t *testing.T) {
	besideOthers(t)
	const share, points, quota = 0.3, 96, 0.3 * 396_000.0 // five targets at their quotas leave a core idle
	n := quotaNight(t, share, awssim.Config{
		Accounts: []string{"111122223333", "222233334444", "333344445555", "444455556666"}, Regions: []string{"us-east-1", "eu-west-1"},
		Instances: sized(150, int(quota/8/2/points*(steady.Seconds()+20))),
	}, points, usualMetrics, []string{"Average", "Maximum"})
	for _, f := range []awssim.Fault{
		{Kind: "error503", Account: "111122223333", Region: "eu-west-1"}, {Kind: "cut", Account: "222233334444", Region: "eu-west-1"},
		{Kind: "access_denied", Account: "333344445555", Region: "eu-west-1"},
	} {
		if err := n.sim.Inject(f); err != nil {
			t.Fatal(err)
		}
	}
	n.start(20)
	if !proving() {
		n.waitFor("five targets fetched whole", func(s awssim.Stats) bool {
			whole := 0
			for _, got := range s.Points {
				if got >= int64(8*2*points*n.config.Instances) {
					whole++
				}
			}
			return whole == 5
		})
		return
	}
	r := n.measure(steady)
	served := 0
	for target, points := range r.targets {
		served++
		t.Logf("%s: %.3f of the quota", target, points/quota)
		if points < 0.95*quota {
			t.Errorf("%s: %.0f datapoints a second of %.0f", target, points, quota)
		}
	}
	if served != 5 {
		t.Errorf("%d targets were served, want 5", served)
	}
}

// TestWritingBesideTheQuota proves that writing hardly lengthens a run at the
// quota: even a run that discarded its output could not beat the quota.
func TestWritingBesideTheQuota(t *testing.T) {
	measures(t)
	const quota, points = 396_000.0, 288
	n := quotaNight(t, 1, awssim.Config{
		Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}, Instances: int(quota / 8 / 2 / points * steady.Seconds()),
	}, points, usualMetrics, []string{"Average", "Maximum"})
	began := time.Now()
	n.run()
	took, ideal := time.Since(began).Seconds(), float64(n.sim.Stats().Estimated)/quota
	t.Logf("%.1f s with everything written, %.1f s at the quota: %.3f", took, ideal, took/ideal)
	if ideal/took < 1/1.15 {
		t.Errorf("writing costs %.0f %% of the time", 100*(took/ideal-1))
	}
}

// TestTimeLeftOfASteadyJob proves that the reported time left is right within a
// fifth after the first tenth of a steady job of 40 seconds. The estimate leaves out the
// building of the last part, which takes longer in longer jobs: of a minute, seven
// seconds before the end, it was 22 % short.
func TestTimeLeftOfASteadyJob(t *testing.T) {
	measures(t)
	// Nothing but the run's own pace holds it: throttled, it would not be steady.
	const share, points, pace, seconds = 0.2, 288, 0.2 * 396_000.0, 40
	n := newNight(t, awssim.Config{
		Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}, Instances: int(math.Round(pace / 8 / 2 / points * seconds)),
		Latency: 20 * time.Millisecond, Jitter: 40 * time.Millisecond,
	}, 24*time.Hour/points, 1, usualMetrics, []string{"Average", "Maximum"}, fmt.Sprintf("quota_share: %g\n", share))
	n.build()
	c, output := n.command("run", "-c", "harvest.yaml")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- c.Wait() }()
	type guess struct{ at, end time.Time }
	var guesses []guess
	for tick := time.NewTicker(time.Second); ; <-tick.C {
		select {
		case err := <-exited:
			if err != nil {
				t.Fatalf("run: %v\n%s", err, output)
			}
			worst := 0.0
			for _, g := range guesses {
				left := time.Since(g.at).Seconds()
				late := time.Since(g.end).Seconds() // the estimate was too short
				worst = max(worst, math.Abs(late)/left)
				t.Logf("%4.1f s before the end %+3.0f %% off", left, -100*late/left)
			}
			t.Logf("%d guesses between a tenth and nine tenths of the job, at worst %.0f %% off", len(guesses), 100*worst)
			if len(guesses) == 0 || worst > 0.2 {
				t.Error("the time left was reported wrong")
			}
			return
		default:
		}
		s, err := record.ReadStatus(filepath.Join(n.dir, "harvest"))
		if err != nil || s.ETASeconds == nil || s.Source != "snapshot" {
			continue
		}
		if done := float64(s.Estimated.Done) / float64(s.Estimated.Planned); done > 0.1 && done < 0.9 {
			guesses = append(guesses, guess{s.Written, s.Written.Add(time.Duration(*s.ETASeconds * float64(time.Second)))})
		}
	}
}
