package creds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
)

// session provides one source's credentials to all its clients. All fields
// below src are guarded by the manager's mutex.
type session struct {
	manager *Manager
	base    *base
	src     Source

	lease    *lease
	idle     int       // leases in a row that nobody used, this one included
	flight   *flight   // the refresh under way
	failures int       // refreshes in a row
	retry    time.Time // no refresh before
	err      error     // why the last refresh failed
	dropped  time.Time // when a lease was last refused by a service
	capped   bool      // AWS refused the duration: an hour is asked instead
}

// lease is a granted session. Its times are on the monotonic clock, but for
// expires, which a suspended machine needs.
type lease struct {
	keys    aws.Credentials
	born    time.Time
	life    time.Duration
	refresh time.Time // ahead of the end: in the background
	urgent  time.Time // so late that callers wait for the refresh
	expires time.Time // by the wall clock
}

// flight is one refresh; done is closed when it has landed.
type flight struct{ done chan struct{} }

// newLease computes a session's times. Of a life of an hour it is renewed 10
// minutes ahead, of a short one a third; callers wait in the last minute, of a
// short life in its last tenth. Jitter only delays.
func newLease(keys aws.Credentials, born time.Time, life time.Duration) *lease {
	ahead, last := life/3, life/10
	if life >= 30*time.Minute {
		ahead, last = 10*time.Minute, time.Minute
	}
	jitter := time.Duration(rand.Int64N(int64(ahead/4) + 1))
	return &lease{
		keys: keys, born: born, life: life,
		refresh: born.Add(life - ahead + jitter),
		urgent:  born.Add(life - last),
		expires: born.Round(0).Add(life),
	}
}

// Format shows the key masked and nothing else, whatever the verb.
func (l *lease) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "session %s until %s", masked(l.keys.AccessKeyID), l.expires.UTC().Format(time.RFC3339))
}

// LogValue is what Format shows.
func (l *lease) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(l)) }

// Format shows whose session it is.
func (s *session) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.src.String()) }

// LogValue is what Format shows.
func (s *session) LogValue() slog.Value { return slog.StringValue(s.src.String()) }

func (l *lease) valid(now time.Time) bool {
	return now.Sub(l.born) < l.life && now.Round(0).Before(l.expires)
}

// retrieve returns valid credentials, after a refresh if need be.
func (s *session) retrieve(ctx context.Context) (aws.Credentials, error) {
	if s.src.RoleARN == "" {
		return s.retrieveBase(ctx)
	}
	mended := s.lastError() != nil && s.base.changed(ctx)
	m := s.manager
	m.mu.Lock()
	if mended {
		s.retry = time.Time{}
	}
	now := time.Now()
	if l := s.lease; l != nil && l.valid(now) {
		if now.After(l.refresh) && s.flight == nil && now.After(s.retry) {
			s.startFlight()
		}
		if now.Before(l.urgent) {
			defer m.mu.Unlock()
			return s.outcome(now)
		}
	}
	if s.flight == nil {
		if now.Before(s.retry) {
			defer m.mu.Unlock()
			return s.outcome(now)
		}
		s.startFlight()
	}
	f := s.flight
	if s.lease != nil {
		m.stats.Waits++
	}
	m.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		return aws.Credentials{}, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return s.outcome(time.Now())
}

// outcome is what callers get without waiting any longer: a lease that is
// still valid even if its renewal failed.
func (s *session) outcome(now time.Time) (aws.Credentials, error) {
	if s.lease != nil && s.lease.valid(now) {
		s.idle = 0
		return s.lease.keys, nil
	}
	if s.err == nil {
		return aws.Credentials{}, &Error{Source: s.src, Err: errors.New("the session ended while it was renewed")}
	}
	return aws.Credentials{}, s.err
}

// ready returns valid credentials if there are any, and has a due refresh begin
// in the background; nobody waits for it.
func (s *session) ready(ctx context.Context) (aws.Credentials, error) {
	if s.src.RoleARN == "" {
		return s.retrieveBase(ctx)
	}
	mended := s.base.changed(ctx)
	m := s.manager
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if s.flight == nil && (mended || now.After(s.retry)) && (s.lease == nil || now.After(s.lease.refresh)) {
		s.startFlight()
	}
	return s.outcome(now)
}

