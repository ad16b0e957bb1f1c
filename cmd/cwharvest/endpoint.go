package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"cwharvest/creds/wire"
	"cwharvest/pipeline"
	"cwharvest/pipeline/config"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// checkEndpoints refuses plain http to other machines in the command line and in
// the environment. The wire guards refuse each such call as well, but only once
// the run has begun.
func (f *runFlags) checkEndpoints(s *config.Config) error {
	if err := checkEndpoint(s, f.origin("endpoint-url"), f.endpointURL); err != nil {
		return err
	}
	if os.Getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") == "true" {
		return nil
	}
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL_CLOUDWATCH",
		"AWS_ENDPOINT_URL_ORGANIZATIONS", "AWS_ENDPOINT_URL_S3"} {
		if err := checkEndpoint(s, name, os.Getenv(name)); err != nil {
			return err
		}
	}
	return nil
}

func checkEndpoint(s *config.Config, name, text string) error {
	if text == "" {
		return nil
	}
	err := wire.CheckEndpoint(text)
	if err == nil || s.InsecureEndpoint && errors.As(err, new(*wire.PlainHTTPError)) {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

// checkConfigured refuses plain http to other machines in the profiles of
// accounts. It skips a profile that cannot be read, since only its targets fail.
func (r *runner) checkConfigured(ctx context.Context, accounts []account) error {
	for _, principal := range principalsOf(accounts) {
		cfg, err := r.creds.Config(ctx, "", principal)
		if err != nil {
			continue
		}
		for _, endpoint := range endpointsOf(cfg) {
			if err := checkEndpoint(r.config, principal.String(), aws.ToString(endpoint)); err != nil {
				return usageError{error: err}
			}
		}
	}
	return nil
}

// endpointsOf returns the endpoints that a configuration names instead of AWS's;
// nil where it names none.
func endpointsOf(cfg aws.Config) []*string {
	return []*string{
		sts.NewFromConfig(cfg).Options().BaseEndpoint, ec2.NewFromConfig(cfg).Options().BaseEndpoint,
		pipeline.NewCloudWatch(cfg, pipeline.CBOR).Options().BaseEndpoint, organizations.NewFromConfig(cfg).Options().BaseEndpoint,
		s3.NewFromConfig(cfg).Options().BaseEndpoint,
	}
}

// warnOfClear says at the start what insecure_endpoint means.
func (r *runner) warnOfClear() {
	if r.config.InsecureEndpoint {
		r.log.Warn("insecure_endpoint: plain http may go to other machines; who is on the way reads keys' ids, signatures, session tokens, instances and metrics")
	}
}
