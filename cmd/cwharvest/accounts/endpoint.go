package accounts

import (
	"context"
	"errors"
	"fmt"

	"cwharvest/creds"
	"cwharvest/creds/wire"
	"cwharvest/pipeline"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// CheckEndpoint refuses an address that is malformed or that would send signed requests over plain http to another
// machine, unless insecure allows it. The credential manager refuses such requests too; this check finds the mistake
// before any work. An empty address is fine.
func CheckEndpoint(insecure bool, name, address string) error {
	if address == "" {
		return nil
	}
	err := wire.CheckEndpoint(address)
	if err == nil || insecure && errors.As(err, new(*wire.PlainHTTPError)) {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

// checkEndpoints checks the addresses in the profiles of principals. A profile that cannot be read is not an error
// here: it makes its targets fail.
func (r *Resolver) checkEndpoints(ctx context.Context, principals []creds.Source) error {
	for _, principal := range principals {
		cfg, err := r.Manager.Config(ctx, "", principal)
		if err != nil {
			continue
		}
		for _, endpoint := range endpointsOf(cfg) {
			if err := CheckEndpoint(r.Config.InsecureEndpoint, principal.String(), aws.ToString(endpoint)); err != nil {
				return &InputError{Err: err}
			}
		}
	}
	return nil
}

// endpointsOf returns the configured addresses of the services that a run calls; nil means AWS's own.
func endpointsOf(cfg aws.Config) []*string {
	return []*string{
		sts.NewFromConfig(cfg).Options().BaseEndpoint, ec2.NewFromConfig(cfg).Options().BaseEndpoint,
		pipeline.NewCloudWatch(cfg, pipeline.CBOR).Options().BaseEndpoint, organizations.NewFromConfig(cfg).Options().BaseEndpoint,
		s3.NewFromConfig(cfg).Options().BaseEndpoint,
	}
}
