package creds

import (
	"context"
	"fmt"
	"os"
	"time"

	"cwharvest/creds/origin"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
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
	keys, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return Identity{}, identityError(src, err)
	}
	out, err := callerIdentity(ctx, cfg, src.home())
	if err != nil {
		return Identity{}, identityError(src, err)
	}
	if p, err := m.principal(ctx, src); err == nil && src.RoleARN == "" {
		if last, _, _ := p.state(); last.AccessKeyID == keys.AccessKeyID { // otherwise the call was repeated with other keys
			p.remember(keys.AccessKeyID, out)
		}
	}
	return Identity{Account: aws.ToString(out.Account), ARN: aws.ToString(out.Arn)}, nil
}

// Conflicts returns a line for each setting of the environment that has no effect, or
// an unexpected one, for a principal. A principal that cannot be loaded is reported
// where it is used.
func (m *Manager) Conflicts(ctx context.Context, principal Source, env func(name string) string) []string {
	signs := false
	if p, err := m.principal(ctx, principal); err == nil {
		signs = origin.Of(principal.Profile, p.config()).Kind == origin.Environment
	}
	return conflictsWith(principal.Profile, signs, env)
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

	declared string // account that the environment, the profile or a process declares
	fromEnv  bool   // the keys are those of the environment, which nothing renews
}

// Conflict returns a line if the environment or the profile declares another account
// than the one that the keys belong to, according to STS; otherwise "". The SDK
// believes AWS_ACCOUNT_ID, aws_account_id and the AccountId of a credential_process.
func (p Principal) Conflict(env func(name string) string) string {
	declared := env("AWS_ACCOUNT_ID")
	switch {
	case p.Account == "":
	case declared != "" && declared != p.Account && p.fromEnv:
		return fmt.Sprintf("AWS_ACCOUNT_ID=%s is wrong: the keys in the environment belong to account %s; unset it", cut(declared), p.Account)
	case p.declared != "" && p.declared != p.Account:
		return fmt.Sprintf("%s declares account %s, but its keys belong to account %s; correct aws_account_id or the output of its credential_process",
			p.Name, cut(p.declared), p.Account)
	case declared != "" && declared != p.Account:
		return fmt.Sprintf("AWS_ACCOUNT_ID=%s is ignored: the keys of %s belong to account %s", cut(declared), p.Name, p.Account)
	}
	return ""
}

// Warning returns a line if the keys have ended, or if they are the environment's
// and end within the length of a job; otherwise "". The SDK renews all other keys
// that end.
func (p Principal) Warning(length time.Duration) string {
	left, end := time.Until(p.Expires), p.Expires.UTC().Format(time.RFC3339)
	switch {
	case p.Expires.IsZero(), left > 0 && !p.fromEnv, left > length:
		return ""
	case !p.fromEnv:
		return "the keys of " + p.Name + " ended at " + end + "; renew them where they come from"
	case left <= 0:
		return "the keys in the environment ended at " + end + ", according to AWS_CREDENTIAL_EXPIRATION; export fresh keys"
	}
	return "the keys in the environment end at " + end + ", before the job may; export fresh keys, or use a profile or a role that renews them"
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
	known.declared, known.fromEnv = keys.AccountID, keys.Source == config.CredentialsSourceName
	if keys.CanExpire {
		known.Expires = keys.Expires
	}
	if end, err := time.Parse(time.RFC3339, os.Getenv("AWS_CREDENTIAL_EXPIRATION")); err == nil && known.fromEnv {
		known.Expires = end
	}
	if err != nil {
		return known, err
	}
	id, err := p.identify(ctx, keys)
	if err != nil {
		return known, p.explain(identificationError(p.source, err, p.source, p.remedy()))
	}
	known.Account, known.ARN, known.Offset = id.account, id.arn, id.offset
	return known, nil
}
