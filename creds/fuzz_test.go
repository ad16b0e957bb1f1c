package creds

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// oneAnswer is a service that answers every call alike.
type oneAnswer struct {
	status     int
	date, body string
	broken     error // after the body
}

func (a oneAnswer) Do(r *http.Request) (*http.Response, error) {
	body := io.Reader(strings.NewReader(a.body))
	if a.broken != nil {
		body = io.MultiReader(body, brokenReader{a.broken})
	}
	return &http.Response{
		StatusCode: a.status, Request: r, ContentLength: -1, Body: io.NopCloser(body),
		Header: http.Header{"Date": {a.date}, "Content-Type": {"text/xml"}},
	}, nil
}

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

// assumeWhere is a session of testSource whose STS is the service.
func assumeWhere(service aws.HTTPClient) (*session, aws.Config) {
	m := NewManager(Config{HTTPClient: service})
	cfg := aws.Config{
		Region: "us-east-1", HTTPClient: service, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		Credentials: credentials.NewStaticCredentialsProvider("AKIABASEBASEBASEBASE", secretCanary, ""),
	}
	src := testSource
	src.SessionName, src.Duration = "cwharvest", time.Hour
	return &session{manager: m, src: src, base: &base{manager: m, source: src.principal(), loaded: cfg, account: map[string]string{}}}, cfg
}

// Whatever STS answers: a session that is whole, of the right account and not
// over, or an error of one line that says what to do; and never a different
// session because the answer broke off.
func FuzzSTS(f *testing.F) {
	const whole = `<AssumeRoleResponse><AssumeRoleResult><AssumedRoleUser><Arn>arn:aws:sts::111122223333:assumed-role/r/s</Arn>` +
		`</AssumedRoleUser><Credentials><AccessKeyId>ASIA000000000001</AccessKeyId><SecretAccessKey>s</SecretAccessKey>` +
		`<SessionToken>t</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`
	const date = "Wed, 25 Nov 2026 12:00:00 GMT"
	f.Add(uint16(200), date, whole, uint16(0))
	f.Add(uint16(200), date, strings.Replace(whole, "111122223333", "999999999999", 1), uint16(0))
	f.Add(uint16(200), date, whole[:len(whole)/2], uint16(0))
	f.Add(uint16(200), date, whole, uint16(len(whole)/2))
	f.Add(uint16(200), date, `<GetCallerIdentityResponse><GetCallerIdentityResult><Account>111122223333</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`, uint16(0))
	for _, code := range []string{"AccessDenied", "ExpiredToken", "InvalidClientTokenId", "ValidationError", "SignatureDoesNotMatch", "Throttling", ""} {
		f.Add(uint16(403), date, errorBody(code, "m"), uint16(0))
	}
	f.Add(uint16(403), date, "", uint16(0))
	f.Add(uint16(503), date, "<html>", uint16(0))
	f.Fuzz(func(t *testing.T, status uint16, date, body string, cut uint16) {
		service := oneAnswer{status: int(status), date: date, body: body}
		l := checkAssumed(t, service)
		checkIdentity(t, service)
		if service.broken = errors.New("connection reset"); int(cut) < len(body) {
			service.body = body[:cut]
		}
		if part := checkAssumed(t, service); part != nil && (l == nil || part.keys.AccessKeyID != l.keys.AccessKeyID ||
			part.keys.SecretAccessKey != l.keys.SecretAccessKey || part.keys.SessionToken != l.keys.SessionToken) {
			t.Errorf("of an answer that broke off: %v, of the whole one: %v", part, l)
		}
	})
}

func checkAssumed(t *testing.T, service oneAnswer) *lease {
	s, cfg := assumeWhere(service)
	before := time.Now()
	l, err := s.assumeWith(t.Context(), cfg)
	if err != nil {
		checkRefusal(t, s, err)
		return nil
	}
	switch keys := l.keys; {
	case keys.AccessKeyID == "" || keys.SecretAccessKey == "" || keys.SessionToken == "":
		t.Errorf("a session without all of its keys: %v", l)
	case l.life <= 0 || l.life > s.src.Duration:
		t.Errorf("a session that lives %v", l.life)
	case l.refresh.Before(before) || l.refresh.After(l.born.Add(l.life)) || l.urgent.After(l.born.Add(l.life)):
		t.Errorf("life %v: refresh after %v, urgent after %v", l.life, l.refresh.Sub(l.born), l.urgent.Sub(l.born))
	case !strings.Contains(service.body, s.src.Account):
		t.Error("a session of another account")
	}
	return l
}

func checkIdentity(t *testing.T, service oneAnswer) {
	s, cfg := assumeWhere(service)
	keys, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.base.checkAccount(t.Context(), keys, s.src.Account); err != nil {
		checkRefusal(t, s, err)
	} else if !strings.Contains(service.body, s.src.Account) {
		t.Error("keys of another account")
	}
}

// checkRefusal checks what a person is told, and that only what says so is final.
func checkRefusal(t *testing.T, s *session, err error) {
	e := s.refusal(err)
	if e.Refused() && e.NeedsPerson() {
		t.Errorf("both refused and in need of a person: %v", e)
	}
	if code(err) == "" && e.Refused() && !errors.As(err, new(*wrongAccount)) {
		t.Errorf("refused for no reason: %v", e)
	}
	if wrong := new(wrongAccount); errors.As(err, &wrong) && !bytes.ContainsAny([]byte(wrong.arn), "0123456789") {
		t.Errorf("refused for an account that the answer does not name: %v", e)
	}
	if text := e.Error(); strings.Contains(text, "\n") || strings.Contains(text, secretCanary) {
		t.Errorf("not one line, or a secret: %q", text)
	}
}
