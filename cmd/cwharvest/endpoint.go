package main

import (
	"errors"
	"log/slog"
	"os"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/pipeline/config"
)

// checkEndpoints refuses addresses in flags and the environment that would send signed requests over plain http to
// another machine. Those in profiles are checked when the accounts are known.
func (f *runFlags) checkEndpoints(s *config.Config) error {
	err := accounts.CheckEndpoint(s.InsecureEndpoint, f.origin("endpoint-url"), f.endpointURL)
	if err != nil || os.Getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") == "true" {
		return err
	}
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL_CLOUDWATCH",
		"AWS_ENDPOINT_URL_ORGANIZATIONS", "AWS_ENDPOINT_URL_S3"} {
		err = errors.Join(err, accounts.CheckEndpoint(s.InsecureEndpoint, name, os.Getenv(name)))
	}
	return err
}

func warnOfPlainHTTP(s *config.Config, log *slog.Logger) {
	if s.InsecureEndpoint {
		log.Warn("insecure_endpoint: plain http may go to other machines; anybody on the way can read key ids, signatures, session tokens, instances and metrics")
	}
}
