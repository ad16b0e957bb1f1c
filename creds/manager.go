// Package creds hands out AWS credentials that never end a run: one manager,
// shared by every worker, renews each session ahead of its end in the
// background, drops a session that a service refuses and repeats the call, and
// says what a person must do when nothing works. Secrets leave it only inside
// aws.Credentials.
package creds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// Config is what a Manager needs; the zero value works.
type Config struct {
	EndpointURL    string         // for every service; empty: the SDK's own resolution
	Insecure       bool           // plain http may go to other machines
	HTTPClient     aws.HTTPClient // instead of the network, for tests; nil: one transport for all clients
	RefreshTimeout time.Duration  // deadline of every refresh; default 15s
	Log            *slog.Logger   // nil: discards
}

// Source names where a target's credentials come from. Targets with equal
// sources share one session.
type Source struct {
	Profile      string // shared-config profile; empty: the SDK's default chain
	InstanceRole bool   // the machine's own role, instead of a profile or the chain

	// Via is a role to assume first, that may assume RoleARN. AWS lets a
	// session that comes of a session live an hour at most (STS API reference,
	// AssumeRole).
	Via, ViaExternalID string

	RoleARN     string        // to assume; empty: the principal itself
	ExternalID  string        // sent with AssumeRole
	SessionName string        // default "cwharvest"
	Duration    time.Duration // asked of AssumeRole, 15m..12h; default 1h
	Account     string        // that the session must belong to; empty: any
}

// String names the source for people; an external id is shared in confidence
// and stays out of it.
func (s Source) String() string {
	switch {
	case s.Via != "":
		return "role " + s.RoleARN + " via " + s.Via
	case s.RoleARN != "":
		return "role " + s.RoleARN
	case s.InstanceRole:
		return "the instance role"
	case s.Profile != "":
		return "profile " + s.Profile
	}
	return "the default credential chain"
}

// principal is what signs the first AssumeRole.
func (s Source) principal() Source { return Source{Profile: s.Profile, InstanceRole: s.InstanceRole} }

// first is the source of the role on the way, if there is one.
func (s Source) first() Source {
	p := s.principal()
	p.RoleARN, p.ExternalID, p.SessionName, p.Duration = s.Via, s.ViaExternalID, s.SessionName, s.Duration
	return p
}

// LogValue is String, so that no log shows the external id.
func (s Source) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Manager holds the sessions of a process. Its mutex guards the tables and is
// never held across the network.
type Manager struct {
	cfg    Config
	life   context.Context // of background refreshes
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	http     aws.HTTPClient   // of all clients, once the first source is loaded
	bases    map[Source]*base // by principal
	sessions map[Source]*session
	keyrings map[string]*keyring // by their sources
	probes   map[string]*probe   // by access key
	stats    Stats
}

// Stats is what a manager has done and holds.
type Stats struct {
	Open           int       // valid sessions
	Assumed        int64     // sessions gained by AssumeRole
	RefusedExpired int64     // sessions that a service refused as expired
	Waits          int64     // calls that waited for a refresh after their source's first session
	NextRefresh    time.Time // zero when none is due
	Switches       int64     // between sources and their fallbacks
	Fallbacks      int       // in use now
}

// NewManager returns a manager without any session yet.
func NewManager(cfg Config) *Manager {
	if cfg.RefreshTimeout == 0 {
		cfg.RefreshTimeout = 15 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	m := &Manager{cfg: cfg, bases: map[Source]*base{}, sessions: map[Source]*session{}, keyrings: map[string]*keyring{}, probes: map[string]*probe{}}
	m.life, m.cancel = context.WithCancel(context.Background())
	return m
}

// Close ends background refreshes and waits for them.
func (m *Manager) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.cancel()
	m.work.Wait()
}

// Config returns the configuration for clients in a region, or in that of the
// profile or environment: the credentials of
// the first source, or of the first fallback that works while it does not, the
// repair of refused sessions, one attempt a call and no retry quota. It calls
// nothing. At least one source is needed.
func (m *Manager) Config(ctx context.Context, region string, sources ...Source) (aws.Config, error) {
	k, err := m.keyring(ctx, sources)
	if err != nil {
		return aws.Config{}, err
	}
	cfg := k.links[0].base.config()
	if region != "" {
		cfg.Region = region
	}
	k.carry(&cfg)
	return cfg, nil
}

