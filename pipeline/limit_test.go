package pipeline

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store/record"
)

// oldQuota is GetMetricData's quota of datapoints for old data.
var oldQuota = cloudwatch.DatapointsPerSecond(24 * time.Hour)

// drive sends r through the limiter for d, with a server that throttles above
// the given rate of datapoints per second. It returns the datapoints and calls that
// succeeded and the throttled calls.
func drive(l *limiter, r *request, d time.Duration, quota float64) (points float64, calls, throttles int) {
	end := time.Now().Add(d)
	tokens, last := float64(r.points), time.Now()
	for time.Now().Before(end) {
		if wait := l.wait(time.Now(), r); wait > 0 {
			time.Sleep(wait)
			continue
		}
		now := time.Now()
		l.take(now, r)
		calls++
		tokens = min(tokens+quota*now.Sub(last).Seconds(), quota)
		last = now
		if tokens < float64(r.points) {
			throttles++
			l.throttled(now, now)
			continue
		}
		tokens -= float64(r.points)
		points += float64(r.points)
	}
	return points, calls, throttles
}

func oldRequest(points int) *request {
	return &request{points: points, window: record.Window{Start: time.Now().Add(-24 * time.Hour).Unix()}}
}

func TestLimiterReachesTheQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		points, _, throttles := drive(newLimiter(1), oldRequest(100_800), time.Minute, oldQuota)
		if got := points / 60 / oldQuota; got < 0.97 || throttles > 0 {
			t.Errorf("%.3f of the datapoint quota, %d throttles", got, throttles)
		}
		_, calls, _ := drive(newLimiter(1), oldRequest(1), time.Minute, oldQuota)
		if got := float64(calls) / 60 / cloudwatch.RequestsPerSecond; got < 0.97 || got > 1.01 {
			t.Errorf("%.3f of the request quota", got)
		}
	})
}

// The limiter makes up for calls that leave a little late, but not for a rest.
func TestLimiterMakesUpForLateTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, r := newLimiter(1), oldRequest(1)
		send := func(d time.Duration) (calls float64) {
			for end := time.Now().Add(d); time.Now().Before(end); {
				if wait := l.wait(time.Now(), r); wait > 0 {
					time.Sleep(wait + time.Millisecond)
					continue
				}
				l.take(time.Now(), r)
				calls++
			}
			return calls / d.Seconds() / cloudwatch.RequestsPerSecond
		}
		if got := send(time.Minute); got < 0.99 || got > 1.01 {
			t.Errorf("%.3f of the request quota", got)
		}
		time.Sleep(time.Minute)
		if got := send(time.Second); got > 1.01 {
			t.Errorf("%.3f of the request quota after a rest", got)
		}
	})
}

func TestLimiterSettlesBelowALowerQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, r := newLimiter(1), oldRequest(10_000)
		drive(l, r, 10*time.Second, oldQuota/2)
		points, calls, throttles := drive(l, r, 2*time.Minute, oldQuota/2)
		if got := points / 120 / (oldQuota / 2); got < 0.85 {
			t.Errorf("%.3f of the lowered quota", got)
		}
		if got := float64(throttles) / float64(calls); got > 0.02 {
			t.Errorf("%.3f of the calls throttled", got)
		}
		drive(l, r, 20*time.Minute, oldQuota)
		points, _, _ = drive(l, r, time.Minute, oldQuota)
		if got := points / 60 / oldQuota; got < 0.97 {
			t.Errorf("%.3f of the restored quota after 20 minutes", got)
		}
	})
}

func TestLimiterCutsOncePerFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(1)
		sent := time.Now()
		time.Sleep(time.Millisecond)
		for range 8 {
			l.throttled(sent, time.Now())
		}
		if l.share != cutTo {
			t.Errorf("share %.2f after one flight of 8 throttles, want %.2f", l.share, cutTo)
		}
	})
}

// TestGateProbesOnce proves that of two jobs with the same target one probes it after a
// pause, that a success lets both continue and wakes them, and that an outage does not
// begin again for the second job.
func TestGateProbesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewShared(0, 0)
		key := record.Target{Account: "111122223333", Region: "us-east-1"}
		g := s.gate(key)
		if s.gate(key) != g {
			t.Fatal("a target has two gates")
		}
		old, tonight := &target{gate: g}, &target{gate: g}
		for range outageAfter {
			time.Sleep(g.enter(old, time.Now()))
			if wait := g.enter(old, time.Now()); wait != 0 {
				t.Fatalf("the first to probe waits %v", wait)
			}
			if wait := g.enter(tonight, time.Now()); g.pause().failures > 0 && wait != probePoll {
				t.Errorf("the other job probes, too, or waits %v", wait)
			}
			changed, _ := s.watch()
			g.close(time.Now(), transient, errors.New("503"))
			select {
			case <-changed:
				if g.pause().failures != outageAfter {
					t.Error("woken before the target is held up")
				}
			default:
				if g.pause().failures == outageAfter {
					t.Error("not woken when the target is held up")
				}
			}
		}
		time.Sleep(longestPause)
		if wait := g.enter(tonight, time.Now()); wait != 0 {
			t.Errorf("after the pause, the second job waits %v", wait)
		}
		g.leave(tonight)
		if wait := g.enter(old, time.Now()); wait != 0 {
			t.Errorf("a probe that was given up keeps the other job waiting for %v", wait)
		}
		changed, _ := s.watch()
		g.reopen()
		<-changed
		if g.enter(old, time.Now()) != 0 || g.enter(tonight, time.Now()) != 0 {
			t.Error("not both continue after a success")
		}
	})
}
