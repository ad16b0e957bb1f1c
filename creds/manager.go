package creds

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"cwharvest/creds/partition"
	"cwharvest/creds/process"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// Config configures a Manager; the zero value works.
type Config struct {
	EndpointURL    string         // for every service; empty: the SDK resolves it
	Insecure       bool           // allow plain http to other machines
	HTTPClient     aws.HTTPClient // replaces the network in tests; nil: one transport for all clients
	RefreshTimeout time.Duration  // of every refresh; default 15s
	Log            *slog.Logger   // nil: discards
}

// Manager holds the credentials of a process. Its mutex guards the tables and is
// never held across the network.
type Manager struct {
	cfg        Config
	loader     *loader
	background *background
	probes     *probes
	counters   *counters
	summary    *summary

	mu         sync.Mutex
	principals map[Source]*principal
	refreshers map[Source]*refresher
	chains     map[string]*chain // by their sources
}

// NewManager returns a manager without any session.
func NewManager(cfg Config) *Manager {
	if cfg.RefreshTimeout == 0 {
		cfg.RefreshTimeout = 15 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	b := newBackground(cfg.RefreshTimeout)
	return &Manager{
		cfg:        cfg,
		loader:     &loader{endpoint: cfg.EndpointURL, insecure: cfg.Insecure, transport: cfg.HTTPClient, log: cfg.Log, processes: process.NewGroup()},
		background: b,
		probes:     newProbes(b),
		counters:   &counters{},
		summary:    &summary{log: cfg.Log},
		principals: map[Source]*principal{},
		refreshers: map[Source]*refresher{},
		chains:     map[string]*chain{},
	}
}

// Close stops background refreshes and the processes of credential_process, and waits
// for them.
func (m *Manager) Close() {
	m.background.close()
	m.loader.processes.Close()
	m.summary.print()
}

// Config returns the configuration for clients in a region; an empty region is
// that of the profile or the environment. Its credentials are those of the first
// source, or of the first working fallback while that has none. Its clients
// repeat a call after AWS refused its session, and otherwise make one attempt.
// Config needs at least one source and calls no service.
func (m *Manager) Config(ctx context.Context, region string, sources ...Source) (aws.Config, error) {
	p, err := m.principal(ctx, sources[0])
	if err != nil {
		return aws.Config{}, err
	}
	c, err := m.chain(ctx, sources)
	if err != nil {
		return aws.Config{}, err
	}
	cfg := p.config()
	if region != "" {
		cfg.Region = region
	}
	m.repeater(c).attach(&cfg)
	return cfg, nil
}

// Region returns the region of a source's principal, or "". A profile that the source
// names keeps its own region if AWS_REGION is in another partition: the platform sets
// AWS_REGION for keys of its own partition.
func (m *Manager) Region(ctx context.Context, src Source) (string, error) {
	p, err := m.principal(ctx, src)
	if err != nil {
		return "", err
	}
	cfg := p.config()
	for _, s := range cfg.ConfigSources {
		shared, ok := s.(config.SharedConfig)
		if ok && src.Profile != "" && shared.Region != "" && partition.Of(shared.Region) != partition.Of(cfg.Region) {
			return shared.Region, nil
		}
	}
	return cfg.Region, nil
}

func (m *Manager) repeater(c *chain) *repeater { return &repeater{chain: c, probes: m.probes} }

// principal returns the one principal that signs for a source, loaded.
func (m *Manager) principal(ctx context.Context, src Source) (*principal, error) {
	m.mu.Lock()
	p := m.principals[src.principal()]
	if p == nil {
		p = newPrincipal(src.principal(), m.loader, m.background)
		m.principals[src.principal()] = p
	}
	m.mu.Unlock()
	p.placeIn(src.home())
	return p, p.open(ctx)
}

// chain returns the one chain of a list of sources. It leaves out a fallback if its
// principal cannot be loaded.
func (m *Manager) chain(ctx context.Context, sources []Source) (*chain, error) {
	c := &chain{counters: m.counters, log: m.cfg.Log}
	for i, src := range sources {
		p, err := m.provider(ctx, src.withDefaults())
		if err != nil && i == 0 {
			return nil, err
		}
		if err != nil {
			m.cfg.Log.Warn("fallback cannot be used", "source", src, "error", err)
			continue
		}
		c.providers = append(c.providers, p)
	}
	name := fmt.Sprintf("%#v", sources) // every field counts
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.chains[name]; known != nil {
		return known, nil
	}
	m.chains[name] = c
	return c, nil
}

// provider returns the provider of a source. There is one refresher for a role.
func (m *Manager) provider(ctx context.Context, src Source) (provider, error) {
	p, err := m.principal(ctx, src)
	if err != nil {
		return nil, err
	}
	if src.RoleARN == "" {
		return &ownKeys{src: src, principal: p, timeout: m.cfg.RefreshTimeout}, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.refreshers[src]
	if r == nil {
		r = &refresher{role: m.role(src, p), background: m.background, counters: m.counters, summary: m.summary, log: m.cfg.Log}
		m.refreshers[src] = r
	}
	return r, nil
}

func (m *Manager) role(src Source, p *principal) *role {
	r := &role{src: src, principal: p, log: m.cfg.Log}
	if src.Via != "" {
		r.via = func(ctx context.Context, cfg *aws.Config) error { return m.signAs(ctx, cfg, src.viaRole()) }
	}
	return r
}

// signAs puts valid credentials of a source into a configuration.
func (m *Manager) signAs(ctx context.Context, cfg *aws.Config, src Source) error {
	c, err := m.chain(ctx, []Source{src})
	if err != nil {
		return err
	}
	m.repeater(c).attach(cfg)
	_, err = c.Retrieve(ctx)
	return err
}

// Stats returns the counts of the manager's work and of its sessions.
func (m *Manager) Stats() Stats {
	stats := Stats{
		Assumed: m.counters.assumed.Load(), RefusedExpired: m.counters.refusedExpired.Load(),
		Waits: m.counters.waits.Load(), Switches: m.counters.switches.Load(),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.refreshers {
		refresh, valid := r.nextRefresh()
		if !valid {
			continue
		}
		stats.Open++
		if stats.NextRefresh.IsZero() || refresh.Before(stats.NextRefresh) {
			stats.NextRefresh = refresh
		}
	}
	for _, c := range m.chains {
		if c.inUse() > 0 {
			stats.Fallbacks++
		}
	}
	return stats
}
