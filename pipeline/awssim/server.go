package awssim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Server is a simulated AWS. It serves all services on one address; the scope of
// the signature names the service. Its own control interface is below /_sim/.
type Server struct {
	cfg      Config
	sessions *sessions
	faults   faults
	web      webIdentities
	quotas   quotas
	stats    statistics
	repeats  repeats
	published
	inFlight atomic.Int64

	randomMu sync.Mutex
	random   *rand.Rand
}

// New returns a simulated AWS, which is an http.Handler.
func New(c Config) *Server {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.MaxSession == 0 {
		c.MaxSession = 12 * time.Hour
	}
	s := &Server{cfg: c, sessions: newSessions(c), random: rand.New(rand.NewPCG(c.Seed, 0))}
	s.quotas.set(c.RequestsPerSecond, c.DatapointsPerSecond)
	s.stats.init()
	s.repeats.on = c.TrackRepeats
	s.repeats.reset()
	return s
}

// Serve serves a simulated AWS on a listener until ctx ends, and closes the listener.
func Serve(ctx context.Context, c Config, listener net.Listener) error {
	server := &http.Server{Handler: New(c), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// call is a request and the state of its processing.
type call struct {
	*http.Request
	body      []byte
	service   string // sts, ec2, monitoring, organizations
	operation string
	region    string
	principal principal
	form      url.Values // of the Query protocols
	codec     codec
}

const maxBody = 4 << 20

// ServeHTTP serves one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_sim/") {
		s.admin(w, r)
		return
	}
	w.Header().Set("Date", s.cfg.Now().UTC().Format(http.TimeFormat))
	s.stats.enter(s.inFlight.Add(1))
	defer s.inFlight.Add(-1)
	c, fail := s.read(r)
	switch {
	case fail == nil:
		fail = s.serve(w, c)
	case fail == errMissingToken && c.operation == "AssumeRoleWithWebIdentity":
		fail = s.serveWebIdentity(w, c)
	}
	if fail != nil {
		s.stats.failed(c, fail)
		if fail.raw {
			failRaw(w, fail)
			return
		}
		c.codec.fail(w, fail)
	}
}

// read parses a request. It checks only that the request is signed.
func (s *Server) read(r *http.Request) (*call, *apiError) {
	c, signed := newCall(r)
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(body) > maxBody {
		return c, &apiError{status: http.StatusRequestEntityTooLarge, code: "RequestEntityTooLarge", message: "body too large"}
	}
	c.body = body
	c.operation = operationOf(c)
	if !signed {
		return c, errMissingToken
	}
	return c, nil
}

// newCall returns a call without its body, and whether it is signed.
func newCall(r *http.Request) (c *call, signed bool) {
	c = &call{Request: r}
	sig, signed := parseSignature(r.Header.Get("Authorization"))
	c.service, c.region = sig.service, sig.region
	c.codec = codecOf(c)
	return c, signed
}

// serve authenticates a request, applies faults, and calls the operation.
func (s *Server) serve(w http.ResponseWriter, c *call) *apiError {
	if fail := s.authenticate(c); fail != nil {
		return fail
	}
	s.stats.called(c)
	s.delay(c)
	f := s.faults.pick(c, s.chance)
	if fail := s.applyFaults(c, f); fail != nil {
		return fail
	}
	if c.principal.denied && c.operation != "GetCallerIdentity" { // which needs no permission
		return errExplicitlyDenied(c)
	}
	handle := operations[c.service+"."+c.operation]
	if handle == nil {
		return &apiError{status: 400, code: "InvalidAction", message: fmt.Sprintf("awssim has no operation %s.%s", c.service, c.operation)}
	}
	return handle(s, w, c, f)
}

// operations are the handlers, by service and operation.
var operations = map[string]func(*Server, http.ResponseWriter, *call, activeFaults) *apiError{
	"sts.AssumeRole":                 (*Server).assumeRole,
	"sts.GetCallerIdentity":          (*Server).callerIdentity,
	"ec2.DescribeInstances":          (*Server).describeInstances,
	"ec2.DescribeRegions":            (*Server).describeRegions,
	"monitoring.GetMetricData":       (*Server).getMetricData,
	"monitoring.GetMetricStatistics": (*Server).getMetricStatistics,
	"monitoring.ListMetrics":         (*Server).listMetrics,

	"organizations.ListAccounts":                     (*Server).listAccounts,
	"organizations.ListAccountsForParent":            (*Server).listAccountsForParent,
	"organizations.ListOrganizationalUnitsForParent": (*Server).listUnits,
}

// authenticate finds the principal whose key signed a request. It checks the
// signature and that the key has not expired.
func (s *Server) authenticate(c *call) *apiError {
	sig, _ := parseSignature(c.Header.Get("Authorization"))
	p, known := s.sessions.find(sig.key)
	if !known || p.key.Token != c.Header.Get("X-Amz-Security-Token") || s.cfg.isUnknownIn(p.account, c.region) {
		return errUnknownKey(c.service)
	}
	if sig.skewed(c.Request, s.cfg.Now()) {
		return &apiError{status: 403, code: "SignatureDoesNotMatch", message: "Signature expired: the request is not of now"}
	}
	if !sig.signed(c.Request, c.body, p.key.Secret) {
		return &apiError{status: 403, code: "SignatureDoesNotMatch",
			message: "The request signature we calculated does not match the signature you provided."}
	}
	c.principal = p
	if p.longLived && s.faults.keyExpired(p.key.ID) {
		s.stats.expired(true)
		return errExpired(c.service)
	}
	if p.revoked || !p.expires.IsZero() && !s.cfg.Now().Before(p.expires) {
		s.stats.expired(p.revoked)
		return errExpired(c.service)
	}
	return nil
}

func (s *Server) chance(p float64) bool {
	s.randomMu.Lock()
	defer s.randomMu.Unlock()
	return s.random.Float64() < p
}

func (s *Server) delay(c *call) {
	d := s.cfg.Latency
	if s.cfg.Jitter > 0 {
		s.randomMu.Lock()
		d += time.Duration(s.random.Int64N(int64(s.cfg.Jitter)))
		s.randomMu.Unlock()
	}
	wait(c, d)
}

// wait waits for d, or until the caller has disconnected.
func wait(c *call, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.Context().Done():
	}
}

// Inspected is the description of a request.
type Inspected struct {
	Service, Operation string
	Region             string     // of the signature; empty: not signed
	Key                string     // access key id
	Form               url.Values // of the Query protocols
}

// Inspect describes a request with that body. It verifies nothing.
func Inspect(r *http.Request, body []byte) Inspected {
	c, _ := newCall(r)
	c.body = body
	sig, _ := parseSignature(r.Header.Get("Authorization"))
	return Inspected{Operation: operationOf(c), Service: c.service, Region: c.region, Key: sig.key, Form: c.form}
}

// Fail answers a request with an error in the request's protocol.
func Fail(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	c, _ := newCall(r)
	c.codec.fail(w, &apiError{status: status, code: code, message: message})
}
