package creds

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	secretCanary = "CANARYSECRETCANARYSECRETCANARYSECRET0000"
	tokenCanary  = "CANARYTOKENCANARYTOKEN"
)

// fakeSTS is STS in memory. Its GetCallerIdentity also stands for the calls of
// services: refuse decides which of them are refused.
type fakeSTS struct {
	mu      sync.Mutex
	life    time.Duration
	assumed int
	account string
	calls   []url.Values                               // of AssumeRole, with the key that signed them
	denied  map[string]bool                            // role ARNs
	assume  func() error                               // before a session is granted; nil: granted
	refuse  func(key string) (status int, body string) // of other calls; nil: none is refused
}

type fault struct {
	status  int
	code    string
	message string
	hang    bool
}

func (f fault) Error() string { return f.code }

func (s *fakeSTS) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	key, _, _ := strings.Cut(scope, "/")
	if form.Get("Action") == "AssumeRole" {
		form.Set("key", key)
		return s.assumeRole(r, form)
	}
	if s.refuse != nil {
		if status, body := s.refuse(key); status != 0 {
			return respond(r, status, body), nil
		}
	}
	return respond(r, 200, `<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:sts::111122223333:assumed-role/r/s</Arn><Account>111122223333</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`), nil
}

func (s *fakeSTS) assumeRole(r *http.Request, form url.Values) (*http.Response, error) {
	s.mu.Lock()
	s.assumed++
	n, assume := s.assumed, s.assume
	s.calls = append(s.calls, form)
	refused := s.denied[form.Get("RoleArn")]
	s.mu.Unlock()
	if refused {
		return respond(r, 403, errorBody("AccessDenied", "not authorized to perform sts:AssumeRole")), nil
	}
	if assume != nil {
		var f fault
		if err := assume(); errors.As(err, &f) {
			if f.hang {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return respond(r, f.status, errorBody(f.code, f.message)), nil
		}
	}
	account := s.account
	if account == "" {
		account = strings.Split(form.Get("RoleArn"), ":")[4]
	}
	return respond(r, 200, fmt.Sprintf(`<AssumeRoleResponse><AssumeRoleResult><AssumedRoleUser><Arn>arn:aws:sts::%s:assumed-role/r/s</Arn><AssumedRoleId>A:s</AssumedRoleId></AssumedRoleUser><Credentials><AccessKeyId>ASIA%012d</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
		account, n, secretCanary, tokenCanary, time.Now().Add(s.life).UTC().Format(time.RFC3339Nano))), nil
}

func errorBody(code, message string) string {
	return fmt.Sprintf(`<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>`, code, message)
}

func respond(r *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Request: r, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
		Header: http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}, "Content-Type": {"text/xml"}},
	}
}

var testSource = Source{RoleARN: "arn:aws:iam::111122223333:role/r", ExternalID: "CANARYEXTERNAL", Account: "111122223333"}

// inBubble runs a test with a manager on a fake STS and with fake time, and then
// searches the log for secrets.
func inBubble(t *testing.T, s *fakeSTS, test func(t *testing.T, m *Manager)) {
	t.Helper()
	setEnvironment(t)
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		m := NewManager(Config{HTTPClient: s, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		defer m.Close()
		test(t, m)
	})
	if strings.Contains(log.String(), "CANARY") {
		t.Errorf("the log holds a secret:\n%s", log.String())
	}
}

// setEnvironment gives a test keys in the environment, and hides the files and the
// role of this machine.
func setEnvironment(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIABASEBASEBASEBASE", "AWS_SECRET_ACCESS_KEY": secretCanary,
		"AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "us-east-1", "AWS_CONFIG_FILE": os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CA_BUNDLE": "",
	} {
		t.Setenv(name, value)
	}
}

func credentialsOf(t *testing.T, m *Manager, src Source) aws.CredentialsProvider {
	t.Helper()
	cfg, err := m.Config(t.Context(), "us-east-1", src)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Credentials
}

func call(t *testing.T, m *Manager, src Source) error {
	t.Helper()
	_, err := m.Identity(t.Context(), src, "us-east-1")
	return err
}

// brokenBody fails at its end, where the SDK discards the rest of a response.
type brokenBody struct{ io.Reader }

func (b brokenBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (b brokenBody) Close() error { return nil }

// Messages of the SDK go to our log, not to standard error.
func TestSDKLogsThroughUs(t *testing.T) {
	setEnvironment(t)
	var log bytes.Buffer
	m := NewManager(Config{
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		HTTPClient: smithyhttp.ClientDoFunc(func(r *http.Request) (*http.Response, error) {
			a := respond(r, 200, "<GetCallerIdentityResponse><GetCallerIdentityResult></GetCallerIdentityResult></GetCallerIdentityResponse> ")
			a.Body = brokenBody{a.Body}
			return a, nil
		}),
	})
	defer m.Close()
	if _, err := m.Identity(t.Context(), Source{}, "us-east-1"); err == nil {
		t.Error("a response without an account was accepted")
	}
	if !strings.Contains(log.String(), "AWS SDK: failed to discard remaining HTTP response body") {
		t.Errorf("the message of the SDK is missing:\n%s", log.String())
	}
}

func TestRefreshedAheadWithoutWaiting(t *testing.T) {
	for _, life := range []time.Duration{2 * time.Second, 15 * time.Minute, time.Hour} {
		s := &fakeSTS{life: life}
		inBubble(t, s, func(t *testing.T, m *Manager) {
			p := credentialsOf(t, m, testSource)
			const lives = 20
			for range lives * 20 {
				keys, err := p.Retrieve(t.Context())
				if err != nil || time.Until(keys.Expires) <= 0 {
					t.Fatalf("life %v: %v, expires in %v", life, err, time.Until(keys.Expires))
				}
				time.Sleep(life / 20)
			}
			ahead := life / 3
			if life >= 30*time.Minute {
				ahead = 10 * time.Minute
			}
			stats := m.Stats()
			most := int64(lives*life/(life-ahead)) + 2
			if stats.Waits != 0 || stats.Assumed > most || stats.Assumed < lives {
				t.Errorf("life %v: %+v, at most %d sessions", life, stats, most)
			}
		})
	}
}

func TestRarelyUsedSessionIsRefreshedByTimer(t *testing.T) {
	s := &fakeSTS{life: time.Hour}
	inBubble(t, s, func(t *testing.T, m *Manager) {
		p := credentialsOf(t, m, testSource)
		for range 5 {
			if _, err := p.Retrieve(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(59*time.Minute + 30*time.Second)
		}
		if stats := m.Stats(); stats.Waits != 0 {
			t.Errorf("%+v", stats)
		}
	})
}

func TestHangingSTSBlocksNoCaller(t *testing.T) {
	s := &fakeSTS{life: time.Hour}
	inBubble(t, s, func(t *testing.T, m *Manager) {
		p := credentialsOf(t, m, testSource)
		if _, err := p.Retrieve(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		s.assume = func() error { return fault{hang: true} }
		s.mu.Unlock()
		time.Sleep(56 * time.Minute) // past the refresh, which hangs
		began := time.Now()
		if _, err := p.Retrieve(t.Context()); err != nil || time.Since(began) > 0 {
			t.Errorf("a caller waited %v for a valid session: %v", time.Since(began), err)
		}
		time.Sleep(5 * time.Minute) // past the expiry
		began = time.Now()
		_, err := p.Retrieve(t.Context())
		var e *Error
		if !errors.As(err, &e) || e.Refused() || time.Since(began) > m.cfg.RefreshTimeout {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		s.mu.Lock()
		s.assume = nil
		s.mu.Unlock()
		time.Sleep(maxBackoff)
		if _, err := p.Retrieve(t.Context()); err != nil {
			t.Errorf("after STS came back: %v", err)
		}
	})
}

// TestOneRefreshForAllRefusals proves that 500 calls refused at the same time for
// their session cause one AssumeRole, whichever code refuses it.
func TestOneRefreshForAllRefusals(t *testing.T) {
	for name, refusal := range map[string]fault{
		"ExpiredToken": {status: 403, code: "ExpiredToken"}, "ExpiredTokenException": {status: 400, code: "ExpiredTokenException"},
		"RequestExpired": {status: 400, code: "RequestExpired"}, "InvalidClientTokenId": {status: 403, code: "InvalidClientTokenId"},
		"untyped": {status: 403},
	} {
		t.Run(name, func(t *testing.T) {
			s := &fakeSTS{life: time.Hour}
			inBubble(t, s, func(t *testing.T, m *Manager) {
				if err := call(t, m, testSource); err != nil {
					t.Fatal(err)
				}
				time.Sleep(5 * time.Minute)
				body := ""
				if refusal.code != "" {
					body = errorBody(refusal.code, "m")
				}
				s.refuse = func(key string) (int, string) {
					if key == "ASIA000000000001" {
						return refusal.status, body
					}
					return 0, ""
				}
				var calls sync.WaitGroup
				for range 500 {
					calls.Go(func() {
						if err := call(t, m, testSource); err != nil {
							t.Errorf("call: %v", err)
						}
					})
				}
				calls.Wait()
				if s.assumed != 2 {
					t.Errorf("%d AssumeRole calls, want 2", s.assumed)
				}
			})
		})
	}
}

func TestRefusedAgainIsNoStorm(t *testing.T) {
	s := &fakeSTS{life: time.Hour}
	s.refuse = func(string) (int, string) { return 403, errorBody("ExpiredToken", "m") }
	inBubble(t, s, func(t *testing.T, m *Manager) {
		for range 50 {
			var e *Error
			if err := call(t, m, testSource); !errors.As(err, &e) || e.Refused() || e.NeedsPerson() {
				t.Fatalf("%v", err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if s.assumed > 2 {
			t.Errorf("%d AssumeRole calls", s.assumed)
		}
	})
}

func TestRefusedRoleIsRemembered(t *testing.T) {
	for name, s := range map[string]*fakeSTS{
		"denied":        {life: time.Hour, assume: func() error { return fault{status: 403, code: "AccessDenied", message: "no"} }},
		"wrong account": {life: time.Hour, account: "999999999999"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, s, func(t *testing.T, m *Manager) {
				for range 100 {
					_, err := credentialsOf(t, m, testSource).Retrieve(t.Context())
					var e *Error
					if !errors.As(err, &e) || !e.Refused() {
						t.Fatalf("%v", err)
					}
					for _, form := range []string{"%v", "%+v", "%#v"} {
						if text := fmt.Sprintf(form, err); strings.Contains(text, secretCanary) || strings.Contains(text, tokenCanary) {
							t.Fatalf("the error holds a secret: %s", text)
						}
					}
				}
				if s.assumed != 1 {
					t.Errorf("%d AssumeRole calls for 100 callers", s.assumed)
				}
			})
		})
	}
}

func TestDurationStepsDownOnce(t *testing.T) {
	s := &fakeSTS{life: time.Hour}
	s.assume = func() error {
		if s.assumed == 1 {
			return fault{status: 400, code: "ValidationError", message: "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."}
		}
		return nil
	}
	src := testSource
	src.Duration = 4 * time.Hour
	inBubble(t, s, func(t *testing.T, m *Manager) {
		p := credentialsOf(t, m, src)
		for range 100 {
			if _, err := p.Retrieve(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if s.assumed > 4 {
			t.Errorf("%d AssumeRole calls in 100 minutes", s.assumed)
		}
	})
}

// A rejected key is replaced by rewriting the credentials file.
func TestPrincipalIsReloaded(t *testing.T) {
	t.Run("another key", func(t *testing.T) {
		testReload(t, "AKIANEWNEWNEWNEWNEW0", fault{status: 403, code: "ExpiredToken", message: "The security token included in the request is expired"})
	})
	t.Run("another secret", func(t *testing.T) {
		testReload(t, "AKIAOLDOLDOLDOLDOLD0", fault{status: 403, code: "SignatureDoesNotMatch", message: "The request signature we calculated does not match the signature you provided."})
	})
}

func testReload(t *testing.T, fresh string, refusal fault) {
	path := filepath.Join(t.TempDir(), "credentials")
	write := func(key, secret string) {
		text := "[default]\naws_access_key_id = " + key + "\naws_secret_access_key = " + secret + "\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("AKIAOLDOLDOLDOLDOLD0", "wrong")
	rejected := true
	s := &fakeSTS{life: time.Hour}
	s.assume = func() error {
		if rejected {
			return refusal
		}
		return nil
	}
	inBubble(t, s, func(t *testing.T, m *Manager) {
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "")
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", path)
		p := credentialsOf(t, m, testSource)
		_, err := p.Retrieve(t.Context())
		var e *Error
		if !errors.As(err, &e) || !e.NeedsPerson() || !strings.Contains(e.Hint(), "put fresh keys into profile default of "+path) {
			t.Fatalf("%v", err)
		}
		write(fresh, secretCanary)
		rejected = false
		time.Sleep(checkFilesEvery)
		if _, err := p.Retrieve(t.Context()); err != nil {
			t.Fatalf("after the file was rewritten: %v", err)
		}
	})
}

// A region that is not enabled refuses a valid key. The session is kept, even if
// STS accepts the key but denies the call.
func TestDisabledRegionKeepsTheSession(t *testing.T) {
	s := &fakeSTS{life: time.Hour}
	inBubble(t, s, func(t *testing.T, m *Manager) {
		p := credentialsOf(t, m, testSource)
		keys, err := p.Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, refusal := range []func(string) (int, string){nil, func(string) (int, string) { return 403, errorBody("AccessDenied", "not authorized") }} {
			s.refuse = refusal
			if v, err := m.probes.check(t.Context(), p.(*chain), keys.AccessKeyID); v != keyValid || err != nil {
				t.Errorf("state of a key that STS accepts: %d, %v", v, err)
			}
			time.Sleep(2 * keepProbe)
		}
		if s.assumed != 1 {
			t.Errorf("%d AssumeRole calls", s.assumed)
		}
	})
}

// An ambiguous refusal during an outage of STS is an outage: it must not deny the
// target, and the next refusal asks STS again.
func TestRefusalWithoutSTSIsAnOutage(t *testing.T) {
	s := &fakeSTS{life: time.Hour}
	inBubble(t, s, func(t *testing.T, m *Manager) {
		if err := call(t, m, testSource); err != nil {
			t.Fatal(err)
		}
		asked := 0
		s.refuse = func(string) (int, string) {
			if asked++; asked == 1 {
				return 403, "" // of the service
			}
			return 503, ""
		}
		var e *Error
		if err := call(t, m, testSource); !errors.As(err, &e) || e.Refused() || e.NeedsPerson() || asked != 2 || !strings.Contains(err.Error(), "503") {
			t.Fatalf("after %d calls: %v", asked, err)
		}
		asked = 0
		s.refuse = func(string) (int, string) {
			if asked++; asked <= 2 {
				return 403, "" // of the service, then of STS
			}
			return 0, ""
		}
		if err := call(t, m, testSource); err != nil || s.assumed != 2 {
			t.Errorf("%v, %d AssumeRole calls", err, s.assumed)
		}
	})
}

// A signature that AWS refuses for its time is an outage, whichever clock is wrong:
// the target waits. A signature with another secret needs a person.
func TestRefusedForTheTimeIsAnOutage(t *testing.T) {
	s := &fakeSTS{life: time.Hour}
	inBubble(t, s, func(t *testing.T, m *Manager) {
		if err := call(t, m, testSource); err != nil {
			t.Fatal(err)
		}
		for message, outage := range map[string]bool{
			"Signature expired: 20261128T045721Z is now earlier than 20261128T051221Z":         true,
			"Signature not yet current: 20261128T055721Z is still later than 20261128T051221Z": true,
			"Credential should be scoped to a valid region, not 'us-east-1'.":                  false,
			"The request signature we calculated does not match the signature you provided.":   false,
		} {
			s.refuse = func(string) (int, string) { return 403, errorBody("SignatureDoesNotMatch", message) }
			var e *Error
			err := call(t, m, testSource)
			if !errors.As(err, &e) || e.Refused() || e.NeedsPerson() == outage {
				t.Errorf("%s: %v", message, err)
			}
		}
	})
}

func TestSessionTimes(t *testing.T) {
	born := time.Now()
	for _, c := range []struct{ life, ahead, last time.Duration }{
		{time.Hour, 10 * time.Minute, time.Minute}, {12 * time.Hour, 10 * time.Minute, time.Minute},
		{15 * time.Minute, 5 * time.Minute, 90 * time.Second}, {3 * time.Second, time.Second, 300 * time.Millisecond},
	} {
		l := newSession(grant{sent: born, life: c.life})
		early, late := born.Add(c.life-c.ahead), born.Add(c.life-c.ahead*3/4)
		if l.refresh.Before(early) || l.refresh.After(late) || !l.urgent.Equal(born.Add(c.life-c.last)) {
			t.Errorf("life %v: refresh after %v, urgent after %v", c.life, l.refresh.Sub(born), l.urgent.Sub(born))
		}
		if !l.valid(born.Add(c.life-1)) || l.valid(born.Add(c.life)) {
			t.Errorf("life %v: wrong validity", c.life)
		}
	}
}
