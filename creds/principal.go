package creds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// principal is a profile, the default chain or the instance role. It is loaded
// once and shared by all sources that it signs for. The SDK reads files and
// environment only once; a principal reads them again when the files have
// changed and when its key was rejected.
type principal struct {
	source Source // without a role
	loader *loader
	log    *slog.Logger

	mu       sync.Mutex // held while files are read, never across the network
	cfg      aws.Config
	files    string    // state of the files when they were read
	checked  time.Time // when the files were last compared with that state
	rejected rejectedKey
	accounts map[string]string // by access key id
}

// rejectedKey is a key that AWS rejected. The secret counts as well, since a
// wrong secret is corrected without another key id.
type rejectedKey struct {
	keys  aws.Credentials
	code  string // of the response
	at    time.Time
	times int
}

const (
	// A rejected key is not used for minRejected, since the rejection may have been
	// an error of AWS; each further rejection doubles that up to maxRejected.
	minRejected = time.Minute
	maxRejected = time.Hour

	checkFilesEvery = time.Second
)

func newPrincipal(source Source, l *loader) *principal {
	return &principal{source: source, loader: l, log: l.log, accounts: map[string]string{}}
}

// Format prints the source and nothing else, whatever the verb.
func (p *principal) Format(f fmt.State, _ rune) { fmt.Fprint(f, p.source.String()) }

// open loads the principal unless it is loaded.
func (p *principal) open(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cfg.Credentials != nil {
		return nil
	}
	return p.read(ctx)
}

// read loads environment and files. The lock is held.
func (p *principal) read(ctx context.Context) error {
	files := fileState()
	cfg, err := p.loader.load(ctx, p.source)
	if err != nil {
		return err
	}
	p.cfg, p.files = cfg, files
	return nil
}

// config returns a copy of the configuration as it was last read.
func (p *principal) config() aws.Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg.Copy()
}

// reloadIfChanged reads the files again if they have changed, and reports
// whether it did.
func (p *principal) reloadIfChanged(ctx context.Context) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.checked) < checkFilesEvery {
		return false
	}
	p.checked = time.Now()
	return fileState() != p.files && p.readAgain(ctx)
}

func (p *principal) reload(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.readAgain(ctx)
}

// readAgain keeps the present configuration if the files cannot be parsed, as
// while somebody writes them. The lock is held.
func (p *principal) readAgain(ctx context.Context) bool {
	if err := p.read(ctx); err != nil {
		p.log.Debug("cannot reload credentials", "source", p.source, "error", err)
		return false
	}
	p.log.Info("credentials reloaded", "source", p.source)
	return true
}

// keys returns the principal's credentials, or an Error.
func (p *principal) keys(ctx context.Context) (aws.Credentials, error) {
	p.reloadIfChanged(ctx)
	keys, err := p.retrieve(ctx)
	if err != nil && !isTimeout(err) {
		p.reload(ctx)
		keys, err = p.retrieve(ctx)
	}
	if err != nil {
		return keys, absentError(p.source, err, p.remedy())
	}
	if p.isRejected(keys) {
		return keys, p.rejection()
	}
	return keys, nil
}

// retrieve asks the SDK for the principal's credentials. It replaces the SDK's
// error about a credential_process, which can contain secrets.
func (p *principal) retrieve(ctx context.Context) (aws.Credentials, error) {
	keys, err := p.config().Credentials.Retrieve(ctx)
	if err != nil && isBadProcessOutput(err) {
		err = errors.New("the credential_process did not print exactly one JSON object with credentials")
	}
	return keys, err
}

// reject records that AWS rejected a key, and with which code. It reports whether
// the principal has another key now.
func (p *principal) reject(ctx context.Context, key, code string) bool {
	used, err := p.retrieve(ctx)
	if err == nil && used.AccessKeyID != key {
		return true
	}
	p.mu.Lock()
	times := 1
	if sameKeys(p.rejected.keys, used) {
		times += p.rejected.times
	}
	p.rejected = rejectedKey{keys: used, code: code, at: time.Now(), times: times}
	p.mu.Unlock()
	p.reload(ctx)
	keys, err := p.retrieve(ctx)
	return err == nil && !sameKeys(keys, used)
}

func (p *principal) isRejected(keys aws.Credentials) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.rejected
	return r.times > 0 && sameKeys(r.keys, keys) && time.Since(r.at) < min(minRejected<<min(r.times-1, 10), maxRejected)
}

// rejection returns the Error for the rejected key.
func (p *principal) rejection() *Error {
	p.mu.Lock()
	code := p.rejected.code
	p.mu.Unlock()
	return rejectionError(p.source, code, p.remedy())
}

// remedy returns how a person brings the principal back.
func (p *principal) remedy() remedy {
	var providers []aws.CredentialSource
	if cache, ok := p.config().Credentials.(*aws.CredentialsCache); ok {
		providers = cache.ProviderSources()
	}
	return remedyFor(p.source, providers)
}

// identify asks STS for the account and the ARN of keys.
func (p *principal) identify(ctx context.Context, keys aws.Credentials) (*sts.GetCallerIdentityOutput, error) {
	return callerIdentity(ctx, withKeys(p.config(), keys))
}

// checkAccount returns an accountError for keys of another account. It asks STS
// once for each key.
func (p *principal) checkAccount(ctx context.Context, keys aws.Credentials, want string) error {
	p.mu.Lock()
	got := p.accounts[keys.AccessKeyID]
	p.mu.Unlock()
	if got == "" {
		got = keys.AccountID
	}
	if got == "" {
		out, err := p.identify(ctx, keys)
		if err != nil {
			return err
		}
		got = aws.ToString(out.Account)
	}
	p.mu.Lock()
	p.accounts[keys.AccessKeyID] = got
	p.mu.Unlock()
	if got != want {
		return &accountError{want: want, got: "account " + got}
	}
	return nil
}
