package pipeline

import (
	"cmp"
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"cwharvest/store/record"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/sync/errgroup"
)

// Survey says what a job would do in one target if nothing fails.
type Survey struct {
	Target        record.Target
	Failure       *record.Failure // the reason why the target cannot be listed; the rest is then zero
	Instances     int64
	Series        int64
	SeriesWindows int64
	Rows          int64 // at most
	Datapoints    int64 // estimated, as quotas count them
	Requests      int64
	CostUSD       float64
	WorstUSD      float64
	Duration      time.Duration // at the speed of the quota
	Charged       int64         // discovery calls that CloudWatch bills

	Metrics []record.MetricFailure // their instances cannot be listed
}

// surveyTries bounds the attempts of a call during an outage or throttling.
const surveyTries = 5

// SurveyTargets lists the instances of targets and plans their requests as Run
// would. It fetches and writes nothing. The regions of a pattern replace it. It
// uses Discovery, Connect and the limits of a Config.
func SurveyTargets(ctx context.Context, cfg Config, series []record.Series, targets []record.Target) ([]Survey, error) {
	s := &surveyor{cfg: cfg.withDefaults(), series: series, seen: map[record.Target]bool{}}
	s.pool.SetLimit(s.cfg.MaxInFlight)
	var patterns errgroup.Group
	patterns.SetLimit(s.cfg.MaxInFlight)
	for _, t := range targets {
		if !t.IsPattern() {
			s.begin(ctx, t)
			continue
		}
		patterns.Go(func() error {
			for _, found := range s.resolve(ctx, t) {
				s.begin(ctx, found)
			}
			return nil
		})
	}
	if err := patterns.Wait(); err != nil {
		return nil, err
	}
	if err := s.pool.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(s.done, func(a, b Survey) int {
		return cmp.Or(cmp.Compare(a.Target.Account, b.Target.Account), cmp.Compare(a.Target.Region, b.Target.Region))
	})
	return s.done, context.Cause(ctx)
}

type surveyor struct {
	cfg    Config
	series []record.Series
	pool   errgroup.Group // its functions return no errors

	mu   sync.Mutex // guards the fields below
	seen map[record.Target]bool
	done []Survey
}

func (s *surveyor) begin(ctx context.Context, t record.Target) {
	if !s.cfg.Shard.Holds(t) || s.cfg.Only != nil && !s.cfg.Only(t) {
		return
	}
	s.mu.Lock()
	known := s.seen[t]
	s.seen[t] = true
	s.mu.Unlock()
	if !known {
		s.pool.Go(func() error { s.add(s.survey(ctx, t)); return nil })
	}
}

func (s *surveyor) add(v Survey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = append(s.done, v)
}

// resolve returns the targets that a pattern stands for. One whose account was not known may
// lead to another pattern.
func (s *surveyor) resolve(ctx context.Context, pattern record.Target) (targets []record.Target) {
	var found []record.Target
	err := s.try(ctx, func(ctx context.Context) (err error) {
		found, err = standsFor(ctx, &s.cfg, pattern)
		return err
	})
	if err != nil {
		f := Explain(err)
		s.add(Survey{Target: pattern, Failure: &f})
		return nil
	}
	for _, t := range found {
		if t.IsPattern() {
			targets = append(targets, s.resolve(ctx, t)...)
			continue
		}
		targets = append(targets, t)
	}
	return targets
}

// standsFor asks AWS for the account of a target whose account is not known, otherwise for
// the enabled regions of its account.
func standsFor(ctx context.Context, c *Config, pattern record.Target) (targets []record.Target, err error) {
	if pattern.IsUnidentified() {
		account, err := c.Identify(ctx, pattern)
		return []record.Target{{Account: account, Region: pattern.Region}}, err
	}
	cfg, err := c.Connect(ctx, pattern)
	if err != nil {
		return nil, err
	}
	regions, err := EnabledRegions(ctx, cfg, pattern, &c.Discovery)
	for _, region := range regions {
		targets = append(targets, record.Target{Account: pattern.Account, Region: region})
	}
	return targets, err
}

