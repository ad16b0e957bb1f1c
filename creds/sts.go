package creds

import (
	"context"
	"errors"

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
