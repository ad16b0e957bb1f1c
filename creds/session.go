package creds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// session is a granted role session with the times at which it is refreshed.
// They are on the monotonic clock, except expires.
type session struct {
	grant
	refresh time.Time // from then on a refresh runs in the background
	urgent  time.Time // from then on callers wait for the refresh
	expires time.Time // on the wall clock, for a machine that was suspended
}

// newSession computes the times of a session. One that lives half an hour or more
// is refreshed 10 minutes ahead of its end and is urgent in its last minute; a
// shorter one is refreshed in its last third and is urgent in its last tenth.
// Jitter only delays the refresh.
func newSession(g grant) *session {
	ahead, last := g.life/3, g.life/10
	if g.life >= 30*time.Minute {
		ahead, last = 10*time.Minute, time.Minute
	}
	jitter := time.Duration(rand.Int64N(int64(ahead/4) + 1))
	return &session{
		grant:   g,
		refresh: g.sent.Add(g.life - ahead + jitter),
		urgent:  g.sent.Add(g.life - last),
		expires: g.sent.Round(0).Add(g.life),
	}
}

func (s *session) valid(now time.Time) bool {
	return s != nil && now.Sub(s.sent) < s.life && now.Round(0).Before(s.expires)
}

// refresher keeps the session of one role valid for all its clients.
type refresher struct {
	role       *role
	background *background
	counters   *counters
	summary    *summary
	log        *slog.Logger

	mu         sync.Mutex // guards the fields below; never held across the network
	session    *session
	unused     int           // sessions in a row that no caller used, the present one included
	refreshing chan struct{} // closed when the refresh in flight ends; nil: none is in flight
	backoff    backoff       // after failures in a row
	err        error         // of the last refresh
	version    int           // of the principal at that time
	granted    bool          // a session, at least once
	warned     news          // the failure that the log has
	droppedAt  time.Time     // when a service last refused a session
	renewedAt  time.Time     // when a session was last replaced because a service denied a call
}

func (r *refresher) source() Source { return r.role.src }

