package creds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/middleware"
)

// keyring provides the credentials of its first source, and those of a
// fallback while the first cannot be had. All its clients share it.
type keyring struct {
	manager *Manager
	links   []*session

	active int // the link in use; guarded by the manager's mutex
}

// carry puts the keyring into a configuration. Credentials are set after
// loading: passed as an option, the SDK wraps them in its own cache.
func (k *keyring) carry(cfg *aws.Config) {
	cfg.Credentials = k
	cfg.APIOptions = append(cfg.APIOptions, func(stack *middleware.Stack) error { return addRepair(stack, k) })
}

// Retrieve returns valid credentials: at once while there are any, after a
// refresh otherwise. The caller may leave by its own context; the refresh goes
// on for the others. While a fallback is in use nobody waits for the first
// source: it is tried in the background.
func (k *keyring) Retrieve(ctx context.Context) (aws.Credentials, error) {
	first := k.links[0]
	if k.inUse() == 0 {
		keys, err := first.retrieve(ctx)
		if err == nil || ctx.Err() != nil || len(k.links) == 1 {
			return keys, err
		}
		return k.fallBack(ctx, err)
	}
	keys, err := first.ready(ctx)
	if err != nil {
		return k.fallBack(ctx, err)
	}
	k.use(0, nil)
	return keys, nil
}

func (k *keyring) inUse() int {
	k.manager.mu.Lock()
	defer k.manager.mu.Unlock()
	return k.active
}

// fallBack returns the credentials of the first fallback that has any. Its
// error is the least final one of all links: while one may still come back
// by itself, the target must wait for it.
func (k *keyring) fallBack(ctx context.Context, primary error) (aws.Credentials, error) {
	errs := []error{primary}
	for i, link := range k.links[1:] {
		keys, err := link.retrieve(ctx)
		if err == nil {
			k.use(i+1, primary)
			return keys, nil
		}
		errs = append(errs, err)
	}
	if ctx.Err() != nil {
		return aws.Credentials{}, ctx.Err()
	}
	all := &Error{Source: k.links[0].src, Err: errors.Join(errs...), refused: true, fallbacks: true}
	for _, err := range errs {
		var e *Error
		known := errors.As(err, &e)
		all.refused = all.refused && known && e.refused
		all.person = all.person || known && e.person
		if !known || !e.refused && !e.person {
			all.refused, all.person = false, false
			break
		}
	}
	return aws.Credentials{}, all
}

// use notes which link is in use, and tells of a switch.
func (k *keyring) use(link int, why error) {
	m := k.manager
	m.mu.Lock()
	defer m.mu.Unlock()
	if k.active == link {
		return
	}
	k.active = link
	m.stats.Switches++
	if link == 0 {
		m.cfg.Log.Info("back from the fallback credentials", "source", k.links[0].src)
		return
	}
	m.cfg.Log.Warn("fallback credentials in use", "source", k.links[link].src, "instead_of", k.links[0].src, "error", why)
}

// drop gives up the session with a refused key, whichever link's it is. That a
// link cannot be renewed is no error while another may take its place.
func (k *keyring) drop(ctx context.Context, key, reason string) error {
	k.manager.mu.Lock()
	k.manager.stats.RefusedExpired++
	k.manager.mu.Unlock()
	for _, link := range k.links {
		if _, held := link.held(ctx, key); held {
			err := link.drop(ctx, key, reason)
			if err != nil && len(k.links) > 1 {
				k.manager.cfg.Log.Debug("a session cannot be renewed", "source", link.src, "error", err)
				return nil
			}
			return err
		}
	}
	return nil // replaced meanwhile: repeating the call is right
}

// held returns the credentials with a key, if a link still has them.
func (k *keyring) held(ctx context.Context, key string) (aws.Credentials, *session) {
	for _, link := range k.links {
		if keys, held := link.held(ctx, key); held {
			return keys, link
		}
	}
	return aws.Credentials{}, nil
}

// Format keeps everybody's formatting away from the sessions.
func (k *keyring) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "credentials of %s", k.links[0].src) }

// LogValue is what Format shows.
func (k *keyring) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(k)) }
