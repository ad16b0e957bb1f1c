package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"cwharvest/creds"
	"cwharvest/pipeline"
	"cwharvest/pipeline/config"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Signed requests go in the clear to this machine only. The credential manager
// refuses each that would not; what is known before is refused before anything
// is done.

// checkEndpoints refuses what the command line and the environment say.
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
	err := creds.CheckEndpoint(text)
	if err == nil || s.InsecureEndpoint && errors.As(err, new(*creds.ClearError)) {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

// checkConfigured refuses what the profiles of accounts say. One that cannot be
// read is the trouble of its targets.
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

// endpointsOf are what the services are called by instead of AWS's own names.
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
