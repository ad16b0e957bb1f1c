// Package creds hands out AWS credentials that never end a run: one manager,
// shared by every worker, renews each session ahead of its end in the
// background, drops a session that a service refuses and repeats the call, and
// says what a person must do when nothing works. Secrets leave it only inside
// aws.Credentials.
package creds

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Config is what a Manager needs; the zero value works.
type Config struct {
	EndpointURL    string         // for every service; empty: the SDK's own resolution
	HTTPClient     aws.HTTPClient // instead of the network, for tests; nil: one transport for all clients
	RefreshTimeout time.Duration  // deadline of every refresh; default 15s
	Log            *slog.Logger   // nil: discards
}

// Source names where a target's credentials come from. Targets with equal
// sources share one session.
type Source struct {
	Profile     string        // shared-config profile; empty: the SDK's default chain
	RoleARN     string        // assumed from the profile or chain; empty: that principal itself
	ExternalID  string        // sent with AssumeRole
	SessionName string        // default "cwharvest"
	Duration    time.Duration // asked of AssumeRole, 15m..12h; default 1h
	Account     string        // that the session must belong to; empty: any
}

// String names the source for people; an external id is shared in confidence
// and stays out of it.
func (s Source) String() string {
	switch {
	case s.RoleARN != "":
		return "role " + s.RoleARN
	case s.Profile != "":
		return "profile " + s.Profile
	}
	return "the default credential chain"
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
	http     aws.HTTPClient // of all clients, once the first source is loaded
	bases    map[string]*base
	sessions map[Source]*session
	probes   map[string]probe // by access key
	stats    Stats
}

// Stats is what a manager has done and holds.
type Stats struct {
	Open           int       // valid sessions
	Assumed        int64     // sessions gained by AssumeRole
	RefusedExpired int64     // sessions that a service refused as expired
	Waits          int64     // calls that waited for a refresh after their source's first session
	NextRefresh    time.Time // zero when none is due
}

// NewManager returns a manager without any session yet.
func NewManager(cfg Config) *Manager {
	if cfg.RefreshTimeout == 0 {
		cfg.RefreshTimeout = 15 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	m := &Manager{cfg: cfg, bases: map[string]*base{}, sessions: map[Source]*session{}, probes: map[string]probe{}}
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

// Config returns the configuration for clients of a source in a region: the
// manager's credentials, the repair of refused sessions, one attempt a call
// and no retry quota. It calls nothing.
func (m *Manager) Config(ctx context.Context, src Source, region string) (aws.Config, error) {
	s, err := m.session(ctx, src)
	if err != nil {
		return aws.Config{}, err
	}
	cfg := s.base.config().Copy()
	cfg.Region = region
	// Set after loading: passed as an option, the SDK wraps it in its own cache.
	cfg.Credentials = s
	cfg.APIOptions = append(cfg.APIOptions, s.repair)
	return cfg, nil
}

// Identity is who a source is.
type Identity struct{ Account, ARN string }

// Identity asks STS who a source is.
func (m *Manager) Identity(ctx context.Context, src Source, region string) (Identity, error) {
	cfg, err := m.Config(ctx, src, region)
	if err != nil {
		return Identity{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.RefreshTimeout)
	defer cancel()
	out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil)
	if err != nil {
		return Identity{}, fmt.Errorf("ask STS who %s is: %w", src, err)
	}
	return Identity{Account: aws.ToString(out.Account), ARN: aws.ToString(out.Arn)}, nil
}

// Stats returns what the manager has done and holds.
func (m *Manager) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	stats := m.stats
	now := time.Now()
	for _, s := range m.sessions {
		if s.lease == nil || !s.lease.valid(now) || s.src.RoleARN == "" {
			continue
		}
		stats.Open++
		if stats.NextRefresh.IsZero() || s.lease.refresh.Before(stats.NextRefresh) {
			stats.NextRefresh = s.lease.refresh
		}
	}
	return stats
}

func (m *Manager) session(ctx context.Context, src Source) (*session, error) {
	if src.SessionName == "" {
		src.SessionName = "cwharvest"
	}
	if src.Duration == 0 {
		src.Duration = time.Hour
	}
	b, err := m.base(ctx, src.Profile)
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

// base is what signs AssumeRole: a profile or the default chain, loaded once
// and shared by all sources on it.
type base struct {
	manager *Manager
	profile string

	mu     sync.Mutex
	loaded aws.Config
}

func (m *Manager) base(ctx context.Context, profile string) (*base, error) {
	m.mu.Lock()
	b := m.bases[profile]
	if b == nil {
		b = &base{manager: m, profile: profile}
		m.bases[profile] = b
	}
	m.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.loaded.Credentials != nil {
		return b, nil
	}
	var err error
	b.loaded, err = b.load(ctx)
	return b, err
}

func (b *base) config() aws.Config {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.loaded
}

// load reads environment and files; it calls no service.
func (b *base) load(ctx context.Context) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(b.manager.transport()),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
	}
	if b.profile != "" {
		options = append(options, config.WithSharedConfigProfile(b.profile))
	}
	if url := b.manager.cfg.EndpointURL; url != "" {
		options = append(options, config.WithBaseEndpoint(url))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return cfg, &Error{Source: Source{Profile: b.profile}, Err: err, person: true,
			hint: "check AWS_PROFILE, AWS_CONFIG_FILE and the files they name"}
	}
	cfg.HTTPClient = b.manager.client(cfg.HTTPClient)
	return cfg, nil
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
		m.http = plainBody{loaded}
	}
	return m.http
}

// reload reads the source anew after its key was refused, and reports whether
// that gave another key.
func (b *base) reload(ctx context.Context, refused string) bool {
	fresh, err := b.load(ctx)
	if err != nil {
		return false
	}
	keys, err := fresh.Credentials.Retrieve(ctx)
	if err != nil || keys.AccessKeyID == refused {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.loaded = fresh
	return true
}

// newTransport is the SDK's own client, which knows AWS_CA_BUNDLE, with room
// for many workers on one host.
func newTransport() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = 10 * time.Second }).
		WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns, t.MaxIdleConnsPerHost = 512, 128
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
	return p.client.Do(r)
}