// retrieve returns valid credentials: at once if there are any, otherwise after a
// refresh. The caller can leave by its own context; the refresh continues for
// the others.
func (r *refresher) retrieve(ctx context.Context) (aws.Credentials, error) {
	refreshed := r.request(r.principalChanged(ctx))
	if refreshed != nil {
		select {
		case <-refreshed:
		case <-ctx.Done():
			return aws.Credentials{}, ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current(time.Now())
}

// request starts a refresh if one is due. It returns the refresh that the caller
// must wait for, nil if it need not wait.
func (r *refresher) request(changed bool) chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if changed {
		r.backoff = backoff{}
	}
	if r.session.valid(now) {
		if now.After(r.session.refresh) && r.refreshing == nil && !r.backoff.waits() {
			r.start()
		}
		if now.Before(r.session.urgent) {
			return nil
		}
	}
	if r.refreshing == nil {
		if r.backoff.waits() {
			return nil
		}
		r.start()
	}
	if r.session != nil {
		r.counters.waits.Add(1)
	}
	return r.refreshing
}

// ready returns valid credentials if there are any. It starts a due refresh and
// does not wait for it.
func (r *refresher) ready(ctx context.Context) (aws.Credentials, error) {
	changed := r.principalChanged(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	due := r.session == nil || now.After(r.session.refresh)
	if due && r.refreshing == nil && (changed || !r.backoff.waits()) {
		r.start()
	}
	return r.current(now)
}

// current returns the credentials of the session while it is valid, even if its
// refresh failed. The mutex is held.
func (r *refresher) current(now time.Time) (aws.Credentials, error) {
	switch {
	case r.session.valid(now):
		r.unused = 0
		return r.session.keys, nil
	case r.err == nil:
		return aws.Credentials{}, &Error{Source: r.role.src, Err: errors.New("the session expired during its refresh")}
	}
	return aws.Credentials{}, r.err
}

// principalChanged reports, after a failure, whether the keys or files of the
// principal have changed since.
func (r *refresher) principalChanged(ctx context.Context) bool {
	r.mu.Lock()
	failed, version := r.err != nil, r.version
	r.mu.Unlock()
	if !failed {
		return false
	}
	r.role.principal.reloadIfChanged(ctx)
	return r.role.principal.version() != version
}

// nextRefresh returns when the session is refreshed, and false if it is not
// valid.
func (r *refresher) nextRefresh() (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.session.valid(time.Now()) {
		return time.Time{}, false
	}
	return r.session.refresh, true
}

// start starts a refresh in the background. The mutex is held.
func (r *refresher) start() {
	r.refreshing = make(chan struct{})
	started := r.background.start(func(ctx context.Context) {
		version := r.role.principal.version()
		g, err := r.role.assume(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.version = version
		r.finish(g, err)
	})
	if !started {
		r.finish(grant{}, &Error{Source: r.role.src, Err: errClosed})
	}
}

// maxUnused bounds the sessions in a row that are refreshed although no caller
// used them: one call may take longer than a short session lives.
const maxUnused = 2

// refreshAhead refreshes a session by the clock, for callers that come rarely.
func (r *refresher) refreshAhead(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.session != s || r.unused > maxUnused || r.refreshing != nil || r.background.isClosed() {
		return
	}
	r.start()
}

// A refused role is tried again after firstRefusal, and twice as long after each
// further refusal up to retryRefusal.
const (
	firstRefusal = 5 * time.Second
	retryRefusal = 15 * time.Second
)

// finish ends the refresh in flight. The mutex is held.
func (r *refresher) finish(g grant, err error) {
	if err == nil {
		r.succeed(newSession(g))
	} else {
		r.fail(err)
	}
	close(r.refreshing)
	r.refreshing = nil
}

// succeed logs the first session of a role, and a session after a warning. All
// others are counted in the summary, since hundreds of roles would fill the log.
func (r *refresher) succeed(s *session) {
	level := slog.LevelDebug
	if !r.granted || r.warned.text != "" {
		level = slog.LevelInfo
	} else {
		r.summary.add()
	}
	r.session, r.err, r.backoff, r.granted, r.warned = s, nil, backoff{}, true, news{}
	r.unused++
	r.counters.assumed.Add(1)
	time.AfterFunc(time.Until(s.refresh), func() { r.refreshAhead(s) })
	r.log.Log(context.Background(), level, "credentials refreshed", "source", r.role.src, "valid_until", s.expires.UTC().Format(time.RFC3339), "life", s.life)
}

// fail delays the next refresh: long after a refusal, with backoff after an outage.
// If the cause is the principal's or STS's, that delays the attempts of all its
// roles, and has logged it.
func (r *refresher) fail(err error) {
	r.err = err
	var wait time.Duration
	var e *Error
	errors.As(err, &e)
	switch {
	case e != nil && e.shared:
	case e != nil && e.Refused():
		r.backoff.failures++
		wait = min(firstRefusal<<min(r.backoff.failures-1, 10), retryRefusal)
		r.backoff.until = time.Now().Add(wait)
	default:
		wait = r.backoff.fail()
	}
	level := slog.LevelDebug
	if isShared := e != nil && (e.shared || e.class == outage); !isShared && !r.background.isClosed() && r.warned.add(err) {
		level = slog.LevelWarn
	}
	left := time.Duration(0)
	if now := time.Now(); r.session.valid(now) {
		left = r.session.life - now.Sub(r.session.sent)
	}
	r.log.Log(context.Background(), level, "credentials not refreshed", "source", r.role.src, "error", err,
		"valid_for", left.Round(time.Second), "retry_in", wait.Round(time.Millisecond))
}

func (r *refresher) held(_ context.Context, key string) (aws.Credentials, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.session == nil || r.session.keys.AccessKeyID != key {
		return aws.Credentials{}, false
	}
	return r.session.keys, true
}

// drop removes the session with a key, unless it has been replaced already: a
// hundred refusals of one key cause one refresh. If AWS refuses a session right
// after another, drop fails, since asking STS again and again would not help.
func (r *refresher) drop(_ context.Context, key, _ string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.session
	if s == nil || s.keys.AccessKeyID != key {
		return nil
	}
	age, young := time.Since(s.sent), min(time.Minute, s.life/10)
	if age < young && time.Since(r.droppedAt) < time.Minute {
		return &Error{Source: r.role.src, Err: errors.New("AWS refused a session right after its refresh")}
	}
	r.session, r.droppedAt = nil, time.Now()
	r.log.Warn("session refused before its time", "source", r.role.src, "key", masked(key), "age", age.Round(time.Second))
	return nil
}

// renew removes the session with a key, since a service denied a call that it may
// have allowed before: a policy can revoke all sessions from before a time (IAM user
// guide, revoke role sessions). It reports whether there is, or will be, another.
func (r *refresher) renew(_ context.Context, key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.session == nil || r.session.keys.AccessKeyID != key:
		return true
	case time.Since(r.renewedAt) < renewEvery:
		return false
	}
	r.session, r.renewedAt = nil, time.Now()
	r.log.Info("a session that worked was denied; trying a new one", "source", r.role.src, "key", masked(key))
	return true
}

func (r *refresher) identify(ctx context.Context, keys aws.Credentials) error {
	return r.role.principal.accept(ctx, keys)
}

// Format prints the source and nothing else, whatever the verb.
func (r *refresher) Format(f fmt.State, _ rune) { fmt.Fprint(f, r.role.src.String()) }

// LogValue returns the text of Format.
func (r *refresher) LogValue() slog.Value { return slog.StringValue(r.role.src.String()) }
