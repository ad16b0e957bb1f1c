package pipeline

import (
	"math"
	"sync"
	"time"

	"cwharvest/pipeline/cloudwatch"
)

const (
	cutTo       = 0.7              // of the rate that was throttled
	holdAt      = 0.98             // of the rate that was last good
	climb       = 0.25             // of the way back to hold, per second
	probeAfter  = 30 * time.Second // without a throttle, before trying more
	probeAgain  = 5 * time.Second  // after a probe that went well
	probeBy     = 0.05             // of the rate; twice as much with every probe that goes well
	lowestShare = 0.01

	late = 100 * time.Millisecond // that a call may be, and not be taken for the first of a burst
)

// limiter paces the calls of one target and API below its two quotas: a burst
// of one call, then evenly, making up for calls that left late. It adapts to
// throttling: one cut per flight of throttled calls, a climb back to just below
// the rate that was too much, and a probe upward now and then. The zero value is
// not usable.
type limiter struct {
	mu          sync.Mutex
	requests    float64 // full rates, per second
	old, recent float64

	share   float64 // of the full rates in use, lowestShare..1
	ceiling float64 // share not to exceed until the next probe
	probe   float64 // that the next probe adds, as a part of the ceiling
	cut     time.Time
	probed  time.Time // or cut
	changed time.Time // share was last adapted
	next    [3]time.Time
}

// newLimiter returns a limiter for a share of the quotas: above 1 where AWS has
// raised them.
func newLimiter(quotaShare float64) *limiter {
	return &limiter{
		requests: cloudwatch.RequestsPerSecond * quotaShare,
		old:      cloudwatch.DatapointsPerSecond(cloudwatch.Oldest) * quotaShare,
		recent:   cloudwatch.DatapointsPerSecond(0) * quotaShare,
		share:    1, ceiling: 1,
	}
}

// newStatisticsLimiter is one for GetMetricStatistics.
func newStatisticsLimiter(quotaShare float64) *limiter {
	return &limiter{requests: cloudwatch.StatisticsRequestsPerSecond * quotaShare, old: math.Inf(1), recent: math.Inf(1), share: 1, ceiling: 1}
}

// wait returns how long the next call must wait; the two datapoint budgets
// are apart because CloudWatch keeps them apart.
func (l *limiter) wait(now time.Time, r *request) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.adapt(now)
	budget, _ := l.budget(now, r)
	return max(l.next[0].Sub(now), l.next[budget].Sub(now), 0)
}

// take spends the budgets for a call that is sent now.
func (l *limiter) take(now time.Time, r *request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	budget, rate := l.budget(now, r)
	l.spend(0, now, float64(max(r.calls, 1))/l.requests)
	l.spend(budget, now, float64(r.points)/rate)
}

// spend puts off the next call. A call that is a little late does not: timers
// are, and the rate is of the whole.
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

// throttled tells the limiter that a call sent at the given time was
// throttled. Calls sent before the last cut say nothing new.
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

// adapt moves the share towards what is believed to be good.
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