// lastError is why the last refresh failed, nil if it did not.
func (s *session) lastError() error {
	s.manager.mu.Lock()
	defer s.manager.mu.Unlock()
	return s.err
}

// startFlight begins a refresh in the background. The mutex is held.
func (s *session) startFlight() {
	m := s.manager
	f := &flight{done: make(chan struct{})}
	s.flight = f
	if m.closed {
		s.land(nil, &Error{Source: s.src, Err: errors.New("the credential manager is closed")})
		return
	}
	m.work.Go(func() {
		ctx, cancel := context.WithTimeout(m.life, m.cfg.RefreshTimeout)
		defer cancel()
		l, err := s.assume(ctx)
		m.mu.Lock()
		defer m.mu.Unlock()
		s.land(l, err)
	})
}

// mostIdle is how many leases in a row are renewed though nobody used them:
// calls may take longer than a short session lives.
const mostIdle = 2

// refreshAhead renews a lease by the clock, so that callers who come rarely
// find it renewed as well, until nobody has used the last few.
func (s *session) refreshAhead(l *lease) {
	s.manager.mu.Lock()
	defer s.manager.mu.Unlock()
	if s.lease != l || s.idle > mostIdle || s.flight != nil || s.manager.closed {
		return
	}
	s.startFlight()
}

// How long a failed refresh is remembered, so that a hundred callers cause one
// AssumeRole: refusals for long, outages with backoff.
const (
	rememberRefusal = 30 * time.Second
	firstBackoff    = 500 * time.Millisecond
	longestBackoff  = 30 * time.Second
)

// land ends the flight. The mutex is held.
func (s *session) land(l *lease, err error) {
	log := s.manager.cfg.Log
	if err == nil {
		s.lease, s.err, s.failures, s.retry = l, nil, 0, time.Time{}
		s.manager.stats.Assumed++
		s.idle++
		time.AfterFunc(time.Until(l.refresh), func() { s.refreshAhead(l) })
		log.Info("credentials refreshed", "source", s.src, "valid_until", l.expires.UTC().Format(time.RFC3339), "life", l.life)
	} else {
		s.err = err
		s.failures++
		wait := time.Duration(rand.Int64N(int64(min(firstBackoff<<min(s.failures, 10), longestBackoff))))
		var e *Error
		if errors.As(err, &e) && e.Refused() {
			wait = rememberRefusal
		}
		s.retry = time.Now().Add(wait)
		left := time.Duration(0)
		if s.lease != nil && s.lease.valid(time.Now()) {
			left = s.lease.life - time.Since(s.lease.born)
		}
		level := slog.LevelWarn
		if s.manager.closed {
			level = slog.LevelDebug // it was cut off: nobody needs the session any more
		}
		log.Log(context.Background(), level, "credentials not refreshed", "source", s.src, "error", err, "valid_for", left.Round(time.Second), "retry_in", wait.Round(time.Millisecond))
	}
	close(s.flight.done)
	s.flight = nil
}

// assume gains a session, reading the principal anew once if STS calls it dead.
func (s *session) assume(ctx context.Context) (*lease, error) {
	for again := false; ; again = true {
		signer, key, err := s.signer(ctx)
		if err != nil {
			return nil, s.explain(err)
		}
		l, err := s.assumeWith(ctx, signer)
		if err == nil {
			return l, nil
		}
		e := s.refusal(err)
		if e.person && !again && key != "" && s.base.refused(ctx, key, code(err)) {
			continue
		}
		return nil, e
	}
}

// signer is the configuration that AssumeRole is called with, and its key: the
// principal's, or that of the role on the way.
func (s *session) signer(ctx context.Context) (aws.Config, string, error) {
	cfg := s.base.config()
	if s.src.Via != "" {
		k, err := s.manager.keyring(ctx, []Source{s.src.first()})
		if err != nil {
			return cfg, "", err
		}
		k.carry(&cfg)
		_, err = k.Retrieve(ctx)
		return cfg, "", err
	}
	keys, err := s.base.keys(ctx)
	if err != nil {
		return cfg, "", err
	}
	cfg.Credentials = credentials.StaticCredentialsProvider{Value: keys}
	return cfg, keys.AccessKeyID, nil
}

