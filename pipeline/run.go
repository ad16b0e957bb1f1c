package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store"
	"cwharvest/store/record"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Config holds the settings of a run. Fields without a default must be set.
type Config struct {
	Job       *store.Job
	Discovery Discovery

	// Shared is the state that this run has in common with other jobs of the process,
	// which may run at the same time; nil: there are none.
	Shared *Shared
	// Held is called when the run can no longer continue because every target that is
	// left waits, and when that changes. The run has sealed its data by then. After
	// HeldByPerson, the caller decides with Shared.Dismiss whether to wait on; nil: the
	// run ends with ErrCredentials.
	Held func(Held)

	// Connect returns the configuration of a target's clients: its credentials
	// and region. Run calls it again after a failure. An error may have the methods
	// Refused() bool and NeedsPerson() bool.
	Connect func(context.Context, record.Target) (aws.Config, error)

	// Identify returns the account of a target that is unidentified. Its errors are those
	// of Connect.
	Identify func(context.Context, record.Target) (account string, err error)

	// Protocol is the wire protocol of CloudWatch; default CBOR.
	Protocol Protocol
	// Statistics selects GetMetricStatistics instead of GetMetricData.
	Statistics bool
	// Shard selects targets among the regions that patterns stand for; other
	// shards fetch the rest.
	Shard record.Shard
	// Only selects targets; nil: all. The job stays open while other targets are
	// pending.
	Only func(record.Target) bool
	// Tolerated reports whether the job is complete even if a target is denied;
	// nil: it is not.
	Tolerated func(record.Target) bool
	// WaitForRole returns how long AWS may refuse to let a target's role be assumed
	// before the target is denied, since the role may be new; nil: it is denied at once.
	WaitForRole func(record.Target) time.Duration
	// AccessBy identifies the credentials that are configured for a target; its denial
	// records that. nil: it records nothing.
	AccessBy func(record.Target) string
	// MaxCostUSD bounds the worst-case cost of the job over all its runs; 0: no
	// bound. The plan is checked before the first call that costs money.
	MaxCostUSD float64
	// Prices apply to control calls and ListMetrics. The plan has the prices of
	// its series.
	Prices cloudwatch.Prices
	// GiveUpAfter is the length of an outage after which a target is denied; 0:
	// never.
	GiveUpAfter time.Duration

	Concurrency int           // requests in flight per target; default 8
	MaxInFlight int           // active targets, and without Shared requests in flight over all targets; default 64
	QuotaShare  float64       // share of CloudWatch's default quotas that the run may use without Shared, above 0; default 1
	CallTimeout time.Duration // deadline of every call; default 60s

	// DrainTimeout limits how long calls in flight may continue after the run was
	// cancelled, so that responses that were paid for are kept; default 20s.
	DrainTimeout time.Duration
	// WaitForCredentials limits how long the run waits for a person when no target
	// has usable credentials; default 30m. With Held set, the caller may wait longer.
	WaitForCredentials time.Duration

	// Now returns the time for CloudWatch's retention; nil: time.Now.
	Now func() time.Time

	// Sessions returns the state of the credential manager, whose counts cover
	// the life of the process; nil: there are no sessions.
	Sessions func() record.StatusSessions
	Log      *slog.Logger // nil: discards
}

