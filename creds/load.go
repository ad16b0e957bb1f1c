package creds

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"

	"cwharvest/creds/process"
	"cwharvest/creds/wire"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
)

// loader has the SDK load the environment and the shared files for principals.
// All that it loads share one HTTP client, make one attempt for each call and
// have the guards of package wire.
type loader struct {
	endpoint  string // for every service; empty: the SDK resolves it
	insecure  bool
	transport aws.HTTPClient // nil: the network
	log       *slog.Logger
	processes *process.Group // of credential_process

	mu     sync.Mutex
	client aws.HTTPClient // of the process, once the first principal is loaded
}

// load returns the configuration of a principal, or an Error. It calls no service.
func (l *loader) load(ctx context.Context, src Source) (aws.Config, error) {
	options := l.options(src)
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if src.Profile == "" && isMissingProfile(err) && unsetProfile() {
		cfg, err = config.LoadDefaultConfig(ctx, options...)
	}
	if err != nil {
		return cfg, loadError(src, err)
	}
	if src.InstanceRole {
		cfg.Credentials = aws.NewCredentialsCache(ec2rolecreds.New(func(o *ec2rolecreds.Options) {
			o.Client = imds.NewFromConfig(cfg)
		}))
	}
	cfg.HTTPClient = l.shared(cfg.HTTPClient)
	cfg.APIOptions = append(cfg.APIOptions, addClock)
	l.ownProcess(&cfg)
	return cfg, nil
}

// ownProcess replaces the SDK's provider of a credential_process, whose children
// outlive the run.
func (l *loader) ownProcess(cfg *aws.Config) {
	cache, ok := cfg.Credentials.(*aws.CredentialsCache)
	if !ok || !slices.Contains(cache.ProviderSources(), aws.CredentialSourceProcess) {
		return
	}
	for _, source := range cfg.ConfigSources {
		if profile, ok := source.(config.SharedConfig); ok {
			cfg.Credentials = aws.NewCredentialsCache(l.onProcess(*cfg, &profile, cache.ProviderSources()))
		}
	}
}

// onProcess returns the provider of a profile: its credential_process or its source
// profile, and its role on top, as the SDK does (config, resolve_credentials.go).
func (l *loader) onProcess(cfg aws.Config, profile *config.SharedConfig, sources []aws.CredentialSource) (p aws.CredentialsProvider) {
	if profile.Source != nil {
		p = l.onProcess(cfg, profile.Source, sources)
	} else {
		p = l.processes.Provider(profile.CredentialProcess, sources)
	}
	if profile.RoleARN == "" {
		return p
	}
	cfg.Credentials = aws.NewCredentialsCache(p)
	return stscreds.NewAssumeRoleProvider(newSTS(cfg), profile.RoleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName, o.CredentialSources = profile.RoleSessionName, sources
		if profile.ExternalID != "" {
			o.ExternalID = &profile.ExternalID
		}
		if d := profile.RoleDurationSeconds; d != nil && *d >= stscreds.DefaultDuration {
			o.Duration = *d
		}
	})
}

func (l *loader) options(src Source) []func(*config.LoadOptions) error {
	transport := l.transport
	if transport == nil {
		transport = wire.NewTransport()
	}
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(transport),
		// The SDK gives the provider of container credentials no client of its own.
		config.WithEndpointCredentialOptions(func(o *endpointcreds.Options) { o.HTTPClient = wire.NoRedirects(transport) }),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
		config.WithAPIOptions([]func(*middleware.Stack) error{wire.Guard(l.insecure)}),
		config.WithLogger(logging.LoggerFunc(l.logSDK)),
	}
	if src.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(src.Profile))
	}
	if l.endpoint != "" {
		options = append(options, config.WithBaseEndpoint(l.endpoint))
	}
	return options
}

// logSDK logs a message of the SDK. The SDK's own logger would write to standard
// error in another format.
func (l *loader) logSDK(_ logging.Classification, format string, values ...any) {
	l.log.Debug("AWS SDK: " + fmt.Sprintf(format, values...))
}

// shared returns the one client of the process. It is made of the first client
// that the SDK loaded, which has the CA bundle of the environment.
func (l *loader) shared(loaded aws.HTTPClient) aws.HTTPClient {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client == nil {
		l.client = wire.NewClient(loaded)
	}
	return l.client
}

// addClock adds the outermost step of an operation. It repeats a call once if AWS
// refused the time of its signature: the SDK's client has by then learned AWS's
// clock from the response.
func addClock(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("cwharvest.Clock", func(
		ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
	) (middleware.InitializeOutput, middleware.Metadata, error) {
		out, metadata, err := next.HandleInitialize(ctx, in)
		if isBadSignature(err) && ctx.Err() == nil {
			return next.HandleInitialize(ctx, in)
		}
		return out, metadata, err
	}), middleware.Before)
}

// unsetProfile removes AWS_PROFILE from the environment of this process if the
// environment has keys as well: they take precedence, but the SDK refuses to
// load at all when the profile does not exist. It reports whether it did.
func unsetProfile() bool {
	if !(conflicts{env: os.Getenv}).keys() {
		return false
	}
	for _, name := range []string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE"} {
		if os.Unsetenv(name) != nil {
			return false
		}
	}
	return true
}

// fileState returns a text that differs whenever the shared files do.
func fileState() (state string) {
	for _, name := range sharedFiles() {
		if info, err := os.Stat(name); err == nil {
			state += fmt.Sprintf("%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
		}
	}
	return state
}

// sharedFiles returns the paths of the config and the credentials file.
func sharedFiles() []string {
	files := []string{os.Getenv("AWS_CONFIG_FILE"), os.Getenv("AWS_SHARED_CREDENTIALS_FILE")}
	for i, usual := range []func() string{config.DefaultSharedConfigFilename, config.DefaultSharedCredentialsFilename} {
		if files[i] == "" {
			files[i] = usual()
		}
	}
	return files
}
