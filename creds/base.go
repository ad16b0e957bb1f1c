package creds

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
)

// base is a principal: a profile, the default chain or the instance's role,
// loaded once and shared by all sources on it. The SDK reads files and
// environment just once; a base reads them anew when the files have changed
// and when its key was refused.
type base struct {
	manager *Manager
	source  Source // only the principal

	mu      sync.Mutex // held while files are read, and never across the network
	loaded  aws.Config
	files   string          // what the files looked like when they were read
	looked  time.Time       // at the files
	dead    aws.Credentials // that were refused: a secret is mended without another access key
	reason  string          // with which it was
	died    time.Time
	deaths  int               // of that key
	account map[string]string // by access key
}

// deadFor is how long a refused key is not tried again, since it may have been
// a mistake: twice as long every time, to an hour.
const deadFor, deadMost = time.Minute, time.Hour

// lookEvery bounds how often the files are looked at.
const lookEvery = time.Second

func (m *Manager) base(ctx context.Context, principal Source) (*base, error) {
	m.mu.Lock()
	b := m.bases[principal]
	if b == nil {
		b = &base{manager: m, source: principal, account: map[string]string{}}
		m.bases[principal] = b
	}
	m.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.loaded.Credentials != nil {
		return b, nil
	}
	return b, b.read(ctx)
}

// read loads environment and files; it calls no service. The lock is held.
func (b *base) read(ctx context.Context) error {
	files := fileState()
	cfg, err := b.load(ctx)
	if err != nil {
		return err
	}
	b.loaded, b.files = cfg, files
	return nil
}

func (b *base) load(ctx context.Context) (aws.Config, error) {
	transport := b.manager.transport()
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(transport),
		config.WithEndpointCredentialOptions(func(o *endpointcreds.Options) { o.HTTPClient = unredirected(transport) }), // not given it otherwise
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
		config.WithAPIOptions([]func(*middleware.Stack) error{b.manager.addWire}),
		config.WithLogger(logging.LoggerFunc(b.manager.tell)),
	}
	if b.source.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(b.source.Profile))
	}
	if url := b.manager.cfg.EndpointURL; url != "" {
		options = append(options, config.WithBaseEndpoint(url))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if b.source.Profile == "" && dropProfileThatIsNot(err) {
		cfg, err = config.LoadDefaultConfig(ctx, options...)
	}
	if err != nil {
		return cfg, &Error{Source: b.source, Err: err, person: true, hint: loadHint(err)}
	}
	if b.source.InstanceRole {
		cfg.Credentials = aws.NewCredentialsCache(ec2rolecreds.New(func(o *ec2rolecreds.Options) {
			o.Client = imds.NewFromConfig(cfg)
		}))
	}
	cfg.HTTPClient = b.manager.client(cfg.HTTPClient)
	cfg.APIOptions = append(cfg.APIOptions, addClock)
	return cfg, nil
}

// tell logs what the SDK has to say. By itself it writes to standard error, in a
// form of its own: a line there that is no JSON, or not quiet.
func (m *Manager) tell(_ logging.Classification, format string, values ...any) {
	m.cfg.Log.Debug("AWS SDK: " + fmt.Sprintf(format, values...))
}

// dropProfileThatIsNot takes AWS_PROFILE out of this process's environment when
// no such profile exists and keys in the environment come first anyway: the SDK
// would refuse to load at all. It reports whether it did.
func dropProfileThatIsNot(err error) bool {
	var missing config.SharedConfigProfileNotExistError
	if !errors.As(err, &missing) || !(conflicts{env: os.Getenv}).keys() {
		return false
	}
	for _, name := range []string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE"} {
		if os.Unsetenv(name) != nil {
			return false
		}
	}
	return true
}

func loadHint(err error) string {
	var mfa config.AssumeRoleTokenProviderNotSetError
	if errors.As(err, &mfa) {
		return "it needs an MFA code, and nobody is there at night to type one: " +
			"use a role without MFA for this job, an SSO profile or the instance's role"
	}
	return "check AWS_PROFILE, AWS_CONFIG_FILE and the files they name"
}

// config returns a copy of what was read.
func (b *base) config() aws.Config {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.loaded.Copy()
}

