package creds

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"cwharvest/creds/partition"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
)

// role assumes the role of a source, signed by its principal or by the session
// of an intermediate role.
type role struct {
	src       Source
	principal *principal
	via       func(context.Context, *aws.Config) error // puts the session of the intermediate role into a configuration; nil: the principal signs
	log       *slog.Logger

	capped atomic.Bool // AWS refused the duration, so an hour is requested
}

// grant holds the result of AssumeRole.
type grant struct {
	keys aws.Credentials
	sent time.Time     // when AssumeRole was called, on the monotonic clock
	life time.Duration // from then
}

// Format prints the masked key and the end of the session, whatever the verb.
func (g grant) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "session %s until %s", masked(g.keys.AccessKeyID), g.sent.Add(g.life).UTC().Format(time.RFC3339))
}

// LogValue returns the text of Format.
func (g grant) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(g)) }

// assume returns a new grant, or an Error. If STS rejects the principal's key, or
// denies a session of it that has worked, assume tries again once with the principal's
// other keys, if there are any.
func (r *role) assume(ctx context.Context) (grant, error) {
	for again := false; ; again = true {
		signer, key, err := r.signer(ctx)
		if err != nil {
			return grant{}, signerError(r.src, err)
		}
		leave, err := r.principal.gate(r.region(signer)).enter(ctx)
		if err != nil {
			return grant{}, signerError(r.src, err)
		}
		g, err := r.assumeAs(ctx, signer)
		if err == nil {
			leave(nil)
			r.principal.succeeded(key)
			return g, nil
		}
		e := leave(r.principal.explain(stsError(r.src, err, r.principal.source, r.principal.remedy())))
		isKey := e.NeedsPerson() && key != ""
		e.shared = e.shared || isKey
		if again || key == "" {
			return grant{}, e
		}
		if isKey && r.principal.reject(ctx, key, code(err)) || isDenied(err) && r.principal.renewWorking(ctx, key) {
			continue
		}
		return grant{}, e
	}
}

// region returns the region in which STS is called, as askSTS does.
func (r *role) region(signer aws.Config) string {
	home := r.src.home()
	if signer.Region == "" || home != "" && partition.Of(home) != partition.Of(signer.Region) {
		return home
	}
	return signer.Region
}

// signer returns the configuration that AssumeRole is called with. It also
// returns the key id if that is the principal's.
func (r *role) signer(ctx context.Context) (aws.Config, string, error) {
	cfg := r.principal.config()
	if r.via != nil {
		return cfg, "", r.via(ctx, &cfg)
	}
	keys, err := r.principal.keys(ctx)
	return withKeys(cfg, keys), keys.AccessKeyID, err
}

// assumeAs calls AssumeRole, again for an hour if AWS refused a longer session.
func (r *role) assumeAs(ctx context.Context, signer aws.Config) (grant, error) {
	duration := r.duration()
	g, err := r.assumeFor(ctx, signer, duration)
	if duration > time.Hour && isDurationTooLong(err) {
		r.log.Warn("AWS refused the session duration; asking for 1h from now on", "source", r.src, "asked", r.src.Duration)
		r.capped.Store(true)
		return r.assumeFor(ctx, signer, time.Hour)
	}
	return g, err
}

func (r *role) duration() time.Duration {
	if r.capped.Load() {
		return time.Hour
	}
	return r.src.Duration
}

func (r *role) assumeFor(ctx context.Context, signer aws.Config, duration time.Duration) (grant, error) {
	in := &sts.AssumeRoleInput{
		RoleArn: &r.src.RoleARN, RoleSessionName: &r.src.SessionName,
		DurationSeconds: aws.Int32(int32(duration / time.Second)),
	}
	if r.src.ExternalID != "" {
		in.ExternalId = &r.src.ExternalID
	}
	sent := time.Now()
	out, err := partitionSTS{sts.NewFromConfig(signer), r.src.home()}.AssumeRole(ctx, in)
	if err != nil {
		return grant{}, err
	}
	keys, arn, err := sessionOf(out)
	if err != nil {
		return grant{}, err
	}
	if err := r.checkAccount(arn); err != nil {
		return grant{}, err
	}
	life := min(duration, grantedLife(keys.Expires, out.ResultMetadata, sent))
	if life <= 0 {
		return grant{}, fmt.Errorf("AssumeRole: the session expired at %s, before it began: is a clock wrong?", keys.Expires.UTC().Format(time.RFC3339))
	}
	return grant{keys: keys, sent: sent, life: life}, nil
}

// grantedLife returns how long a session lives from when it was requested. If the
// local clock disagrees with the Date of the response, Date counts; otherwise
// the local clock is more precise, since Date has whole seconds.
func grantedLife(expiration time.Time, response middleware.Metadata, sent time.Time) time.Duration {
	const agree = 2 * time.Second
	date, ok := awsmiddleware.GetServerTime(response)
	if ok && sent.Sub(date).Abs() > agree {
		return expiration.Sub(date)
	}
	return expiration.Sub(sent)
}

// checkAccount returns an accountError for a session of another account.
func (r *role) checkAccount(arn string) error {
	fields := strings.Split(arn, ":")
	if r.src.Account == "" || len(fields) > 4 && fields[4] == r.src.Account {
		return nil
	}
	return &accountError{want: r.src.Account, got: arn}
}
