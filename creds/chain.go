package creds

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// provider provides the credentials of one source: a principal's own keys or the
// session of a role.
type provider interface {
	source() Source

	// retrieve returns valid credentials, after a refresh if need be.
	retrieve(context.Context) (aws.Credentials, error)

	// ready returns valid credentials if there are any. A due refresh of a role's
	// session runs in the background.
	ready(context.Context) (aws.Credentials, error)

	// held returns the credentials with a key id if the provider still has them.
	held(ctx context.Context, key string) (aws.Credentials, bool)

	// drop gives up the credentials with a key id, since a service refused them
	// with a code. It returns an error if there will be no others soon.
	drop(ctx context.Context, key, code string) error

	// renew gives up the credentials with a key id, since a service denied a call
	// that it allowed before. It reports whether there are or will be others.
	renew(ctx context.Context, key string) bool

	// identify asks STS whether it accepts the credentials.
	identify(context.Context, aws.Credentials) error
}

// chain provides the credentials of its first source, and those of a fallback
// while the first has none. All clients of a target share it.
type chain struct {
	providers []provider
	counters  *counters
	log       *slog.Logger

	mu     sync.Mutex
	active int  // index of the provider in use
	worked bool // a call succeeded
}

// Retrieve returns valid credentials: at once if there are any, otherwise after a
// refresh. While a fallback is in use no caller waits for the first source; it is
// refreshed in the background.
func (c *chain) Retrieve(ctx context.Context) (aws.Credentials, error) {
	first := c.providers[0]
	if c.inUse() == 0 {
		keys, err := first.retrieve(ctx)
		if err == nil || ctx.Err() != nil || len(c.providers) == 1 {
			return keys, err
		}
		return c.fallBack(ctx, err)
	}
	keys, err := first.ready(ctx)
	if err != nil {
		return c.fallBack(ctx, err)
	}
	c.use(0, nil)
	return keys, nil
}

// first returns the source that the chain provides in the normal case.
func (c *chain) first() Source { return c.providers[0].source() }

func (c *chain) inUse() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active
}

// fallBack returns the credentials of the first fallback that has any. cause is
// the error of the first source.
func (c *chain) fallBack(ctx context.Context, cause error) (aws.Credentials, error) {
	errs := []error{cause}
	for i, p := range c.providers[1:] {
		keys, err := p.retrieve(ctx)
		if err == nil {
			c.use(i+1, cause)
			return keys, nil
		}
		errs = append(errs, err)
	}
	if ctx.Err() != nil {
		return aws.Credentials{}, ctx.Err()
	}
	return aws.Credentials{}, chainError(c.first(), errs)
}

// use records which provider is in use, and logs a switch.
func (c *chain) use(index int, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active == index {
		return
	}
	c.active = index
	c.counters.switches.Add(1)
	if index == 0 {
		c.log.Info("back from the fallback credentials", "source", c.first())
		return
	}
	c.log.Warn("fallback credentials in use", "source", c.providers[index].source(), "instead_of", c.first(), "error", cause)
}

// drop gives up the credentials with a refused key, whichever provider has them.
// If they cannot be refreshed, that is an error only without another provider.
func (c *chain) drop(ctx context.Context, key, code string) error {
	c.counters.refusedExpired.Add(1)
	_, p := c.held(ctx, key)
	if p == nil {
		return nil // replaced in the meantime
	}
	err := p.drop(ctx, key, code)
	if err != nil && len(c.providers) > 1 {
		c.log.Debug("cannot refresh a session", "source", p.source(), "error", err)
		return nil
	}
	return err
}

// succeeded records that a call succeeded.
func (c *chain) succeeded() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.worked = true
}

// renew gives up the credentials with a key, if calls of the chain have succeeded
// before. It reports whether there are or will be others.
func (c *chain) renew(ctx context.Context, key string) bool {
	c.mu.Lock()
	worked := c.worked
	c.mu.Unlock()
	if !worked {
		return false
	}
	_, p := c.held(ctx, key)
	return p == nil || p.renew(ctx, key) // nil: replaced in the meantime
}

// held returns the credentials with a key, and the provider that has them; nil if
// none does any more.
func (c *chain) held(ctx context.Context, key string) (aws.Credentials, provider) {
	for _, p := range c.providers {
		if keys, held := p.held(ctx, key); held {
			return keys, p
		}
	}
	return aws.Credentials{}, nil
}

// Format prints the source and nothing else, whatever the verb.
func (c *chain) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "credentials of %s", c.first()) }

// LogValue returns the text of Format.
func (c *chain) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }
