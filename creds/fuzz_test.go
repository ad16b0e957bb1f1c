package creds

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// oneResponse is a service that gives every call the same response.
type oneResponse struct {
	status     int
	date, body string
	broken     error // after the body
}

func (a oneResponse) Do(r *http.Request) (*http.Response, error) {
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

// roleAt returns the role of testSource with the service as its STS, and the
// configuration that signs for it.
func roleAt(service aws.HTTPClient) (*role, aws.Config) {
	cfg := aws.Config{
		Region: "us-east-1", HTTPClient: service, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		Credentials: credentials.NewStaticCredentialsProvider("AKIABASEBASEBASEBASE", secretCanary, ""),
	}
	src := testSource.withDefaults()
	p := newPrincipal(src.principal(), &loader{log: slog.New(slog.DiscardHandler)}, newBackground(time.Minute))
	p.cfg = cfg
	return &role{src: src, principal: p, log: p.log}, cfg
}

// Every response of STS yields either a complete, valid session of the right
// account or an error of one line. A truncated response never yields another
// session than the whole one.
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
		service := oneResponse{status: int(status), date: date, body: body}
		whole := checkAssumed(t, service)
		checkIdentity(t, service)
		if service.broken = errors.New("connection reset"); int(cut) < len(body) {
			service.body = body[:cut]
		}
		if part := checkAssumed(t, service); part != nil && (whole == nil || part.keys.AccessKeyID != whole.keys.AccessKeyID ||
			part.keys.SecretAccessKey != whole.keys.SecretAccessKey || part.keys.SessionToken != whole.keys.SessionToken) {
			t.Errorf("of an incomplete response: %v, of the whole one: %v", part, whole)
		}
	})
}

func checkAssumed(t *testing.T, service oneResponse) *session {
	r, cfg := roleAt(service)
	before := time.Now()
	g, err := r.assumeAs(t.Context(), cfg)
	if err != nil {
		checkRefusal(t, r, err)
		return nil
	}
	s := newSession(g)
	switch keys, end := s.keys, s.sent.Add(s.life); {
	case keys.AccessKeyID == "" || keys.SecretAccessKey == "" || keys.SessionToken == "":
		t.Errorf("a session without all of its keys: %v", s)
	case s.life <= 0 || s.life > r.src.Duration:
		t.Errorf("a session with a life of %v", s.life)
	case s.refresh.Before(before) || s.refresh.After(end) || s.urgent.After(end):
		t.Errorf("life %v: refresh after %v, urgent after %v", s.life, s.refresh.Sub(s.sent), s.urgent.Sub(s.sent))
	case !strings.Contains(service.body, r.src.Account):
		t.Error("a session of another account")
	}
	return s
}

func checkIdentity(t *testing.T, service oneResponse) {
	r, cfg := roleAt(service)
	keys, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.principal.checkAccount(t.Context(), keys, r.src.Account); err != nil {
		checkRefusal(t, r, err)
	} else if !strings.Contains(service.body, r.src.Account) {
		t.Error("keys of another account")
	}
}

// checkRefusal checks the message, and that only an explicit refusal is final.
func checkRefusal(t *testing.T, r *role, err error) {
	e := stsError(r.src, err, r.principal.source, r.principal.remedy())
	if e.Refused() && e.NeedsPerson() {
		t.Errorf("both refused and in need of a person: %v", e)
	}
	if code(err) == "" && e.Refused() && !errors.As(err, new(*accountError)) {
		t.Errorf("refused for no reason: %v", e)
	}
	if wrong := new(accountError); errors.As(err, &wrong) && !bytes.ContainsAny([]byte(wrong.got), "0123456789") {
		t.Errorf("refused for an account that the response does not name: %v", e)
	}
	if text := e.Error() + e.Hint(); strings.Contains(text, "\n") || strings.Contains(text, secretCanary) {
		t.Errorf("not one line, or a secret: %q", text)
	}
}
