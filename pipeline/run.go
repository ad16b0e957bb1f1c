// Package pipeline harvests: it enumerates the instances of every target,
// plans the fewest requests that fetch their datapoints, sends them through
// one bounded pool at the speed of the quota, and hands what comes back to one
// writer. A run may end at any moment, and the next one goes on from what was
// committed; a target's trouble never stops the others.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"cwharvest/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"golang.org/x/sync/errgroup"
)

// Config is what a run needs. Fields without a default must be set.
type Config struct {
	Job       *store.Job
	Discovery Discovery

	// Connect returns the configuration for a target's clients: its
	// credentials and region. It may be called again after a failure. Errors
	// that implement Refused and NeedsPerson are understood.
	Connect func(context.Context, store.Target) (aws.Config, error)

	Concurrency int           // requests in flight per target; default 8
	MaxInFlight int           // requests in flight over all targets, and targets worked at a time; default 64
	QuotaShare  float64       // of CloudWatch's quotas that this run may use, 0..1; default 1
	CallTimeout time.Duration // deadline of every call; default 60s

	// DrainTimeout is how long calls in flight may go on after the run was
	// cancelled, so that paid answers are kept; default 20s.
	DrainTimeout time.Duration
	// WaitForCredentials is how long the run waits when no target can go on
	// before a person has mended credentials; default 30m.
	WaitForCredentials time.Duration

	// Sessions tells of the credentials' sessions; nil: there are none.
	Sessions func() Sessions
	Log      *slog.Logger // nil: discards
}

// Sessions is what a credential manager counts, over the process's life.
type Sessions struct {
	Open           int
	NextRefresh    time.Time
	Assumed        int64
	RefusedExpired int64 // calls refused because their session was over
	Waits          int64 // calls that waited for a refresh after the first session
	Switches       int64 // between credentials and their fallbacks
	Fallbacks      int   // in use
}

// ErrCredentials ends a run that cannot go on before a person has mended
// credentials. Everything fetched is committed.
var ErrCredentials = errors.New("no target can go on: credentials need a person")

func (c Config) withDefaults() Config {
	setDefault(&c.Concurrency, 8)
	setDefault(&c.MaxInFlight, 64)
	setDefault(&c.QuotaShare, 1)
	setDefault(&c.CallTimeout, 60*time.Second)
	setDefault(&c.DrainTimeout, 20*time.Second)
	setDefault(&c.WaitForCredentials, 30*time.Minute)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// run is what the dispatchers of one run share.
type run struct {
	Config
	series     []store.Series
	namespaces []string
	targets    []*target
	pool       errgroup.Group  // the calls in flight; its members never fail
	calls      context.Context // of every call: outlives the run's by DrainTimeout
	inFlight   atomic.Int64
	meter      meter
	out        chan<- entry // to the writer
}

// Run works the job until nothing is pending that can be fetched, then
// publishes it. It returns nil when the job is finished, with failures or
// without; ErrCredentials; the context's cause when that ended first; or the
// store's error. In each case what was fetched is committed.
func Run(ctx context.Context, cfg Config) error {
	r := &run{Config: cfg.withDefaults()}
	r.series = r.Job.Spec().Series
	for _, s := range r.series {
		if !slices.Contains(r.namespaces, s.Namespace) {
			r.namespaces = append(r.namespaces, s.Namespace)
		}
	}
	r.meter.sessions = r.Sessions
	r.pool.SetLimit(r.MaxInFlight)
	for _, state := range r.Job.Targets() {
		if state.Denied == nil && !state.Complete() {
			r.targets = append(r.targets, r.newTarget(state))
		}
	}
	r.Job.SetLive(r.live)
	if err := r.harvest(ctx); err != nil {
		return err
	}
	if err := r.Job.Finish(); err != nil {
		return fmt.Errorf("publish job %s: %w", r.Job.Spec().ID, err)
	}
	return nil
}

// harvest runs dispatchers and the writer until both are through.
func (r *run) harvest(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	calls, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	r.calls = calls
	context.AfterFunc(ctx, func() { time.AfterFunc(r.DrainTimeout, abort) })

	in := make(chan entry)
	r.out = in
	w := &writer{job: r.Job, in: in, meter: &r.meter, fail: func(err error) { stop(err) }}
	written := make(chan error, 1) // the writer's goroutine sends its one result
	go func() { written <- w.loop() }()

	r.schedule(ctx, stop)
	if err := r.pool.Wait(); err != nil {
		return err
	}
	close(in)
	if err := <-written; err != nil {
		return err
	}
	return context.Cause(ctx)
}

func (r *run) schedule(ctx context.Context, stop context.CancelCauseFunc) {
	s := schedule{run: r, back: make(chan visit)}
	for _, t := range r.targets {
		s.idle = append(s.idle, visit{target: t})
	}
	s.work(ctx, stop)
}

func (r *run) newTarget(state store.TargetState) *target {
	key := state.Target
	return &target{
		run: r, key: key, enumerated: state.Enumerated,
		limits:   newLimiter(r.QuotaShare),
		log:      r.Log.With("target", key.String()),
		outcomes: make(chan outcome, r.Concurrency),
		plan: planner{
			pack: packer{series: r.series},
			pending: func(after string, limit int) ([]store.Pending, error) {
				return r.Job.Pending(key, after, limit)
			},
		},
	}
}

func (r *run) enumeration(key store.Target, cfg aws.Config) *enumeration {
	return &enumeration{
		discovery: &r.Discovery, target: key, namespaces: r.namespaces, client: ec2.NewFromConfig(cfg),
	}
}
