package creds

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
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
		e := stsError(o.src, err, o.principal.source, o.principal.remedy())
		if e.NeedsPerson() {
			o.principal.reject(ctx, keys.AccessKeyID, code(err))
		}
		return aws.Credentials{}, e
	}
	return keys, nil
}

func (o *ownKeys) ready(ctx context.Context) (aws.Credentials, error) { return o.retrieve(ctx) }

func (o *ownKeys) held(ctx context.Context, key string) (aws.Credentials, bool) {
	keys, err := o.principal.retrieve(ctx)
	return keys, err == nil && keys.AccessKeyID == key
}

func (o *ownKeys) drop(ctx context.Context, key, code string) error {
	if o.principal.reject(ctx, key, code) {
		return nil
	}
	e := o.principal.rejection()
	e.Source = o.src
	return e
}

func (o *ownKeys) identify(ctx context.Context, keys aws.Credentials) error {
	_, err := o.principal.identify(ctx, keys)
	return err
}

// Format prints the source and nothing else, whatever the verb.
func (o *ownKeys) Format(f fmt.State, _ rune) { fmt.Fprint(f, o.src.String()) }

// LogValue returns the text of Format.
func (o *ownKeys) LogValue() slog.Value { return slog.StringValue(o.src.String()) }