// fileState tells one state of the shared files from another.
func fileState() (state string) {
	for _, name := range sharedFiles() {
		if info, err := os.Stat(name); err == nil {
			state += fmt.Sprintf("%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
		}
	}
	return state
}

func sharedFiles() []string {
	files := []string{os.Getenv("AWS_CONFIG_FILE"), os.Getenv("AWS_SHARED_CREDENTIALS_FILE")}
	for i, usual := range []func() string{config.DefaultSharedConfigFilename, config.DefaultSharedCredentialsFilename} {
		if files[i] == "" {
			files[i] = usual()
		}
	}
	return files
}

// changed reports that the files are not what was read, and reads them.
func (b *base) changed(ctx context.Context) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.looked) < lookEvery {
		return false
	}
	b.looked = time.Now()
	if fileState() == b.files {
		return false
	}
	return b.readAgain(ctx)
}

// readAgain keeps what it has when the files are broken, as they are while
// somebody writes them. The lock is held.
func (b *base) readAgain(ctx context.Context) bool {
	if err := b.read(ctx); err != nil {
		b.manager.cfg.Log.Debug("credentials could not be read anew", "source", b.source, "error", err)
		return false
	}
	b.manager.cfg.Log.Info("credentials were read anew", "source", b.source)
	return true
}

// keys returns the principal's credentials, or an Error.
func (b *base) keys(ctx context.Context) (aws.Credentials, error) {
	b.changed(ctx)
	keys, err := b.retrieve(ctx)
	if err != nil && !isTimeout(err) {
		b.refresh(ctx)
		keys, err = b.retrieve(ctx)
	}
	if errors.As(err, new(*ClearError)) {
		return keys, &Error{Source: b.source, Err: err, refused: true}
	}
	if err != nil {
		return keys, b.absent(err)
	}
	if b.isDead(keys) {
		return keys, &Error{Source: b.source, Err: errors.New(b.obituary()), person: true, hint: b.remedy()}
	}
	return keys, nil
}

// retrieve asks the SDK for the principal's credentials. Its error about a
// credential_process may hold all that was printed, the secrets included.
func (b *base) retrieve(ctx context.Context) (aws.Credentials, error) {
	keys, err := b.config().Credentials.Retrieve(ctx)
	if err != nil && strings.Contains(err.Error(), "parse failed of process output") {
		err = errors.New("the credential_process printed something else than one JSON object with credentials")
	}
	return keys, err
}

// absent is an Error about credentials that could not be had. The last thing that
// the SDK's chain asks is the instance, which says nothing of the others.
func (b *base) absent(err error) *Error {
	e := &Error{Source: b.source, Err: err, person: !isTimeout(err), hint: b.remedy()}
	if e.person && !b.source.InstanceRole && strings.Contains(err.Error(), "no EC2 IMDS role found") {
		e.Err = errors.New("no credentials: the environment and the profile have none, and this machine has no role")
		e.hint = "log in (aws sso login, aws configure), export AWS_PROFILE, or attach a role; the run goes on by itself"
	}
	return e
}

func (b *base) refresh(ctx context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.readAgain(ctx)
}

func (b *base) isDead(keys aws.Credentials) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return sameKeys(b.dead, keys) && time.Since(b.died) < min(deadFor<<min(b.deaths-1, 10), deadMost)
}

// obituary is why the key is not used any more.
func (b *base) obituary() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.reason {
	case "InvalidClientTokenId":
		return "AWS does not know the access key (InvalidClientTokenId): it is wrong, or over"
	case "SignatureDoesNotMatch":
		return "the secret key is not that of the access key (SignatureDoesNotMatch)"
	}
	return "the credentials have expired"
}

// refused notes that a key was refused, with which code, and reports whether
// reading the source anew gave another.
func (b *base) refused(ctx context.Context, key, reason string) bool {
	used, err := b.retrieve(ctx)
	if err == nil && used.AccessKeyID != key {
		return true
	}
	b.mu.Lock()
	if !sameKeys(b.dead, used) {
		b.deaths = 0
	}
	b.dead, b.died, b.reason = used, time.Now(), reason
	b.deaths++
	b.mu.Unlock()
	b.refresh(ctx)
	keys, err := b.retrieve(ctx)
	return err == nil && !sameKeys(keys, used)
}

func sameKeys(a, b aws.Credentials) bool {
	return a.AccessKeyID == b.AccessKeyID && a.SecretAccessKey == b.SecretAccessKey
}

