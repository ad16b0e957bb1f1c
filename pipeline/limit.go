package pipeline

import (
	"cmp"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store/record"

	"golang.org/x/sync/errgroup"
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

// credentialsPause is the longest pause of a target without usable credentials. The credential manager limits the calls for
// all targets of a principal, so a retry is cheap, and a target continues soon after a person or the platform renews them.
const credentialsPause = 10 * time.Second

const (
	firstPause   = 250 * time.Millisecond // doubles with every failure in a row
	longestPause = 60 * time.Second
	outageAfter  = 3 // pauses in a row before a warning: the control call failed too

	// probePoll is how long a target waits for the probe of another job. A probe that
	// succeeds ends the wait.
	probePoll = 5 * time.Second

	defaultInFlight = 64
)

// Held is the reason why a run cannot continue now.
type Held int

const (
	NotHeld      Held = iota
	HeldUp            // every target that is left waits
	HeldByPerson      // each has waited for a person for WaitForCredentials
)

// Shared holds what all jobs of a process have in common: the calls in flight and one
// gate for each target. Two jobs together stay below its quotas, and probe it once when
// it is down. It is safe for concurrent use.
type Shared struct {
	share float64
	pool  errgroup.Group // the calls in flight; its functions return no errors

	mu        sync.Mutex // guards the fields below
	gates     map[record.Target]*gate
	changed   chan struct{} // closed and replaced when a target is held up or works again, and by Dismiss
	dismissed bool
}

// NewShared returns the state for a number of calls in flight and a share of
// CloudWatch's default quotas; 0: their defaults.
func NewShared(maxInFlight int, quotaShare float64) *Shared {
	s := &Shared{share: cmp.Or(quotaShare, 1), gates: map[record.Target]*gate{}, changed: make(chan struct{})}
	s.pool.SetLimit(cmp.Or(maxInFlight, defaultInFlight))
	return s
}

// Dismiss ends the runs in which all that is left waits for a person. Each publishes its
// data and returns ErrCredentials.
func (s *Shared) Dismiss() {
	s.mu.Lock()
	s.dismissed = true
	s.mu.Unlock()
	s.wake()
}

// wake lets every schedule look at its targets again.
func (s *Shared) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// watch returns a channel that is closed by the next change, and whether Dismiss was called.
func (s *Shared) watch() (changed <-chan struct{}, dismissed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed, s.dismissed
}

func (s *Shared) gate(t record.Target) *gate {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.gates[t]
	if g == nil {
		g = &gate{shared: s, data: newLimiter(s.share), statistics: newStatisticsLimiter(s.share)}
		s.gates[t] = g
	}
	return g
}

// gate holds the quotas and the outage of one target. The first job that is due after a
// pause probes the target, and the others wait for its outcome.
type gate struct {
	shared           *Shared
	data, statistics *limiter

	mu     sync.Mutex
	paused pause
	probe  any // the job's target that sends the one call after a pause; nil: none
}

// pause says why and until when a target sends nothing. After that, it sends one
// call at a time until one succeeds.
type pause struct {
	failures int // in a row; calls in flight together count once
	began    time.Time
	since    time.Time // of this class
	until    time.Time
	class    class
	reason   string // describes err
	err      error
}

func (g *gate) pause() pause {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.paused
}

// enter returns how long the target of a job must wait before its next call.
func (g *gate) enter(t any, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.paused.failures == 0:
		return 0
	case now.Before(g.paused.until):
		return g.paused.until.Sub(now)
	case g.probe != nil && g.probe != t:
		return probePoll
	}
	g.probe = t
	return 0
}

// leave lets another job probe the target.
func (g *gate) leave(t any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.probe == t {
		g.probe = nil
	}
}

// reopen ends the pause, and returns it.
func (g *gate) reopen() pause {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.paused
	if was.failures > 0 {
		g.paused, g.probe = pause{}, nil
		g.shared.wake()
	}
	return was
}

// close starts or extends the pause after a call that was sent at a time. Of calls that
// were in flight together, only the first failure counts. It returns the pause, and the
// reason before; counted is false if the failure does not count.
func (g *gate) close(sent time.Time, c class, err error) (p pause, before string, counted bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	q := &g.paused
	before = q.reason
	if q.failures > 0 && sent.Before(q.until) {
		return *q, before, false
	}
	now := time.Now()
	if q.failures == 0 {
		q.began = now
	}
	if q.failures == 0 || q.class != c {
		q.since, q.class = now, c
	}
	most := longestPause
	if errors.As(err, new(credentialError)) {
		most = credentialsPause
	}
	longest := min(firstPause<<min(q.failures, 16), most)
	q.failures++
	q.until = now.Add(time.Duration(rand.Int64N(int64(longest))))
	q.reason, q.err = describe(err), err
	g.probe = nil
	if q.failures == outageAfter {
		g.shared.wake()
	}
	return *q, before, true
}

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
