package front

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"cwharvest/pipeline/awssim"
)

// Front serves the host names of AWS.
type Front struct {
	aws     *awssim.Server
	servers servers
	done    chan struct{} // closed by Close, so that hanging calls end

	mu       sync.Mutex
	requests []Request
	faults   []*Fault
	roles    map[string]Role // of imds and container
	logins   map[string]bool // SSO access tokens and refresh tokens that are valid
	secrets  map[string]bool
	hosts    map[string]http.Handler
	issued   int  // tokens so far
	podToken bool // the container's endpoint needs a token
}

// Role is a role whose sessions a service hands out.
type Role struct {
	Account, Name string
	Claims        string        // the account that the container's endpoint names; empty: Account
	Life          time.Duration // of a session; 0: an hour
}

// Start starts a front of a simulated AWS.
func Start(aws *awssim.Server) (*Front, error) {
	f := &Front{
		aws: aws, done: make(chan struct{}), roles: map[string]Role{}, logins: map[string]bool{},
		secrets: map[string]bool{}, hosts: map[string]http.Handler{},
	}
	return f, f.servers.start(f)
}

// Close ends all connections.
func (f *Front) Close() {
	close(f.done)
	f.servers.close()
}

// URL returns the address of the proxy, of the instance's metadata and of the
// container's credentials.
func (f *Front) URL() string { return f.servers.plain.URL }

// CA returns the certificate of the front's authority, as PEM.
func (f *Front) CA() []byte { return f.servers.ca.pem() }

// Serve lets a handler serve a host.
func (f *Front) Serve(host string, h http.Handler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hosts[host] = h
}

// Grant makes a service hand out sessions of a role: imds or container.
func (f *Front) Grant(service string, r Role) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.roles[service] = r
}

// Secrets returns everything secret that the front and its simulated AWS handed out
// or were given: secret keys, session tokens, access and refresh tokens of logins, web
// identity tokens, tokens of containers, external ids.
func (f *Front) Secrets() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append(f.aws.Secrets(), slices.Sorted(maps.Keys(f.secrets))...)
}

// secret remembers a secret. The lock is not held.
func (f *Front) secret(text string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if text != "" {
		f.secrets[text] = true
	}
	return text
}

const maxBody = 4 << 20

// serveProxy serves CONNECT, and the services of plain HTTP.
func (f *Front) serveProxy(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		f.ServeHTTP(w, r)
		return
	}
	host := strings.TrimSuffix(r.Host, ":443")
	seen := &Request{Host: host, Service: "proxy", Operation: "CONNECT"}
	fault := f.faultFor(seen)
	switch h := parseHost(host); {
	case fault != nil:
		f.record(*seen, fault.Status)
		f.apply(w, r, seen, fault)
	case h.unknown && f.handler(host) == nil:
		f.record(*seen, http.StatusBadGateway)
		http.Error(w, "cannot resolve "+host, http.StatusBadGateway)
	default:
		f.servers.connect(w)
	}
}

// ServeHTTP serves a request at the end of a tunnel, or one of plain HTTP.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		panic(http.ErrAbortHandler) // the caller has disconnected
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	seen := f.describe(r, body)
	answer := &recorder{ResponseWriter: w, status: http.StatusOK}
	defer func() { f.record(*seen, answer.status) }()
	if fault := f.faultFor(seen); fault != nil {
		f.apply(answer, r, seen, fault)
		return
	}
	f.route(answer, r, seen, body)
}

// route serves a request that no fault replaces.
func (f *Front) route(w *recorder, r *http.Request, seen *Request, body []byte) {
	if h := f.handler(r.Host); h != nil {
		h.ServeHTTP(w, r)
		return
	}
	switch seen.Service {
	case "imds":
		f.serveMetadata(w, r)
	case "container":
		f.serveContainer(w, r)
	case "portal.sso":
		f.servePortal(w, r, seen)
	case "oidc":
		f.serveOIDC(w, body)
	case "signin":
		f.serveSignin(w, body)
	default:
		if h := parseHost(r.Host); seen.Region != "" && !h.accepts(seen) {
			awssim.Fail(w, r, http.StatusForbidden, "SignatureDoesNotMatch", fmt.Sprintf("Credential should be scoped to a valid region, not '%s'.", seen.Region))
			return
		}
		f.aws.ServeHTTP(w, r)
	}
}

func (f *Front) handler(host string) http.Handler {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hosts[host]
}

// host is a parsed host name.
type host struct {
	service, region string // empty: not a regional host of AWS
	unknown         bool   // AWS has no such name
}