// try repeats a call through throttling and short outages.
func (s *surveyor) try(ctx context.Context, call func(context.Context) error) (err error) {
	for failures := range surveyTries {
		callCtx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
		err = call(callCtx)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		if c := classify(err); c != transient && c != throttled && c != expired {
			return err
		}
		timer := time.NewTimer(time.Duration(rand.Int64N(int64(firstPause << (failures + 1)))))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return err
}

func (s *surveyor) survey(ctx context.Context, t record.Target) Survey {
	v := Survey{Target: t}
	instances, err := s.instances(ctx, t, &v)
	if err != nil {
		f := Explain(err)
		v.Failure = &f
		return v
	}
	s.plan(instances, &v)
	return v
}

// instances returns the instances of a target by key.
func (s *surveyor) instances(ctx context.Context, t record.Target, v *Survey) (map[string]record.Instance, error) {
	var cfg aws.Config
	err := s.try(ctx, func(ctx context.Context) (err error) {
		cfg, err = s.cfg.Connect(ctx, t)
		return err
	})
	if err != nil {
		return nil, err
	}
	pages := newEnumeration(&s.cfg.Discovery, t, groupsOf(s.series), cfg, s.cfg.Protocol, func() { v.Charged++ })
	all := map[string]record.Instance{}
	for last := false; !last; {
		err := s.try(ctx, func(ctx context.Context) (err error) {
			var page []record.Instance
			page, last, err = pages.next(ctx)
			for _, in := range page {
				found := record.Instance{Namespace: in.Namespace, Dimensions: in.Dimensions, Refused: in.Refused, Metrics: in.Metrics}
				if known, again := all[in.Key()]; again {
					found.AddMetrics(&known)
				}
				all[in.Key()] = found
			}
			return err
		})
		if err != nil && (ctx.Err() != nil || !pages.goesOn(err)) {
			return nil, err
		}
	}
	v.Metrics = pages.failed
	return all, nil
}

// plan packs the requests as a run's planner does.
func (s *surveyor) plan(instances map[string]record.Instance, v *Survey) {
	pack := packer{series: s.series, single: s.cfg.Statistics}
	clock := newSurveyClock(&s.cfg)
	count := func(r *request) {
		if r == nil {
			return
		}
		v.Requests += int64(r.calls)
		v.Datapoints += int64(r.points)
		v.SeriesWindows += int64(len(r.items))
		v.Rows += int64(len(r.items) * r.window.Points())
		cost, worst := r.price(s.series)
		v.CostUSD, v.WorstUSD = v.CostUSD+cost, v.WorstUSD+worst
		clock.add(r)
	}
	for _, key := range slices.Sorted(maps.Keys(instances)) {
		in := instances[key]
		v.Instances++
		for i := range s.series {
			if in.Refused != nil || !in.Has(s.series[i].Metric) || !isOf(&in, &s.series[i]) {
				continue
			}
			v.Series++
			for w := range s.series[i].Windows {
				count(pack.add(item{instance: key, dimensions: in.Dimensions, series: i, window: w}))
			}
		}
	}
	for r := pack.flush(); r != nil; r = pack.flush() {
		count(r)
	}
	v.Duration = clock.total()
}

func isOf(in *record.Instance, s *record.Series) bool {
	return in.Namespace == s.Namespace && slices.EqualFunc(in.Dimensions, s.Dimensions, func(d record.Dimension, name string) bool { return d.Name == name })
}

// surveyClock adds up the time that requests take at the quotas of a target.
type surveyClock struct {
	limits *limiter
	now    time.Time
	taken  [3]time.Duration
}

func newSurveyClock(cfg *Config) *surveyClock {
	c := &surveyClock{limits: newLimiter(cfg.QuotaShare), now: time.Now()}
	if cfg.Statistics {
		c.limits = newStatisticsLimiter(cfg.QuotaShare)
	}
	return c
}

func (c *surveyClock) add(r *request) {
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	c.taken[0] += seconds(float64(r.calls) / c.limits.requests)
	budget, rate := c.limits.budget(c.now, r)
	c.taken[budget] += seconds(float64(r.points) / rate)
}

func (c *surveyClock) total() time.Duration { return max(c.taken[0], c.taken[1], c.taken[2]) }
