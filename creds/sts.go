package creds

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"cwharvest/creds/partition"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// askSTS calls STS in the region of a client if that is in the partition of home, and
// otherwise in home; an empty home is in the partition of the region. STS refuses valid
// keys in a region that their account has not enabled (403 InvalidClientTokenId), and in
// one in which the account has turned STS off. So call is repeated once in the first
// region of the partition, which is always enabled, and its result counts.
func askSTS[T any](region, home string, call func(inRegion func(*sts.Options)) (T, error)) (T, error) {
	first := partition.First(partition.Of(cmp.Or(home, region)))
	home = cmp.Or(home, first)
	if region == "" || partition.Of(region) != partition.Of(home) {
		region = home
	}
	in := func(region string) func(*sts.Options) { return func(o *sts.Options) { o.Region = region } }
	out, err := call(in(region))
	if region != first && (isAmbiguous(err) || isRegionOff(err) || isUnreached(region, err)) {
		return call(in(first))
	}
	return out, err
}

// isUnreached reports that AWS did not respond in a region that may not exist, as when
// AWS_REGION is misspelled.
func isUnreached(region string, err error) bool {
	return err != nil && code(err) == "" && !partition.Known(region)
}

// partitionSTS calls STS in the partition of the role. The SDK would call it in the
// region of the environment.
type partitionSTS struct {
	*sts.Client
	home string // empty: the first region of the role's partition
}

func (c partitionSTS) homeOf(role *string) string {
	return cmp.Or(c.home, partition.First(partition.OfARN(aws.ToString(role))))
}

// AssumeRole implements stscreds.AssumeRoleAPIClient.
func (c partitionSTS) AssumeRole(ctx context.Context, in *sts.AssumeRoleInput, options ...func(*sts.Options)) (*sts.AssumeRoleOutput, error) {
	return askSTS(c.Options().Region, c.homeOf(in.RoleArn), func(inRegion func(*sts.Options)) (*sts.AssumeRoleOutput, error) {
		return c.Client.AssumeRole(ctx, in, append(slices.Clone(options), inRegion)...)
	})
}

// AssumeRoleWithWebIdentity implements stscreds.AssumeRoleWithWebIdentityAPIClient.
func (c partitionSTS) AssumeRoleWithWebIdentity(
	ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput, options ...func(*sts.Options),
) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	return askSTS(c.Options().Region, c.homeOf(in.RoleArn), func(inRegion func(*sts.Options)) (*sts.AssumeRoleWithWebIdentityOutput, error) {
		return c.Client.AssumeRoleWithWebIdentity(ctx, in, append(slices.Clone(options), inRegion)...)
	})
}

// withKeys returns a configuration that signs with fixed keys.
func withKeys(cfg aws.Config, keys aws.Credentials) aws.Config {
	cfg.Credentials = credentials.StaticCredentialsProvider{Value: keys}
	return cfg
}

// callerIdentity asks STS which principal signs; home is as for askSTS. A response without an account,
// such as a proxy's page with status 200, is an error.
func callerIdentity(ctx context.Context, cfg aws.Config, home string) (*sts.GetCallerIdentityOutput, error) {
	out, err := askSTS(cfg.Region, home, func(inRegion func(*sts.Options)) (*sts.GetCallerIdentityOutput, error) {
		return sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil, inRegion)
	})
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

// gate passes the AssumeRole calls of one principal to STS in one region. Until STS
// has answered one, and while it does not work, one call passes in each step of a
// backoff, so that a thousand roles on one principal do not call a throttled STS a
// thousand times.
type gate struct {
	principal Source
	log       *slog.Logger

	mu      sync.Mutex // guards the fields below; never held across the network
	works   bool
	trying  chan struct{} // closed when the one call of this step ends; nil: none is in flight
	backoff backoff
	err     *Error // of the last outage; nil: none since STS answered
	warned  news   // the outage that the log has
}

// enter returns an Error if the caller must not call STS now; it waits for the very
// first call. Otherwise the caller passes its result to leave, which returns the
// Error to report.
func (g *gate) enter(ctx context.Context) (leave func(*Error) *Error, err error) {
	for {
		g.mu.Lock()
		first := g.trying
		switch {
		case g.works:
			g.mu.Unlock()
			return g.leave, nil
		case g.err != nil && (first != nil || g.backoff.waits()):
			defer g.mu.Unlock()
			return nil, g.err
		case first == nil:
			g.trying = make(chan struct{})
			g.mu.Unlock()
			return g.tried, nil
		}
		g.mu.Unlock()
		select {
		case <-first:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// leave closes the gate after an outage. Of calls that were in flight together, the
// first failure counts.
func (g *gate) leave(e *Error) *Error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case e == nil || e.class != outage:
		return e
	case g.works:
		g.fail(e)
	}
	return signerError(e.Source, g.err)
}

// tried opens the gate if the one call of a step was answered.
func (g *gate) tried(e *Error) *Error {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.trying)
	g.trying = nil
	if e != nil && e.class == outage {
		g.fail(e)
		return signerError(e.Source, g.err)
	}
	if g.err != nil {
		g.log.Info("STS works again", "principal", g.principal)
	}
	g.works, g.err, g.backoff, g.warned = true, nil, backoff{}, news{}
	return e
}

// fail logs an outage once, until its cause changes or it ends. The lock is held.
func (g *gate) fail(e *Error) {
	g.works, g.err = false, &Error{Source: g.principal, Err: e.Err, remedy: e.remedy}
	level := slog.LevelDebug
	if !errors.Is(e, context.Canceled) && g.warned.add(g.err) { // canceled: the manager closes
		level = slog.LevelWarn
	}
	wait := g.backoff.fail()
	g.log.Log(context.Background(), level, "STS does not work", "principal", g.principal, "error", g.err, "retry_in", wait.Round(time.Millisecond))
}
