package creds

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// ownKeys provides the keys of a principal itself, for a source without a role.
type ownKeys struct {
	src       Source
	principal *principal
	timeout   time.Duration
}

func (o *ownKeys) source() Source { return o.src }

// retrieve returns the principal's keys, or an Error. If the source demands an
// account, keys of another one are an Error.
func (o *ownKeys) retrieve(ctx context.Context) (aws.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	keys, err := o.principal.keys(ctx)
	if err != nil || o.src.Account == "" {
		return keys, err
	}
	if err := o.principal.checkAccount(ctx, keys, o.src.Account); err != nil {
		e := o.principal.explain(identificationError(o.src, err, o.principal.source, o.principal.remedy()))
		if e.NeedsPerson() {
			o.principal.reject(ctx, keys.AccessKeyID, code(err))
		}
		return aws.Credentials{}, e
	}
	return keys, nil
}

func (o *ownKeys) ready(ctx context.Context) (aws.Credentials, error) { return o.retrieve(ctx) }

func (o *ownKeys) held(_ context.Context, key string) (aws.Credentials, bool) {
	keys, _, _ := o.principal.state()
	return keys, keys.HasKeys() && keys.AccessKeyID == key
}

func (o *ownKeys) drop(ctx context.Context, key, code string) error {
	if o.principal.reject(ctx, key, code) {
		return nil
	}
	e := o.principal.rejection()
	e.Source = o.src
	return e
}

func (o *ownKeys) renew(ctx context.Context, key string) bool { return o.principal.renew(ctx, key) }

func (o *ownKeys) identify(ctx context.Context, keys aws.Credentials) error {
	return o.principal.accept(ctx, keys)
}

// Format prints the source and nothing else, whatever the verb.
func (o *ownKeys) Format(f fmt.State, _ rune) { fmt.Fprint(f, o.src.String()) }

// LogValue returns the text of Format.
func (o *ownKeys) LogValue() slog.Value { return slog.StringValue(o.src.String()) }

// identify returns the response of STS about keys, which it asks once for each key.
// The account that a provider declares beside the keys proves nothing: the SDK
// takes it from AWS_ACCOUNT_ID, the profile or the output of a credential_process.
func (p *principal) identify(ctx context.Context, keys aws.Credentials) (id principalIdentity, err error) {
	for range 2 { // a joined request may have been about previous keys
		p.mu.Lock()
		id = p.identity
		p.mu.Unlock()
		if id.key == keys.AccessKeyID || err != nil {
			break
		}
		err = p.getIdentity.do(ctx, func(ctx context.Context) error { return p.askIdentity(ctx, keys) })
	}
	return id, err
}

func (p *principal) askIdentity(ctx context.Context, keys aws.Credentials) error {
	out, err := p.callerIdentity(ctx, keys)
	if err != nil {
		return err
	}
	p.remember(keys.AccessKeyID, out)
	return nil
}

func (p *principal) remember(key string, out *sts.GetCallerIdentityOutput) {
	id := principalIdentity{key: key, account: aws.ToString(out.Account), arn: aws.ToString(out.Arn)}
	if date, ok := awsmiddleware.GetServerTime(out.ResultMetadata); ok {
		id.offset = time.Until(date).Round(time.Second)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.identity = id
}

// accept asks STS now whether it accepts keys.
func (p *principal) accept(ctx context.Context, keys aws.Credentials) error {
	_, err := p.callerIdentity(ctx, keys)
	return err
}

// checkAccount returns an accountError for keys of another account. Keys that STS
// issued carry the account of the role's ARN.
func (p *principal) checkAccount(ctx context.Context, keys aws.Credentials, want string) error {
	got := ""
	if keys.Source == stscreds.ProviderName || keys.Source == stscreds.WebIdentityProviderName {
		got = keys.AccountID
	}
	if got == "" {
		id, err := p.identify(ctx, keys)
		if err != nil {
			return err
		}
		got = id.account
	}
	if got != want {
		return &accountError{want: want, got: "account " + got}
	}
	return nil
}
