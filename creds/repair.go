package creds

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// repairs is how often a call is repeated with a new session before its error
// goes up, where the target pauses.
const repairs = 3

// addRepair adds two steps to an operation: the outermost repeats it when its
// session was refused, the innermost notes which key signed it.
func addRepair(stack *middleware.Stack, k *keyring) error {
	err := stack.Initialize.Add(middleware.InitializeMiddlewareFunc("cwharvest.Repair", k.repeat), middleware.Before)
	if err != nil {
		return err
	}
	return stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("cwharvest.NoteKey", noteKey), middleware.After)
}

// addClock adds a step to an operation that signs it once more when AWS refused
// the time of the signature: by then the SDK's client knows AWS's clock from the
// answer.
func addClock(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("cwharvest.Clock", func(
		ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
	) (middleware.InitializeOutput, middleware.Metadata, error) {
		out, metadata, err := next.HandleInitialize(ctx, in)
		if skewed(err) && ctx.Err() == nil {
			return next.HandleInitialize(ctx, in)
		}
		return out, metadata, err
	}), middleware.Before)
}

type usedKey struct{}

// repeat runs the whole operation again, so that its input is serialised and
// signed anew.
func (k *keyring) repeat(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
	out middleware.InitializeOutput, metadata middleware.Metadata, err error,
) {
	for try := 0; ; try++ {
		key := new(string)
		out, metadata, err = next.HandleInitialize(context.WithValue(ctx, usedKey{}, key), in)
		if err == nil || ctx.Err() != nil || *key == "" || errors.As(err, new(*Error)) {
			return out, metadata, err
		}
		verdict, silence := sessionGood, error(nil)
		switch {
		case mistimed(err): // also when signed once more: a clock jumps, or is far off
			return out, metadata, errors.Join(err, &Error{Source: k.links[0].src, Err: errors.New(oneLine(err)), hint: "if it stays, set this machine's clock"})
		case over(err):
			verdict = sessionOver
		case doubtful(err):
			verdict, silence = k.manager.verdict(ctx, k, *key)
		}
		switch {
		case verdict == sessionGood:
			return out, metadata, err
		case verdict == sessionUnknown:
			return out, metadata, errors.Join(err, &Error{Source: k.links[0].src, Err: fmt.Errorf("refused, and STS does not tell whether the session is over: %v", silence)})
		case try == repairs:
			return out, metadata, errors.Join(err, &Error{Source: k.links[0].src, Err: errors.New("new sessions are refused as well")})
		}
		if renewErr := k.drop(ctx, *key, code(err)); renewErr != nil {
			return out, metadata, errors.Join(err, renewErr)
		}
	}
}

// sessionVerdict is what a refusal means for the session that signed the call.
type sessionVerdict int

const (
	sessionUnknown sessionVerdict = iota
	sessionGood                   // the refusal is meant
	sessionOver
)

// noteKey reads the access key out of the signature.
func noteKey(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
	middleware.FinalizeOutput, middleware.Metadata, error,
) {
	key, wanted := ctx.Value(usedKey{}).(*string)
	if r, ok := in.Request.(*smithyhttp.Request); ok && wanted {
		_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		*key, _, _ = strings.Cut(scope, "/")
	}
	return next.HandleFinalize(ctx, in)
}

// drop gives up the lease with a key, unless it has been replaced already: a
// hundred refusals of one key cause one renewal. A lease that is refused
// while it is young, after another was, is an error instead: asking STS again
// and again would not help.
func (s *session) drop(ctx context.Context, key, reason string) error {
	if s.src.RoleARN == "" {
		if s.base.refused(ctx, key, reason) {
			return nil
		}
		return &Error{Source: s.src, Err: errors.New(s.base.obituary()), person: true, hint: s.base.remedy()}
	}
	m := s.manager
	m.mu.Lock()
	defer m.mu.Unlock()
	l := s.lease
	if l == nil || l.keys.AccessKeyID != key {
		return nil
	}
	young := min(time.Minute, l.life/10)
	if time.Since(l.born) < young && time.Since(s.dropped) < time.Minute {
		return &Error{Source: s.src, Err: errors.New("a session was refused right after it was renewed")}
	}
	s.lease, s.dropped = nil, time.Now()
	m.cfg.Log.Warn("session refused before its time", "source", s.src, "key", masked(key), "age", time.Since(l.born).Round(time.Second))
	return nil
}

