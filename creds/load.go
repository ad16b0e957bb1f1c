package creds

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"

	"cwharvest/creds/origin"
	"cwharvest/creds/process"
	"cwharvest/creds/wire"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
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
	late := &lateEndpoint{}
	options := append(l.options(src), config.WithAPIOptions([]func(*middleware.Stack) error{wire.Guard(l.insecure), late.add}))
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if src.Profile == "" && isMissingProfile(err) && unsetProfile() {
		cfg, err = config.LoadDefaultConfig(ctx, options...)
	}
	if mistake := origin.CheckFiles(); mistake != nil {
		return cfg, settingError(src, mistake)
	}
	if err != nil {
		return cfg, loadError(src, err)
	}
	if src.InstanceRole {
		cfg.Credentials = aws.NewCredentialsCache(ec2rolecreds.New(func(o *ec2rolecreds.Options) {
			o.Client = imds.NewFromConfig(cfg)
		}))
	}
	late.set(&cfg)
	cfg.HTTPClient = l.shared(cfg.HTTPClient)
	cfg.APIOptions = append(cfg.APIOptions, addClock)
	l.ownProcess(&cfg)
	if mistake := origin.Check(originOf(src, cfg), cfg); mistake != nil {
		return cfg, settingError(src, mistake)
	}
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
	return stscreds.NewAssumeRoleProvider(partitionSTS{Client: sts.NewFromConfig(cfg)}, profile.RoleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName, o.CredentialSources = cmp.Or(profile.RoleSessionName, sessionName()), sources
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
		config.WithAssumeRoleCredentialOptions(func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = cmp.Or(o.RoleSessionName, sessionName())
			if client, ok := o.Client.(*sts.Client); ok {
				o.Client = partitionSTS{Client: client}
			}
		}),
		config.WithWebIdentityRoleCredentialOptions(func(o *stscreds.WebIdentityRoleOptions) {
			o.RoleSessionName = cmp.Or(o.RoleSessionName, sessionName())
			if client, ok := o.Client.(*sts.Client); ok {
				o.Client = partitionSTS{Client: client}
			}
		}),
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
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
	for _, name := range origin.Files() {
		if info, err := os.Stat(name); err == nil {
			state += fmt.Sprintf("%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
		}
	}
	return state
}

// lateEndpoint sends the calls of the SDK's own credential providers to the address that
// the environment, the profile or the flag sets for all services. The SDK makes the
// clients of these calls before it resolves that address (config.go,
// defaultAWSConfigResolvers), so a web identity token would go to the real STS.
type lateEndpoint struct {
	mu       sync.Mutex
	endpoint *url.URL // nil: none
	sources  []any    // of the configuration
}

// providerCalls are the calls of the SDK's providers and the ids of their services. The
// address of the machine or the container has variables of its own.
var providerCalls = map[string]string{
	"AssumeRole": sts.ServiceID, "AssumeRoleWithWebIdentity": sts.ServiceID,
	"GetRoleCredentials": "SSO", "CreateToken": "SSO OIDC", "CreateOAuth2Token": "Signin",
}

// set takes the address from the loaded configuration. An invalid one fails where the
// clients use it.
func (l *lateEndpoint) set(cfg *aws.Config) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sources = cfg.ConfigSources
	if at, err := url.Parse(aws.ToString(cfg.BaseEndpoint)); err == nil && at.Host != "" {
		l.endpoint = at
	}
}

// add adds the step after the SDK's resolution of the endpoint and before the signature.
func (l *lateEndpoint) add(stack *middleware.Stack) error {
	service, known := providerCalls[stack.ID()]
	if !known {
		return nil
	}
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("cwharvest.LateEndpoint", func(
		ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
	) (middleware.FinalizeOutput, middleware.Metadata, error) {
		if request, ok := in.Request.(*smithyhttp.Request); ok {
			if at := l.of(ctx, service); at != nil && request.URL.Host != at.Host {
				request.URL.Scheme, request.URL.Host = at.Scheme, at.Host
				request.URL.Path = smithyhttp.JoinPath(at.Path, request.URL.Path)
			}
		}
		return next.HandleFinalize(ctx, in)
	}), "ResolveEndpointV2", middleware.After)
}

// of returns the address for a service, or nil if the SDK has resolved it: a variable of
// the service comes before AWS_ENDPOINT_URL, which comes before the service's section of
// the profile (AWS SDKs and Tools Reference Guide, service-specific endpoints). The SDK
// resolves only the variable before it makes the clients of its providers.
func (l *lateEndpoint) of(ctx context.Context, service string) *url.URL {
	l.mu.Lock()
	defer l.mu.Unlock()
	variable := "AWS_ENDPOINT_URL_" + strings.ReplaceAll(strings.ToUpper(service), " ", "_")
	if os.Getenv(variable) != "" {
		return nil
	}
	if ignored, _, err := config.GetIgnoreConfiguredEndpoints(ctx, l.sources); ignored || err != nil {
		return l.endpoint
	}
	for _, source := range l.sources {
		shared, ok := source.(config.SharedConfig)
		if !ok || os.Getenv("AWS_ENDPOINT_URL") != "" {
			continue
		}
		text, found, err := shared.GetServiceBaseEndpoint(ctx, service)
		if at, invalid := url.Parse(text); found && err == nil && invalid == nil {
			return at
		}
	}
	return l.endpoint
}
