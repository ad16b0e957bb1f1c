package creds

import (
	"context"
	"maps"
	"sync"
	"time"
)

// keyState is the answer of STS about a key that a service refused.
type keyState int

const (
	keyUnknown keyState = iota // STS did not respond
	keyValid                   // the refusal is about the call or the region
	keyExpired
)

// probes ask STS about keys that services refused ambiguously. One request serves
// all callers with the same key, and its result is kept for keepProbe.
type probes struct {
	background *background

	mu    sync.Mutex // guards byKey; never held across the network
	byKey map[string]*probe
}

// probe is one request to STS. Its result may be read once done is closed.
type probe struct {
	done  chan struct{} // closed by the caller that made the request
	at    time.Time
	state keyState
	err   error // why the state is unknown
}

const keepProbe = 30 * time.Second

func newProbes(b *background) *probes { return &probes{background: b, byKey: map[string]*probe{}} }

// check returns the state of a key of a chain. If STS does not respond, the next
// caller asks again.
func (ps *probes) check(ctx context.Context, c *chain, key string) (keyState, error) {
	p, isNew := ps.get(key)
	if isNew {
		ps.background.do(func(ctx context.Context) { p.state, p.err = judgeKey(ctx, c, key) })
		close(p.done)
		if p.state == keyUnknown {
			ps.forget(key, p)
		}
		return p.state, p.err
	}
	select {
	case <-p.done:
		return p.state, p.err
	case <-ctx.Done():
		return keyUnknown, context.Cause(ctx)
	}
}

// get returns the probe of a key, and whether the caller has to make its request.
func (ps *probes) get(key string) (_ *probe, isNew bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	old := func(_ string, p *probe) bool { return time.Since(p.at) > keepProbe }
	if p := ps.byKey[key]; p != nil && !old(key, p) {
		return p, false
	}
	maps.DeleteFunc(ps.byKey, old)
	p := &probe{done: make(chan struct{}), at: time.Now()}
	ps.byKey[key] = p
	return p, true
}

func (ps *probes) forget(key string, p *probe) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.byKey[key] == p {
		delete(ps.byKey, key)
	}
}

// judgeKey calls GetCallerIdentity with a key, unless the chain has replaced it. A
// denial proves that STS knows the key: the policy of a VPC endpoint can allow
// AssumeRole alone.
func judgeKey(ctx context.Context, c *chain, key string) (keyState, error) {
	keys, p := c.held(ctx, key)
	if p == nil {
		return keyExpired, nil
	}
	err := p.identify(ctx, keys)
	switch {
	case err == nil, isDenied(err):
		return keyValid, nil
	case isExpired(err), isAmbiguous(err):
		return keyExpired, nil
	}
	return keyUnknown, err
}
