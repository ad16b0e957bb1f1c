package creds

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// newSTS returns a client of STS in the region of a configuration, or in
// us-east-1 if it has none.
func newSTS(cfg aws.Config) *sts.Client {
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	return sts.NewFromConfig(cfg)
}

// withKeys returns a configuration that signs with fixed keys.
func withKeys(cfg aws.Config, keys aws.Credentials) aws.Config {
	cfg.Credentials = credentials.StaticCredentialsProvider{Value: keys}
	return cfg
}

// callerIdentity asks STS which principal signs. A response without an account,
// such as a proxy's page with status 200, is an error.
func callerIdentity(ctx context.Context, cfg aws.Config) (*sts.GetCallerIdentityOutput, error) {
	out, err := newSTS(cfg).GetCallerIdentity(ctx, nil)
	if err == nil && aws.ToString(out.Account) == "" {
		err = errors.New("GetCallerIdentity: the response has no account; it probably came from a proxy, not from AWS")
	}
	return out, err
}

// sessionOf returns the credentials and the ARN in a response of AssumeRole. A
// response that lacks a part, such as a proxy's page with status 200, is an
// error.
func sessionOf(out *sts.AssumeRoleOutput) (keys aws.Credentials, arn string, err error) {
	c, user := out.Credentials, out.AssumedRoleUser
	if c == nil || user == nil || c.Expiration == nil {
		return keys, "", errors.New("AssumeRole: the response has no session; it probably came from a proxy, not from AWS")
	}
	keys = aws.Credentials{
		AccessKeyID: aws.ToString(c.AccessKeyId), SecretAccessKey: aws.ToString(c.SecretAccessKey),
		SessionToken: aws.ToString(c.SessionToken), Source: "cwharvest", CanExpire: true, Expires: *c.Expiration,
	}
	arn = aws.ToString(user.Arn)
	if !keys.HasKeys() || keys.SessionToken == "" || arn == "" {
		return keys, "", errors.New("AssumeRole: the response has an incomplete session")
	}
	return keys, arn, nil
}

// gate passes the AssumeRole calls of one principal to STS in one region. While
// STS does not work it passes one call in each step of a backoff, so that a thousand
// roles on one principal do not call a throttled STS a thousand times.
type gate struct {
	principal Source
	log       *slog.Logger

	mu      sync.Mutex // guards the fields below; never held across the network
	backoff backoff
	tries   bool   // the one call of this step is in flight
	err     *Error // of the last call; nil: STS works
}

// enter returns an Error if the caller must not call STS now. Otherwise the caller
// calls leave with the result of its call.
func (g *gate) enter() (leave func(*Error), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		return g.leave, nil
	}
	if g.tries || g.backoff.waits() {
		return nil, g.err
	}
	g.tries = true
	return func(e *Error) { g.tried(e) }, nil
}

// leave closes the gate after an outage. Of calls that were in flight together, the
// first failure counts.
func (g *gate) leave(e *Error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil && e != nil && e.class == outage {
		g.fail(e)
	}
}

// tried opens the gate if the one call of a step was answered.
func (g *gate) tried(e *Error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tries = false
	if e != nil && e.class == outage {
		g.fail(e)
		return
	}
	g.err, g.backoff = nil, backoff{}
	g.log.Info("STS works again", "principal", g.principal)
}

// fail logs an outage once, until its cause changes or it ends. The lock is held.
func (g *gate) fail(e *Error) {
	before := g.err
	g.err = &Error{Source: g.principal, Err: e.Err, remedy: e.remedy}
	level := slog.LevelWarn
	if before != nil && before.Error() == g.err.Error() {
		level = slog.LevelDebug
	}
	wait := g.backoff.fail()
	g.log.Log(context.Background(), level, "STS does not work", "principal", g.principal, "error", g.err, "retry_in", wait.Round(time.Millisecond))
}