// masked is as much of an access key id as people may see.
func masked(key string) string {
	if len(key) < 8 {
		return "..."
	}
	return key[:4] + "..." + key[len(key)-4:]
}

// retrieveBase returns the principal's own credentials.
func (s *session) retrieveBase(ctx context.Context) (aws.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, s.manager.cfg.RefreshTimeout)
	defer cancel()
	keys, err := s.base.keys(ctx)
	if err != nil || s.src.Account == "" {
		return keys, err
	}
	if err := s.base.checkAccount(ctx, keys, s.src.Account); err != nil {
		e := s.refusal(err)
		if e.person {
			s.base.refused(ctx, keys.AccessKeyID, code(err))
		}
		return aws.Credentials{}, e
	}
	return keys, nil
}

// probe remembers whether STS knows a key.
type probe struct {
	done    chan struct{} // closed when the verdict is there
	at      time.Time
	verdict sessionVerdict
	err     error // why it is unknown
}

const rememberProbe = 30 * time.Second

// verdict asks STS whether a key that a service called invalid is bad
// everywhere: if not, the region is not enabled, and the session is good. One
// question serves all who ask about the key; what STS did not answer is asked
// again by the next one.
func (m *Manager) verdict(ctx context.Context, k *keyring, key string) (sessionVerdict, error) {
	m.mu.Lock()
	p, known := m.probes[key]
	if !known || time.Since(p.at) > rememberProbe {
		maps.DeleteFunc(m.probes, func(_ string, old *probe) bool { return time.Since(old.at) > rememberProbe })
		p = &probe{done: make(chan struct{}), at: time.Now()}
		m.probes[key] = p
		m.mu.Unlock()
		p.verdict, p.err = m.ask(k, key)
		close(p.done)
		if p.verdict == sessionUnknown {
			m.forget(key, p)
		}
		return p.verdict, p.err
	}
	m.mu.Unlock()
	select {
	case <-p.done:
		return p.verdict, p.err
	case <-ctx.Done():
		return sessionUnknown, context.Cause(ctx)
	}
}

func (m *Manager) forget(key string, p *probe) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.probes[key] == p {
		delete(m.probes, key)
	}
}

// ask calls GetCallerIdentity with the key, if it is still the session's. Who is
// denied that call is known all the same: a policy of an endpoint may allow
// AssumeRole alone.
func (m *Manager) ask(k *keyring, key string) (sessionVerdict, error) {
	ctx, cancel := context.WithTimeout(m.life, m.cfg.RefreshTimeout)
	defer cancel()
	keys, s := k.held(ctx, key)
	if s == nil {
		return sessionOver, nil // replaced meanwhile: repeating the call is right
	}
	_, err := s.base.identify(ctx, keys)
	switch {
	case err == nil, code(err) == "AccessDenied":
		return sessionGood, nil
	case over(err), doubtful(err):
		return sessionOver, nil
	}
	return sessionUnknown, err
}

// held returns the session's credentials if they are those with the key.
func (s *session) held(ctx context.Context, key string) (aws.Credentials, bool) {
	if s.src.RoleARN == "" {
		keys, err := s.base.retrieve(ctx)
		return keys, err == nil && keys.AccessKeyID == key
	}
	s.manager.mu.Lock()
	defer s.manager.mu.Unlock()
	if s.lease == nil || s.lease.keys.AccessKeyID != key {
		return aws.Credentials{}, false
	}
	return s.lease.keys, true
}
