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
	log        *slog.Logger

	mu         sync.Mutex // guards the fields below; never held across the network
	session    *session
	unused     int           // sessions in a row that no caller used, the present one included
	refreshing chan struct{} // closed when the refresh in flight ends; nil: none is in flight
	failures   int           // of refreshes in a row
	retryAt    time.Time     // no refresh before
	err        error         // of the last refresh
	droppedAt  time.Time     // when a service last refused a session
}

func (r *refresher) source() Source { return r.role.src }

// retrieve returns valid credentials: at once if there are any, otherwise after a
// refresh. The caller can leave by its own context; the refresh continues for
// the others.
func (r *refresher) retrieve(ctx context.Context) (aws.Credentials, error) {
	reloaded := r.lastError() != nil && r.role.principal.reloadIfChanged(ctx)
	refreshed := r.request(reloaded)
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
func (r *refresher) request(reloaded bool) chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if reloaded {
		r.retryAt = time.Time{}
	}
	if r.session.valid(now) {
		if now.After(r.session.refresh) && r.refreshing == nil && now.After(r.retryAt) {
			r.start()
		}
		if now.Before(r.session.urgent) {
			return nil
		}
	}
	if r.refreshing == nil {
		if now.Before(r.retryAt) {
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
	reloaded := r.role.principal.reloadIfChanged(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	due := r.session == nil || now.After(r.session.refresh)
	if due && r.refreshing == nil && (reloaded || now.After(r.retryAt)) {
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

func (r *refresher) lastError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
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
		g, err := r.role.assume(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.finish(g, err)
	})
	if !started {
		r.finish(grant{}, &Error{Source: r.role.src, Err: errors.New("the credential manager is closed")})
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

// A failed refresh is not repeated for a while, so that a hundred callers cause
// one AssumeRole: long after a refusal, with backoff after an outage.
const (
	retryRefusal = 30 * time.Second
	firstBackoff = 500 * time.Millisecond
	maxBackoff   = 30 * time.Second
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

func (r *refresher) succeed(s *session) {
	r.session, r.err, r.failures, r.retryAt = s, nil, 0, time.Time{}
	r.unused++
	r.counters.assumed.Add(1)
	time.AfterFunc(time.Until(s.refresh), func() { r.refreshAhead(s) })
	r.log.Info("credentials refreshed", "source", r.role.src, "valid_until", s.expires.UTC().Format(time.RFC3339), "life", s.life)
}

func (r *refresher) fail(err error) {
	now := time.Now()
	r.err = err
	r.failures++
	wait := time.Duration(rand.Int64N(int64(min(firstBackoff<<min(r.failures, 10), maxBackoff))))
	var e *Error
	if errors.As(err, &e) && e.Refused() {
		wait = retryRefusal
	}
	r.retryAt = now.Add(wait)
	left := time.Duration(0)
	if s := r.session; s.valid(now) {
		left = s.life - now.Sub(s.sent)
	}
	level := slog.LevelWarn
	if r.background.isClosed() { // which cut the refresh off
		level = slog.LevelDebug
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

func (r *refresher) identify(ctx context.Context, keys aws.Credentials) error {
	_, err := r.role.principal.identify(ctx, keys)
	return err
}

// Format prints the source and nothing else, whatever the verb.
func (r *refresher) Format(f fmt.State, _ rune) { fmt.Fprint(f, r.role.src.String()) }

// LogValue returns the text of Format.
func (r *refresher) LogValue() slog.Value { return slog.StringValue(r.role.src.String()) }
