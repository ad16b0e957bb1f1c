package pipeline

import (
	"math"
	"sync"
	"time"

	"cwharvest/pipeline/cloudwatch"
)

const (
	cutTo       = 0.7              // part of the rate that remains after throttling
	holdAt      = 0.98             // part of the last good rate to hold
	climb       = 0.25             // part of the way back to that rate, per second
	probeAfter  = 30 * time.Second // time without throttling before a higher rate is tried
	probeAgain  = 5 * time.Second  // time between successful probes
	probeBy     = 0.05             // increase by a probe; doubles with every successful one
	lowestShare = 0.01

	late = 100 * time.Millisecond // delay of a call that the next ones make up for
)

// limiter keeps the calls of one target and API below their two quotas. Calls leave
// evenly, without bursts, and make up for those that left late. When calls are
// throttled it lowers the rate, once for all calls in flight together, raises it
// again to just below the rate that was too high, and now and then tries more. The
// zero value is not usable.
type limiter struct {
	mu          sync.Mutex
	requests    float64 // full rates, per second
	old, recent float64

	share   float64      // part of the full rates in use, lowestShare..1
	ceiling float64      // share that is not exceeded until the next probe
	probe   float64      // increase of the ceiling by the next probe
	cut     time.Time    // of the last decrease
	probed  time.Time    // of the last probe or decrease
	changed time.Time    // of the last change of share
	next    [3]time.Time // earliest next call: by requests, old and recent datapoints
}

// newLimiter returns a limiter of GetMetricData for a share of the default quotas,
// which is above 1 if AWS has raised them.
func newLimiter(quotaShare float64) *limiter {
	return &limiter{
		requests: cloudwatch.RequestsPerSecond * quotaShare,
		old:      cloudwatch.DatapointsPerSecond(cloudwatch.Oldest) * quotaShare,
		recent:   cloudwatch.DatapointsPerSecond(0) * quotaShare,
		share:    1, ceiling: 1,
	}
}

// newStatisticsLimiter returns a limiter of GetMetricStatistics, which has no quota
// of datapoints.
func newStatisticsLimiter(quotaShare float64) *limiter {
	return &limiter{requests: cloudwatch.StatisticsRequestsPerSecond * quotaShare, old: math.Inf(1), recent: math.Inf(1), share: 1, ceiling: 1}
}

// wait returns how long the next call must wait. Old and recent datapoints have
// budgets of their own, as in CloudWatch.
func (l *limiter) wait(now time.Time, r *request) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.adapt(now)
	budget, _ := l.budget(now, r)
	return max(l.next[0].Sub(now), l.next[budget].Sub(now), 0)
}

// take counts a call that is sent now against the budgets.
func (l *limiter) take(now time.Time, r *request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	budget, rate := l.budget(now, r)
	l.spend(0, now, float64(max(r.calls, 1))/l.requests)
	l.spend(budget, now, float64(r.points)/rate)
}

// spend moves the time of the next call. It counts from the time at which this call
// was due, so that a late timer does not lower the rate.
func (l *limiter) spend(i int, now time.Time, seconds float64) {
	from := l.next[i]
	if now.Sub(from) > late {
		from = now
	}
	l.next[i] = from.Add(time.Duration(seconds/l.share*float64(time.Second)) + 1) // rounded up
}

func (l *limiter) budget(now time.Time, r *request) (index int, rate float64) {
	if cloudwatch.IsRecent(now.Sub(time.Unix(r.window.Start, 0))) {
		return 2, l.recent
	}
	return 1, l.old
}

// throttled lowers the rate after a call was throttled, unless the call was sent
// before the last decrease.
func (l *limiter) throttled(sent, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.cut.IsZero() && sent.Before(l.cut) {
		return
	}
	l.adapt(now)
	l.ceiling = l.share
	l.share = max(l.share*cutTo, lowestShare)
	l.cut, l.probed, l.probe = now, now.Add(probeAfter-probeAgain), probeBy
}

// adapt moves the share towards the rate that is believed to be good.
func (l *limiter) adapt(now time.Time) {
	elapsed := now.Sub(l.changed).Seconds()
	l.changed = now
	if l.cut.IsZero() {
		return
	}
	if now.Sub(l.probed) > probeAgain && l.ceiling < 1 {
		l.ceiling = min(l.ceiling*(1+l.probe), 1)
		l.probed = now
		l.probe *= 2
	}
	hold := l.ceiling * holdAt
	if l.ceiling == 1 {
		hold = 1
	}
	if l.share < hold {
		l.share += (hold - l.share) * min(climb*elapsed, 1)
	}
}
