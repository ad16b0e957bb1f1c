package creds

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"cwharvest/creds/partition"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// principal is a profile, the default chain or the instance role. It is loaded
// once and shared by all sources that it signs for, so that a thousand targets on
// one principal make one attempt to get its keys. The SDK reads files and
// environment only once; a principal reads them again when the files have changed,
// and before each attempt after its keys failed.
type principal struct {
	source Source // without a role
	loader *loader
	log    *slog.Logger

	getKeys     *flight
	getIdentity *flight

	mu         sync.Mutex // guards the fields below; held while files are read, never across the network
	cfg        aws.Config
	files      string    // state of the files when they were read
	checked    time.Time // when the files were last compared with that state
	unloadable error     // of the last load; nil: it succeeded
	reads      int       // of files and environment, from which keys are to be retrieved
	retrieved  int       // that the keys were retrieved from
	last       aws.Credentials
	until      time.Time // the SDK is not asked for keys again before; zero: they do not expire
	failure    error     // of the last attempt to get keys
	mistake    error     // in the files as they are now; nil: cfg was read from them
	warned     news      // the failure that the log has
	changes    int       // of keys and files, which may help a role that was refused
	rejected   rejectedKey
	identity   principalIdentity
	worked     bool      // its keys have assumed a role
	renewed    time.Time // when other keys were last requested after a denial
	renewedKey string    // their key id
	gates      map[string]*gate
	home       string // region of STS if that of cfg is in another partition than the keys; may be empty
}

// principalIdentity is the response of STS about one key.
type principalIdentity struct {
	key, account, arn string
	offset            time.Duration // AWS's clock minus the local clock
}

const (
	checkFilesEvery = time.Second

	// Keys that a provider returns after their end are used for this long: the local
	// clock may be wrong, and the provider must not be called for each request.
	useExpired = 5 * time.Second
)

func newPrincipal(source Source, l *loader, b *background) *principal {
	return &principal{
		source: source, loader: l, log: l.log,
		getKeys: &flight{background: b}, getIdentity: &flight{background: b}, gates: map[string]*gate{},
	}
}

// Format prints the source and nothing else, whatever the verb.
func (p *principal) Format(f fmt.State, _ rune) { fmt.Fprint(f, p.source.String()) }

// open loads the principal unless it is loaded. A failure is repeated once a second
// at most, however many targets need the principal, unless the files change.
func (p *principal) open(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cfg.Credentials != nil {
		return nil
	}
	files := fileState()
	if p.unloadable == nil || files != p.files || time.Since(p.checked) >= checkFilesEvery {
		p.unloadable = p.read(ctx)
		p.files, p.checked = files, time.Now()
	}
	return p.unloadable
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

// placeIn sets the home of the principal. The first source that knows it decides.
func (p *principal) placeIn(home string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.home = cmp.Or(p.home, home)
}

// callerIdentity asks STS about keys of the principal, or of a session that it signed for.
func (p *principal) callerIdentity(ctx context.Context, keys aws.Credentials) (*sts.GetCallerIdentityOutput, error) {
	p.mu.Lock()
	cfg, home := p.cfg.Copy(), p.home
	p.mu.Unlock()
	return callerIdentity(ctx, withKeys(cfg, keys), home)
}

// config returns a copy of the configuration as it was last read.
func (p *principal) config() aws.Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg.Copy()
}

// reloadIfChanged reads the files again if they have changed.
func (p *principal) reloadIfChanged(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.checked) < checkFilesEvery {
		return
	}
	p.checked = time.Now()
	if fileState() != p.files && p.readAgain(ctx) {
		p.reads++
		p.changes++
		p.getKeys.reset()
	}
}

// readAgain keeps the present configuration if the files cannot be parsed, as
// while somebody writes them. The lock is held.
func (p *principal) readAgain(ctx context.Context) bool {
	if p.mistake = p.read(ctx); p.mistake != nil {
		p.log.Debug("cannot reload credentials", "source", p.source, "error", p.mistake)
		return false
	}
	return true
}

// waitForCorrection returns the error for keys that do not work while a mistake keeps
// the files from being read again: targets wait until a person corrects it. Without
// a mistake it returns err.
func (p *principal) waitForCorrection(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var e *Error
	if !errors.As(p.mistake, &e) {
		return err
	}
	return &Error{Source: p.source, Err: e.Err, class: person, remedy: remedy{do: e.Hint(), resumes: true}, shared: true}
}

// version returns a number that differs after a change that may help a role that
// was refused.
func (p *principal) version() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changes
}

// keys returns the principal's credentials, or an Error. Keys that are still valid
// are returned even if their replacement failed.
func (p *principal) keys(ctx context.Context) (aws.Credentials, error) {
	p.reloadIfChanged(ctx)
	if keys, _, current := p.state(); current {
		return keys, nil
	}
	err := p.getKeys.do(ctx, p.retrieveAnew)
	keys, valid, _ := p.state()
	switch {
	case valid:
		return keys, nil
	case err == nil: // AWS rejected the keys after the attempt
		return keys, p.waitForCorrection(p.rejection())
	}
	return keys, p.waitForCorrection(err)
}

// state returns the keys, whether they can be used, and whether the SDK need not be
// asked for others.
func (p *principal) state() (keys aws.Credentials, valid, current bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	valid = p.last.HasKeys() && !p.rejected.is(p.last) && (p.until.IsZero() || time.Now().Before(p.until))
	return p.last, valid, valid && p.retrieved == p.reads
}