// Identity is who a source is.
type Identity struct{ Account, ARN string }

// Identity asks STS who a source is.
func (m *Manager) Identity(ctx context.Context, src Source, region string) (Identity, error) {
	cfg, err := m.Config(ctx, region, src)
	if err != nil {
		return Identity{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.RefreshTimeout)
	defer cancel()
	out, err := callerIdentity(ctx, cfg)
	if err != nil {
		return Identity{}, unidentified(src, err)
	}
	return Identity{Account: aws.ToString(out.Account), ARN: aws.ToString(out.Arn)}, nil
}

// unidentified is why nobody knows who a source is.
func unidentified(src Source, err error) error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case skewed(err), doubtful(err):
		return &Error{Source: src, Err: err, refused: true, person: true, hint: "the keys are wrong, or this machine's clock is: renew them, or set it"}
	}
	return fmt.Errorf("ask STS who %s is: %w", src, said{err})
}

// Stats returns what the manager has done and holds.
func (m *Manager) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	stats := m.stats
	now := time.Now()
	for _, s := range m.sessions {
		if s.lease == nil || !s.lease.valid(now) {
			continue
		}
		stats.Open++
		if stats.NextRefresh.IsZero() || s.lease.refresh.Before(stats.NextRefresh) {
			stats.NextRefresh = s.lease.refresh
		}
	}
	for _, k := range m.keyrings {
		if k.active > 0 {
			stats.Fallbacks++
		}
	}
	return stats
}

// keyring returns the one keyring of a list of sources.
func (m *Manager) keyring(ctx context.Context, sources []Source) (*keyring, error) {
	k := &keyring{manager: m}
	for i, src := range sources {
		s, err := m.session(ctx, src)
		if err != nil && i == 0 {
			return nil, err
		}
		if err != nil {
			m.cfg.Log.Warn("fallback cannot be used", "source", src, "error", err)
			continue
		}
		k.links = append(k.links, s)
	}
	name := fmt.Sprintf("%#v", sources) // every field counts
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.keyrings[name]; known != nil {
		return known, nil
	}
	m.keyrings[name] = k
	return k, nil
}

func (m *Manager) session(ctx context.Context, src Source) (*session, error) {
	if src.SessionName == "" {
		src.SessionName = "cwharvest"
	}
	if src.Duration == 0 {
		src.Duration = time.Hour
	}
	if src.Via != "" {
		src.Duration = min(src.Duration, time.Hour)
	}
	b, err := m.base(ctx, src.principal())
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.sessions[src]
	if s == nil {
		s = &session{manager: m, src: src, base: b}
		m.sessions[src] = s
	}
	return s, nil
}

func (m *Manager) transport() aws.HTTPClient {
	if m.cfg.HTTPClient != nil {
		return m.cfg.HTTPClient
	}
	return newTransport()
}

// client returns the one client of the process: what the SDK made of the
// transport first, with the CA bundle that it may have been given.
func (m *Manager) client(loaded aws.HTTPClient) aws.HTTPClient {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.http == nil {
		m.http = plainBody{unredirected(loaded)}
	}
	return m.http
}

// silence is how long nothing may come of an answer; callers have deadlines of
// their own, but for those that read whole objects.
const silence = 5 * time.Minute

// mostOfHeader bounds the headers of an answer.
const mostOfHeader = 256 << 10

// newTransport is the SDK's own client, which knows AWS_CA_BUNDLE, with room
// for many workers on one host.
func newTransport() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithReadTimeout(silence).
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = 10 * time.Second }).
		WithTransportOptions(func(t *http.Transport) {
			t.Proxy = proxyOf
			t.MaxIdleConns, t.MaxIdleConnsPerHost = 512, 128
			t.MaxResponseHeaderBytes = mostOfHeader
		})
}

// plainBody hides the request body's WriterTo: smithy's returns io.EOF once
// closed, which net/http takes for a failed write, and cuts the answer of a
// server that was faster (aws-sdk-go-v2#1825).
type plainBody struct{ client aws.HTTPClient }

func (p plainBody) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	answer, err := p.client.Do(r)
	return answer, explainTLS(err)
}