// checkAccount refuses keys of another account: they would harvest emptiness.
// STS is asked once for each key.
func (b *base) checkAccount(ctx context.Context, keys aws.Credentials, want string) error {
	b.mu.Lock()
	is := b.account[keys.AccessKeyID]
	b.mu.Unlock()
	if is == "" {
		is = keys.AccountID
	}
	if is == "" {
		out, err := b.identify(ctx, keys)
		if err != nil {
			return err
		}
		is = aws.ToString(out.Account)
	}
	b.mu.Lock()
	b.account[keys.AccessKeyID] = is
	b.mu.Unlock()
	if is != want {
		return &wrongAccount{want: want, arn: "of account " + is}
	}
	return nil
}

// remedy is what a person must do to bring the principal back.
func (b *base) remedy() string {
	const goesOn = "; the run goes on by itself"
	profile := b.source.Profile
	if profile == "" {
		profile = cmpOr(os.Getenv("AWS_PROFILE"), os.Getenv("AWS_DEFAULT_PROFILE"), "default")
	}
	var sources []aws.CredentialSource
	if cache, ok := b.config().Credentials.(*aws.CredentialsCache); ok {
		sources = cache.ProviderSources()
	}
	is := func(any ...aws.CredentialSource) bool {
		return slices.ContainsFunc(any, func(s aws.CredentialSource) bool { return slices.Contains(sources, s) })
	}
	switch {
	case b.source.InstanceRole, is(aws.CredentialSourceIMDS):
		return "check the role attached to this instance" + goesOn
	case is(aws.CredentialSourceSSO, aws.CredentialSourceSSOLegacy, aws.CredentialSourceProfileSSO, aws.CredentialSourceProfileSSOLegacy):
		return "run: aws sso login --profile " + profile + goesOn
	case is(aws.CredentialSourceProcess, aws.CredentialSourceProfileProcess):
		return "check the credential_process of profile " + profile + goesOn
	case is(aws.CredentialSourceEnvVars):
		return "a running process cannot see new AWS_* variables: export fresh ones and start again, or put them into " + sharedFiles()[1]
	case is(aws.CredentialSourceProfile):
		return "put fresh keys into profile " + profile + " of " + sharedFiles()[1] + goesOn
	case is(aws.CredentialSourceHTTP):
		return "check the container's role" + goesOn
	}
	return "run: aws sso login --profile " + profile + ", or put keys into " + sharedFiles()[1] + goesOn
}

func cmpOr(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// Principal is who signs: where its credentials come from and until when they
// are good.
type Principal struct {
	Name    string // as in the configuration
	Source  string // where the SDK found the credentials
	Key     string // its access key id, masked
	Account string
	ARN     string
	Expires time.Time     // zero: no end is known
	Offset  time.Duration // of AWS's clock from ours
}

// Principal asks STS who signs for a source before any role is assumed. What is
// known comes back even with an error.
func (m *Manager) Principal(ctx context.Context, src Source) (Principal, error) {
	p := Principal{Name: src.principal().String()}
	b, err := m.base(ctx, src.principal())
	if err != nil {
		return p, err
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.RefreshTimeout)
	defer cancel()
	keys, err := b.keys(ctx)
	p.Source, p.Key = keys.Source, masked(keys.AccessKeyID)
	if keys.CanExpire {
		p.Expires = keys.Expires
	}
	if err != nil {
		return p, err
	}
	out, err := b.identify(ctx, keys)
	if err != nil {
		e := (&session{manager: m, src: b.source, base: b}).refusal(err)
		return p, e
	}
	p.Account, p.ARN = aws.ToString(out.Account), aws.ToString(out.Arn)
	if date, ok := awsmiddleware.GetServerTime(out.ResultMetadata); ok {
		p.Offset = time.Until(date).Round(time.Second)
	}
	return p, nil
}

// identify asks STS whose keys these are.
func (b *base) identify(ctx context.Context, keys aws.Credentials) (*sts.GetCallerIdentityOutput, error) {
	cfg := b.config()
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	cfg.Credentials = credentials.StaticCredentialsProvider{Value: keys}
	return callerIdentity(ctx, cfg)
}

// callerIdentity asks STS who signs. An answer without an account, such as what
// a proxy puts in its place with status 200, is none.
func callerIdentity(ctx context.Context, cfg aws.Config) (*sts.GetCallerIdentityOutput, error) {
	out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil)
	if err == nil && aws.ToString(out.Account) == "" {
		err = errors.New("GetCallerIdentity: the answer names no account")
	}
	return out, err
}