// explain puts an error of the link before into one of this source, as final
// as that was.
func (s *session) explain(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return &Error{Source: s.src, Err: err}
	}
	return &Error{Source: s.src, Err: e, refused: e.refused, person: e.person}
}

func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// assumeWith calls AssumeRole, with an hour once AWS has refused a longer
// session for the role's maximum or for role chaining.
func (s *session) assumeWith(ctx context.Context, base aws.Config) (*lease, error) {
	l, err := s.assumeFor(ctx, base, s.duration())
	if code(err) == "ValidationError" && strings.Contains(err.Error(), "DurationSeconds exceeds") && s.duration() > time.Hour {
		s.manager.cfg.Log.Warn("AWS refused the session duration; asking for 1h from now on", "source", s.src, "asked", s.src.Duration)
		s.manager.mu.Lock()
		s.capped = true
		s.manager.mu.Unlock()
		return s.assumeFor(ctx, base, time.Hour)
	}
	return l, err
}

func (s *session) duration() time.Duration {
	s.manager.mu.Lock()
	defer s.manager.mu.Unlock()
	if s.capped {
		return time.Hour
	}
	return s.src.Duration
}

func (s *session) assumeFor(ctx context.Context, base aws.Config, duration time.Duration) (*lease, error) {
	if base.Region == "" {
		base.Region = "us-east-1"
	}
	in := &sts.AssumeRoleInput{
		RoleArn: &s.src.RoleARN, RoleSessionName: &s.src.SessionName,
		DurationSeconds: aws.Int32(int32(duration / time.Second)),
	}
	if s.src.ExternalID != "" {
		in.ExternalId = &s.src.ExternalID
	}
	born := time.Now() // the session lives from when it was asked for, at the latest
	out, err := sts.NewFromConfig(base).AssumeRole(ctx, in)
	if err != nil {
		return nil, err
	}
	keys, arn, err := sessionOf(out)
	if err != nil {
		return nil, err
	}
	if err := s.checkAccount(arn); err != nil {
		return nil, err
	}
	life := min(duration, granted(keys.Expires, out.ResultMetadata, born))
	if life <= 0 {
		return nil, fmt.Errorf("AssumeRole: the session was over at %s, before it began: is a clock wrong?", keys.Expires.UTC().Format(time.RFC3339))
	}
	return newLease(keys, born, life), nil
}

// sessionOf takes an answer apart. One that lacks a part, such as what a proxy
// puts in its place with status 200, is no session.
func sessionOf(out *sts.AssumeRoleOutput) (keys aws.Credentials, arn string, err error) {
	c, user := out.Credentials, out.AssumedRoleUser
	if c == nil || user == nil || c.Expiration == nil {
		return keys, "", errors.New("AssumeRole: the answer holds no session")
	}
	keys = aws.Credentials{
		AccessKeyID: aws.ToString(c.AccessKeyId), SecretAccessKey: aws.ToString(c.SecretAccessKey),
		SessionToken: aws.ToString(c.SessionToken), Source: "cwharvest", CanExpire: true, Expires: *c.Expiration,
	}
	arn = aws.ToString(user.Arn)
	if !keys.HasKeys() || keys.SessionToken == "" || arn == "" {
		return keys, "", errors.New("AssumeRole: the answer lacks a part of the session")
	}
	return keys, arn, nil
}

// granted is how long AWS lets a session live from when it was sent for. By
// the answer's Date when the local clock is off; Date has whole seconds, so a
// clock that agrees with it tells better.
func granted(expiration time.Time, answer middleware.Metadata, sent time.Time) time.Duration {
	const agree = 2 * time.Second
	date, ok := awsmiddleware.GetServerTime(answer)
	if ok && sent.Sub(date).Abs() > agree {
		return expiration.Sub(date)
	}
	return expiration.Sub(sent)
}

// checkAccount refuses a session of another account: it would harvest emptiness.
func (s *session) checkAccount(arn string) error {
	fields := strings.Split(arn, ":")
	if s.src.Account == "" || len(fields) > 4 && fields[4] == s.src.Account {
		return nil
	}
	return &wrongAccount{want: s.src.Account, arn: arn}
}

type wrongAccount struct{ want, arn string }

func (e *wrongAccount) Error() string {
	return fmt.Sprintf("the session is %s, not of account %s", e.arn, e.want)
}
