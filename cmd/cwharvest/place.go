package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"cwharvest/creds"
	"cwharvest/pipeline/config"
	"cwharvest/store/durable"
	"cwharvest/store/place"
	"cwharvest/store/record"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/spf13/cobra"
)

// remotes returns a function that opens output places in S3. They use the same credential manager as all other calls, so
// that an upload survives the end of a session.
func remotes(ctx context.Context, m *creds.Manager, access config.S3) func(string, string, *durable.Files) (place.Place, error) {
	return func(out, temporary string, files *durable.Files) (place.Place, error) {
		bucket, prefix, ok, err := place.ParseS3(out)
		switch {
		case err != nil:
			return nil, usageError{error: fmt.Errorf("out: %w", err)}
		case !ok:
			return nil, usageError{fmt.Errorf("out %q is not a supported location", out), "write a directory or s3://bucket/prefix"}
		}
		client, err := s3Client(ctx, m, access)
		if err != nil {
			return nil, err
		}
		return place.NewS3(client, bucket, prefix, temporary, files), nil
	}
}

func s3Client(ctx context.Context, m *creds.Manager, access config.S3) (*s3.Client, error) {
	cfg, err := m.Config(ctx, access.Region, creds.Source{
		Profile: access.Profile, RoleARN: access.RoleARN, ExternalID: access.ExternalID,
	})
	if err != nil {
		return nil, err
	}
	if cfg.Region == "" {
		return nil, usageError{error: errors.New("no region for S3"), hint: "give s3: {region: ...} in the file, or AWS_REGION"}
	}
	return s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = o.BaseEndpoint != nil // other services than AWS seldom resolve a name for each bucket
	}), nil
}

// placeFlags are the flags of commands that read a directory's output without the rest of the configuration.
type placeFlags struct {
	file     string
	insecure bool
}

func (f *placeFlags) register(c *cobra.Command) {
	c.Flags().StringVarP(&f.file, "config", "c", "", "configuration file with the settings of s3 (default: the environment's credentials)")
	c.Flags().BoolVar(&f.insecure, "insecure-endpoint", false, "allow plain http to other machines, where others may read signatures and data")
}

// remote returns a function that opens output places in S3, and one that releases its resources.
func (f *placeFlags) remote(c *cobra.Command) (record.Remote, func(), error) {
	s := config.Default()
	if f.file != "" {
		var err error
		if s, err = config.ReadFile(f.file); err != nil {
			return nil, nil, err
		}
	}
	log := slog.New(slog.DiscardHandler)
	m := creds.NewManager(creds.Config{Insecure: f.insecure || s.InsecureEndpoint, Log: log})
	return remotes(c.Context(), m, s.S3), m.Close, nil
}