var (
	regionName = `(?:us|eu|ap|sa|ca|me|af|il|mx|cn|us-gov|us-iso|us-isob|us-isof|eu-isoe|eusc)-(?:[a-z]+-)?(?:north|south|east|west|central|northeast|northwest|southeast|southwest)-[0-9]+`
	suffixes   = map[string][]string{ // by partition (partitions.json of the AWS SDKs)
		"aws":        {"amazonaws.com", "api.aws", "vpce.amazonaws.com"},
		"aws-us-gov": {"amazonaws.com", "api.aws", "vpce.amazonaws.com"},
		"aws-cn":     {"amazonaws.com.cn", "api.amazonwebservices.com.cn", "vpce.amazonaws.com.cn"},
		"aws-eusc":   {"amazonaws.eu", "api.amazonwebservices.eu"},
		"aws-iso":    {"c2s.ic.gov", "api.aws.ic.gov"},
		"aws-iso-b":  {"sc2s.sgov.gov", "api.aws.scloud"},
		"aws-iso-e":  {"cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"},
		"aws-iso-f":  {"csp.hci.ic.gov", "api.aws.hci.ic.gov"},
	}
	hostName   = regexp.MustCompile(`^(?:[a-z0-9.-]+\.)??(portal\.sso|[a-z0-9]+)(?:-fips)?\.(` + regionName + `)\.([a-z0-9.-]+)$`)
	signinHost = regexp.MustCompile(`^(` + regionName + `)(?:\.oauth)?\.signin(?:-fips)?\.(?:aws|aws\.amazon\.com|amazonaws\.cn|amazonaws-us-gov\.com|amazonaws-eusc\.eu|c2shome\.ic\.gov|sc2shome\.sgov\.gov|csphome\.hci\.ic\.gov|csphome\.adc-e\.uk)$`)
	isAWS      = regexp.MustCompile(`(^|\.)(amazonaws\.com|amazonaws\.com\.cn|api\.aws|amazonaws\.eu|amazonwebservices\.com\.cn|amazonwebservices\.eu|ic\.gov|sgov\.gov|adc-e\.uk)$`)
	global     = []string{"sts.amazonaws.com", "organizations.amazonaws.com", "s3.amazonaws.com"}
)

// parseHost returns the service and the region of a host of AWS. A host of anybody
// else is a custom endpoint and accepts every service.
func parseHost(name string) host {
	if m := signinHost.FindStringSubmatch(name); m != nil { // rules of the SDK's service/signin
		return host{service: "signin", region: m[1]}
	}
	if !isAWS.MatchString(name) {
		return host{}
	}
	if slices.Contains(global, name) {
		service, _, _ := strings.Cut(name, ".")
		return host{service: service, region: "us-east-1"}
	}
	m := hostName.FindStringSubmatch(name)
	if m == nil || !slices.Contains(suffixes[awssim.PartitionOf(m[2])], m[3]) {
		return host{unknown: true}
	}
	return host{service: m[1], region: m[2]}
}

// accepts reports whether a host answers to a signature.
func (h host) accepts(seen *Request) bool {
	return h.service == "" || h.service == seen.Service && h.region == seen.Region
}

// loginPaths are the paths of the operations that hand out credentials, which are not
// signed. The AWS SDK sends them to a custom endpoint as well.
var loginPaths = map[string]string{"/federation/credentials": "portal.sso", "/token": "oidc", "/v1/token": "signin"}

// describe returns the record of a request.
func (f *Front) describe(r *http.Request, body []byte) *Request {
	seen := &Request{Host: r.Host, at: time.Now()}
	h := parseHost(r.Host)
	if h.service == "" {
		h.service = loginPaths[r.URL.Path] // an endpoint that the configuration names
	}
	switch {
	case strings.HasPrefix(r.Host, "127.0.0.1:") && strings.HasPrefix(r.URL.Path, ContainerPath):
		seen.Host, seen.Service, seen.Operation = "container", "container", "GetCredentials"
	case strings.HasPrefix(r.Host, "127.0.0.1:") && strings.HasPrefix(r.URL.Path, "/latest/"):
		seen.Host, seen.Service, seen.Operation = "imds", "imds", r.URL.Path
	case h.service == "portal.sso":
		seen.Service, seen.Operation = h.service, "GetRoleCredentials"
		seen.Role, seen.Account = r.URL.Query().Get("role_name"), r.URL.Query().Get("account_id")
	case h.service == "oidc":
		seen.Service, seen.Operation = h.service, "CreateToken"
	case h.service == "signin":
		seen.Service, seen.Operation = h.service, "CreateOAuth2Token"
	default:
		f.describeCall(seen, awssim.Inspect(r, body), h)
	}
	return seen
}

func (f *Front) describeCall(seen *Request, c awssim.Inspected, h host) {
	seen.Service, seen.Operation, seen.Region, seen.Key = c.Service, c.Operation, c.Region, c.Key
	if seen.Service == "" {
		seen.Service = h.service
	}
	form := func(name string) string {
		if c.Form == nil {
			return ""
		}
		return url.Values(c.Form).Get(name)
	}
	seen.Role, seen.Session = form("RoleArn"), form("RoleSessionName")
	seen.ExternalID = f.secret(form("ExternalId"))
	f.secret(form("WebIdentityToken"))
}
