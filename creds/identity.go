package creds

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
)

// Identity is the account and the ARN of a source's credentials.
type Identity struct{ Account, ARN string }

// Identity asks STS for the identity of a source.
func (m *Manager) Identity(ctx context.Context, src Source, region string) (Identity, error) {
	cfg, err := m.Config(ctx, region, src)
	if err != nil {
		return Identity{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.RefreshTimeout)
	defer cancel()
	out, err := callerIdentity(ctx, cfg)
	if err != nil {
		return Identity{}, identityError(src, err)
	}
	return Identity{Account: aws.ToString(out.Account), ARN: aws.ToString(out.Arn)}, nil
}

// Principal describes the keys that sign before any role is assumed.
type Principal struct {
	Name    string // as in the configuration
	Source  string // provider of the SDK that found the keys
	Key     string // access key id, masked
	Account string
	ARN     string
	Expires time.Time     // zero: unknown
	Offset  time.Duration // AWS's clock minus the local clock
}

// Principal asks STS for the identity of a source's principal. With an error it
// returns the fields that are known.
func (m *Manager) Principal(ctx context.Context, src Source) (Principal, error) {
	known := Principal{Name: src.principal().String()}
	p, err := m.principal(ctx, src)
	if err != nil {
		return known, err
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.RefreshTimeout)
	defer cancel()
	keys, err := p.keys(ctx)
	known.Source, known.Key = keys.Source, masked(keys.AccessKeyID)
	if keys.CanExpire {
		known.Expires = keys.Expires
	}
	if err != nil {
		return known, err
	}
	out, err := p.identify(ctx, keys)
	if err != nil {
		return known, stsError(p.source, err, p.source, p.remedy())
	}
	known.Account, known.ARN = aws.ToString(out.Account), aws.ToString(out.Arn)
	if date, ok := awsmiddleware.GetServerTime(out.ResultMetadata); ok {
		known.Offset = time.Until(date).Round(time.Second)
	}
	return known, nil
}