func (c Config) withDefaults() Config {
	setDefault(&c.Concurrency, 8)
	setDefault(&c.MaxInFlight, defaultInFlight)
	setDefault(&c.QuotaShare, 1)
	setDefault(&c.CallTimeout, 60*time.Second)
	setDefault(&c.DrainTimeout, 20*time.Second)
	setDefault(&c.WaitForCredentials, 30*time.Minute)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Shared == nil {
		c.Shared = NewShared(c.MaxInFlight, c.QuotaShare)
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// run holds the state that the dispatchers of one run share.
type run struct {
	Config
	series   []record.Series
	groups   []Listing // the metrics of the plan, by namespace and dimensions
	listing  bool      // targets are enumerated but not fetched; changes only between schedules
	budget   budget
	mu       sync.Mutex // guards targets
	targets  []*target
	sending  sync.WaitGroup  // the calls of this run in flight
	calls    context.Context // of every call: ends DrainTimeout after the run's context
	inFlight atomic.Int64
	meter    meter
	out      chan<- entry // to the writer
	logged   sync.Map     // reasons of denied and waiting targets, by account
}

// Run fetches everything pending that can be fetched and then publishes the job.
// It returns nil when the job is finished, even with failures. Otherwise it
// returns ErrCredentials, ErrBudget, the cause of the context's end, or the
// store's error. In each case everything fetched is committed.
func Run(ctx context.Context, cfg Config) error {
	r := &run{Config: cfg.withDefaults()}
	r.series = r.Job.Plan().Series
	r.groups = groupsOf(r.series)
	r.meter.sessions = r.Sessions
	for _, state := range r.Job.Targets() {
		if state.Denied == nil && !state.Complete() && r.selects(state.Target) {
			r.targets = append(r.targets, r.newTarget(state))
		}
	}
	r.Job.SetLive(r.live)
	if err := r.harvest(ctx); err != nil {
		return r.publishFor(ctx, err)
	}
	if r.Only != nil && slices.ContainsFunc(r.Job.Targets(), func(t store.TargetState) bool { return t.Denied == nil && !t.Complete() }) {
		return nil
	}
	if err := r.Job.Finish(ctx); err != nil {
		return fmt.Errorf("publish job %s: %w", r.Job.Plan().ID, err)
	}
	return nil
}

// publishFor publishes everything fetched if the run ends with ErrCredentials, since a
// person may take days.
func (r *run) publishFor(ctx context.Context, err error) error {
	if !errors.Is(err, ErrCredentials) {
		return err
	}
	publish := r.Job.Publish(ctx)
	if publish == nil {
		publish = r.Job.Drain(ctx)
	}
	if publish != nil {
		return errors.Join(publish, err)
	}
	return err
}

// harvest runs the dispatchers and the writer until both have returned.
func (r *run) harvest(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	calls, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	r.calls = calls
	context.AfterFunc(ctx, func() { time.AfterFunc(r.DrainTimeout, abort) })

	in := make(chan entry)
	r.out = in
	w := &writer{ctx: calls, job: r.Job, in: in, meter: &r.meter, fail: func(err error) { stop(err) }}
	written := make(chan error, 1) // the writer's goroutine sends its one result
	go func() { written <- w.loop() }()

	if err := r.openBudget(); err != nil {
		stop(err)
	}
	if r.MaxCostUSD > 0 {
		r.listing = true
		r.schedule(ctx, stop)
		r.listing = false
		if err := r.checkPlan(); err != nil {
			stop(err)
		}
	}
	r.schedule(ctx, stop)
	r.sending.Wait()
	close(in)
	if err := <-written; err != nil {
		return err
	}
	return context.Cause(ctx)
}

// schedule works all unfinished targets.
func (r *run) schedule(ctx context.Context, stop context.CancelCauseFunc) {
	s := schedule{run: r, active: map[*target]bool{}, back: make(chan visit)}
	for _, t := range r.all() {
		if !t.finished {
			s.idle = append(s.idle, visit{target: t})
		}
	}
	s.work(ctx, stop)
}

// openBudget starts the budget with the cost of the job's earlier runs.
func (r *run) openBudget() error {
	status, err := r.Job.Status()
	if err != nil {
		return err
	}
	r.budget.most, r.budget.spent = r.MaxCostUSD, status.CostUSD.WorstCase
	return nil
}

// checkPlan returns an error if the job, as far as its targets are enumerated,
// can cost more than the bound.
func (r *run) checkPlan() error {
	if r.MaxCostUSD == 0 {
		return nil
	}
	planned := 0.0
	for _, t := range r.Job.Targets() {
		if t.Denied == nil {
			planned += t.WorstPlanned
		}
	}
	if planned > r.MaxCostUSD*(1+rounding) {
		return hintedError{
			fmt.Errorf("%w: the job costs up to $%.4f, and max_cost is $%.4f", ErrBudget, planned, r.MaxCostUSD),
			"raise it, or ask for less",
		}
	}
	return nil
}

func (r *run) overspent() error {
	return hintedError{fmt.Errorf("%w: max_cost $%.4f is spent", ErrBudget, r.MaxCostUSD), "raise it and run the same command, which continues the job"}
}

func (r *run) newTarget(state store.TargetState) *target {
	key, gate := state.Target, r.Shared.gate(state.Target)
	limits := gate.data
	if r.Statistics {
		limits = gate.statistics
	}
	return &target{
		run: r, key: key, enumerated: state.Enumerated,
		gate: gate, limits: limits,
		log:      r.Log.With("target", key.String()),
		outcomes: make(chan outcome, r.Concurrency),
		refused:  refusalsOf(r.series, state.Metrics),
		plan: planner{
			pack: packer{series: r.series, single: r.Statistics},
			pending: func(after string, limit int) ([]store.Pending, error) {
				return r.Job.Pending(key, after, limit)
			},
		},
	}
}

func (r *run) selects(t record.Target) bool { return r.Only == nil || r.Only(t) }

// all returns the targets of this run, which grow when patterns are resolved.
func (r *run) all() []*target {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.targets)
}

func (r *run) addTarget(t *target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.targets = append(r.targets, t)
}

// groupsOf groups the metrics of a plan by namespace and dimensions: each group
// has its own instances.
func groupsOf(series []record.Series) (groups []Listing) {
	for _, s := range series {
		i := slices.IndexFunc(groups, func(g Listing) bool {
			return g.Namespace == s.Namespace && slices.Equal(g.Dimensions, s.Dimensions)
		})
		if i < 0 {
			groups = append(groups, Listing{Namespace: s.Namespace, Dimensions: s.Dimensions})
			i = len(groups) - 1
		}
		groups[i].Metrics = append(groups[i].Metrics, s.Metric)
	}
	return groups
}

func (r *run) enumeration(key record.Target, cfg aws.Config) *enumeration {
	return newEnumeration(&r.Discovery, key, r.groups, cfg, r.Protocol, func() {
		usd := r.Prices.Listing(1)
		r.meter.charge(usd, usd)
	})
}