// retrieveAnew is an attempt to get keys. After a failure it reads environment and
// files first, since the SDK does not.
func (p *principal) retrieveAnew(ctx context.Context) error {
	p.mu.Lock()
	if p.failure != nil && !isTimeout(p.failure) || p.rejected.is(p.last) {
		p.readAgain(ctx)
	}
	reads := p.reads
	p.mu.Unlock()
	keys, err := p.retrieve(ctx)
	if err != nil {
		absent := absentError(p.source, err, p.config())
		absent.shared, err = true, absent
	}
	if err = p.store(keys, err, reads); err != nil && ctx.Err() == nil {
		p.warn(err)
	}
	return err
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

// store keeps the result of an attempt. It returns the attempt's error, or one for
// keys that AWS has rejected.
func (p *principal) store(keys aws.Credentials, err error, reads int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure = err; err != nil {
		return err
	}
	p.retrieved = reads
	replaced := p.last.HasKeys() && !sameKeys(p.last, keys)
	renewed := p.last.CanExpire && !p.rejected.is(p.last) // by the clock, as the SDK does every hour
	p.last, p.until = keys, time.Time{}
	if keys.CanExpire {
		p.until = keys.Expires
		if late := time.Now().Add(useExpired); keys.Expires.Before(late) {
			p.until = late
		}
	}
	if p.rejected.is(keys) {
		return p.rejectionOf()
	}
	switch {
	case replaced && !renewed:
		p.log.Info("credentials reloaded", "source", p.source, "key", masked(keys.AccessKeyID))
	case p.warned.text != "":
		p.log.Info("credentials available again", "source", p.source, "key", masked(keys.AccessKeyID))
	}
	if replaced || p.warned.text != "" {
		p.changes++
	}
	p.warned = news{}
	return nil
}

// warn logs a failure, once until it changes or ends.
func (p *principal) warn(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	level := slog.LevelDebug
	if p.warned.add(err) {
		level = slog.LevelWarn
	}
	p.log.Log(context.Background(), level, "credentials unavailable", "source", p.source, "error", err)
}

// reject records that AWS rejected a key, and with which code. It reports whether
// the principal has other keys now.
func (p *principal) reject(ctx context.Context, key, code string) bool {
	p.mu.Lock()
	used := p.last
	if used.AccessKeyID == key {
		p.rejected.add(used, code)
	}
	p.mu.Unlock()
	keys, err := p.keys(ctx)
	return err == nil && (used.AccessKeyID != key || !sameKeys(keys, used))
}

// renew requests other keys than the ones with a key id, since a service denied a
// call that they may have made before: a policy can revoke all sessions from before
// a time. Long-term keys have no session. It reports whether there are others.
func (p *principal) renew(ctx context.Context, key string) bool {
	p.mu.Lock()
	used := p.last
	switch {
	case used.AccessKeyID != key:
		p.mu.Unlock()
		return used.HasKeys()
	case used.SessionToken == "" || p.renewedKey != key && time.Since(p.renewed) < renewEvery:
		p.mu.Unlock()
		return false
	case p.renewedKey != key || time.Since(p.renewed) >= renewEvery: // otherwise the request is in flight, or changed nothing
		p.renewed, p.renewedKey = time.Now(), key
		if p.readAgain(ctx) {
			p.reads++
			p.getKeys.reset()
		}
	}
	p.mu.Unlock()
	keys, err := p.keys(ctx)
	return err == nil && !sameKeys(keys, used)
}

// succeeded records that STS allowed a call with a key of the principal; empty: with
// another key.
func (p *principal) succeeded(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.worked = p.worked || key != ""
}

// renewWorking is renew for a principal whose keys have assumed a role before.
func (p *principal) renewWorking(ctx context.Context, key string) bool {
	p.mu.Lock()
	worked := p.worked
	p.mu.Unlock()
	return worked && p.renew(ctx, key)
}

// rejection returns the Error for the rejected key.
func (p *principal) rejection() *Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rejectionOf()
}

// rejectionOf returns the Error for the rejected key. The lock is held.
func (p *principal) rejectionOf() *Error {
	e := rejectionError(p.source, p.rejected.code, remedyFor(p.source, p.cfg))
	if id := p.foreign(p.rejected.code); id != "" {
		e.Err = fmt.Errorf("%w, or belongs to another partition than %s", e.Err, id)
	}
	e.shared = true
	return e
}

// foreign returns the partition in which STS did not know a key, or "" if a code says
// something else. It may be the wrong one: no key names its partition. The lock is held.
func (p *principal) foreign(code string) string {
	if code != "InvalidClientTokenId" {
		return ""
	}
	return partition.Of(cmp.Or(p.home, p.cfg.Region))
}

// explain returns the Error of a call of STS that a key of the principal signed. Most
// keys are of partition aws, so that elsewhere another partition is likelier than a
// key that was deleted.
func (p *principal) explain(e *Error) *Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id := p.foreign(code(e.Err)); id != "" && id != "aws" && e.NeedsPerson() {
		e.state = "the keys of " + p.source.String() + " are unknown in partition " + id + "; they may belong to another one"
	}
	return e
}

// remedy returns how a person brings the principal back.
func (p *principal) remedy() remedy { return remedyFor(p.source, p.config()) }

// gate returns the gate to STS in a region.
func (p *principal) gate(region string) *gate {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.gates[region]
	if g == nil {
		g = &gate{principal: p.source, log: p.log}
		p.gates[region] = g
	}
	return g
}
