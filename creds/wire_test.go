package creds

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cwharvest/creds/wire"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Link-local hosts of container credentials (ECS, EKS) and of instance metadata.
var (
	containerHosts = []string{"169.254.170.2", "169.254.170.23", "fd00:ec2::23"}
	instanceHosts  = []string{"169.254.169.254", "fd00:ec2::254"}
)

// TestContainerCredentials gets the credentials of an ECS and an EKS container over
// plain HTTP, and calls nothing else at their addresses.
func TestContainerCredentials(t *testing.T) {
	for variable, value := range map[string]string{
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
	} {
		t.Run(variable, func(t *testing.T) {
			asked, calls := 0, false
			client := clientFunc(func(r *http.Request) (*http.Response, error) {
				asked++
				switch own := slices.Contains(containerHosts, r.URL.Hostname()); {
				case own:
				case calls:
					return respond(r, 200, "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>"), nil
				default:
					t.Errorf("%s was called", r.URL)
				}
				return respond(r, 200, fmt.Sprintf(`{"AccessKeyId": "ASIA1", "SecretAccessKey": "s", "Token": "t", "Expiration": %q}`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))), nil
			})
			t.Setenv(variable, value)
			t.Setenv("AWS_CA_BUNDLE", "")
			c := Config{HTTPClient: client, EndpointURL: "http://169.254.170.2"}
			if _, err := configFor(t, c, ""); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
				t.Setenv(name, "")
			}
			m := NewManager(c)
			defer m.Close()
			cfg, err := m.Config(t.Context(), "us-east-1", Source{})
			if err != nil {
				t.Fatal(err)
			}
			if keys, err := cfg.Credentials.Retrieve(t.Context()); err != nil || keys.AccessKeyID != "ASIA1" || asked != 1 {
				t.Fatalf("%s after %d calls: %v", keys.AccessKeyID, asked, err)
			}
			for service, err := range callAll(t, cfg) {
				if !errors.As(err, new(*wire.PlainHTTPError)) {
					t.Errorf("%s: %v", service, err)
				}
			}
			// Within a call the SDK gets them with the context of that call.
			elsewhere := NewManager(Config{HTTPClient: client, EndpointURL: "https://aws.example.com"})
			defer elsewhere.Close()
			if cfg, err = elsewhere.Config(t.Context(), "us-east-1", Source{}); err != nil {
				t.Fatal(err)
			}
			asked, calls = 0, true
			if _, err := ec2.NewFromConfig(cfg).DescribeInstances(t.Context(), nil); err != nil || asked != 2 {
				t.Errorf("after %d calls: %v", asked, err)
			}
		})
	}
}

// TestInstanceRole gets the credentials of the instance's role over plain HTTP from
// the address at which EC2 serves them, and calls nothing else there.
func TestInstanceRole(t *testing.T) {
	client := clientFunc(func(r *http.Request) (*http.Response, error) {
		switch {
		case !slices.Contains(instanceHosts, r.URL.Hostname()):
			t.Errorf("%s was called", r.URL)
		case strings.HasSuffix(r.URL.Path, "/api/token"):
			response := respond(r, 200, "token")
			response.Header = http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {"300"}}
			return response, nil
		case strings.HasSuffix(r.URL.Path, "/security-credentials/"):
			return respond(r, 200, "reader"), nil
		}
		return respond(r, 200, fmt.Sprintf(`{"Code": "Success", "AccessKeyId": "ASIA1", "SecretAccessKey": "s", "Token": "t", "Expiration": %q}`,
			time.Now().Add(time.Hour).UTC().Format(time.RFC3339))), nil
	})
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "AWS_EC2_METADATA_DISABLED", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	m := NewManager(Config{HTTPClient: client, EndpointURL: "http://169.254.169.254"})
	defer m.Close()
	cfg, err := m.Config(t.Context(), "us-east-1", Source{})
	if err != nil {
		t.Fatal(err)
	}
	if keys, err := cfg.Credentials.Retrieve(t.Context()); err != nil || keys.AccessKeyID != "ASIA1" {
		t.Fatalf("%s: %v", keys.AccessKeyID, err)
	}
	for service, err := range callAll(t, cfg) {
		if !errors.As(err, new(*wire.PlainHTTPError)) {
			t.Errorf("%s: %v", service, err)
		}
	}
}

// TestContainerTokenStaysHere: neither a proxy nor another host sees the token of a
// container.
func TestContainerTokenStaysHere(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "")
	for _, host := range slices.Concat(containerHosts, instanceHosts) {
		r := &http.Request{URL: &url.URL{Scheme: "http", Host: net.JoinHostPort(host, "80")}}
		t.Setenv("HTTP_PROXY", "http://proxy.example.com")
		if proxy, err := wire.NewTransport().GetTransport().Proxy(r); proxy != nil || err != nil {
			t.Errorf("%s is called through %v: %v", host, proxy, err)
		}
	}
	var followed atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	defer other.Close()
	s := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer s.Close()
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", s.URL)
	if _, err := configFor(t, Config{}, ""); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "")
	}
	m := NewManager(Config{})
	defer m.Close()
	cfg, err := m.Config(t.Context(), "us-east-1", Source{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.Credentials.Retrieve(t.Context()); err == nil || followed.Load() > 0 {
		t.Errorf("%d redirects followed: %v", followed.Load(), err)
	}
}

// TestProcessOutputStaysSecret has a credential_process print a line before its
// keys. The SDK's error contains the whole output.
func TestProcessOutputStaysSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	text := fmt.Sprintf(`echo note; echo '{"Version": 1, "AccessKeyId": "AKIA1", "SecretAccessKey": %q, "SessionToken": %q}'`, secretCanary, tokenCanary)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	c := Config{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if _, err := configFor(t, c, "[profile p]\ncredential_process = sh "+path+"\n"); err != nil {
		t.Fatal(err)
	}
	m := NewManager(c)
	defer m.Close()
	_, err := m.Principal(t.Context(), Source{Profile: "p"})
	if err == nil || !strings.Contains(err.Error(), "credential_process did not print exactly one JSON object") {
		t.Errorf("%v", err)
	}
	for _, secret := range []string{secretCanary, tokenCanary} {
		if strings.Contains(fmt.Sprint(err)+log.String(), secret) {
			t.Errorf("a secret was printed: %v\n%s", err, &log)
		}
	}
}

// configFor returns a manager's configuration for a config file, with keys in the
// environment, and hides the files and the role of this machine.
func configFor(t *testing.T, c Config, configFile string) (aws.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(configFile), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIABASEBASEBASEBASE", "AWS_SECRET_ACCESS_KEY": secretCanary, "AWS_SESSION_TOKEN": tokenCanary, "AWS_PROFILE": "",
		"AWS_REGION": "us-east-1", "AWS_CONFIG_FILE": path, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	m := NewManager(c)
	t.Cleanup(m.Close)
	return m.Config(t.Context(), "us-east-1", Source{})
}

func callAll(t *testing.T, cfg aws.Config) map[string]error {
	_, stsErr := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
	_, ec2Err := ec2.NewFromConfig(cfg).DescribeInstances(t.Context(), nil)
	_, cwErr := cloudwatch.NewFromConfig(cfg).GetMetricData(t.Context(), &cloudwatch.GetMetricDataInput{StartTime: &time.Time{}, EndTime: &time.Time{}, MetricDataQueries: []types.MetricDataQuery{}})
	object, s3Err := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
	if s3Err == nil {
		_, err := io.CopyN(io.Discard, object.Body, (8<<20)+1)
		s3Err = errors.Join(err, object.Body.Close())
	}
	return map[string]error{"sts": stsErr, "ec2": ec2Err, "cloudwatch": cwErr, "s3": s3Err}
}

// TestPlainHTTPIsNotSent configures an endpoint on another machine in each way that
// the SDK supports.
func TestPlainHTTPIsNotSent(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "")
	var sent atomic.Int64
	client := clientFunc(func(r *http.Request) (*http.Response, error) { sent.Add(1); return respond(r, 500, ""), nil })
	for name, text := range map[string]string{
		"flag":     "",
		"profile":  "[default]\nendpoint_url = http://aws.example.com\n",
		"services": "[default]\nservices = s\n[services s]\nsts =\n  endpoint_url = http://a.example.com\nec2 =\n  endpoint_url = http://b.example.com\ncloudwatch =\n  endpoint_url = http://c.example.com\ns3 =\n  endpoint_url = http://d.example.com\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := Config{HTTPClient: client}
			if name == "flag" {
				c.EndpointURL = "http://aws.example.com"
			}
			cfg, err := configFor(t, c, text)
			if err != nil {
				t.Fatal(err)
			}
			for service, err := range callAll(t, cfg) {
				if !errors.As(err, new(*wire.PlainHTTPError)) {
					t.Errorf("%s: %v", service, err)
				}
			}
			if n := sent.Load(); n > 0 {
				t.Errorf("%d requests were sent", n)
			}
			c.Insecure = true
			if cfg, err = configFor(t, c, text); err != nil {
				t.Fatal(err)
			}
			if callAll(t, cfg); sent.Swap(0) != 4 {
				t.Error("allowed requests were not sent")
			}
		})
	}
}

// TestRoleOfProfileUsesNoPlainHTTP checks the guard of the SDK's own provider.
func TestRoleOfProfileUsesNoPlainHTTP(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "")
	client := clientFunc(func(r *http.Request) (*http.Response, error) {
		t.Errorf("sent to %s", r.URL)
		return respond(r, 500, ""), nil
	})
	t.Setenv("AWS_ENDPOINT_URL_STS", "http://aws.example.com")
	_, err := configFor(t, Config{}, "[profile p]\nrole_arn = arn:aws:iam::111122223333:role/r\nsource_profile = q\n"+
		"[profile q]\naws_access_key_id = AKIAQ\naws_secret_access_key = s\n")
	if err != nil {
		t.Fatal(err)
	}
	m := NewManager(Config{HTTPClient: client})
	defer m.Close()
	cfg, err := m.Config(t.Context(), "us-east-1", Source{Profile: "p"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = cfg.Credentials.Retrieve(t.Context())
	var e *Error
	if !errors.As(err, new(*wire.PlainHTTPError)) || !errors.As(err, &e) || !e.Refused() || e.NeedsPerson() {
		t.Errorf("%v", err)
	}
}

// TestRedirectsAreNotFollowed: a request signed for one host goes to no other.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "")
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := httptest.NewServer(http.RedirectHandler(other.URL, status))
		cfg, err := configFor(t, Config{EndpointURL: s.URL}, "")
		if err != nil {
			t.Fatal(err)
		}
		for service, err := range callAll(t, cfg) {
			if err == nil {
				t.Errorf("%s accepts %d as a response", service, status)
			}
		}
		s.Close()
	}
	if n := elsewhere.Load(); n > 0 {
		t.Errorf("%d requests followed", n)
	}
}

func TestTLS(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "")
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `<GetCallerIdentityResponse><GetCallerIdentityResult><Account>111122223333</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	ask := func(t *testing.T) error {
		cfg, err := configFor(t, Config{EndpointURL: s.URL}, "")
		if err != nil {
			t.Fatal(err)
		}
		_, err = sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
		return err
	}
	t.Run("unknown CA", func(t *testing.T) {
		var e *wire.CertificateError
		if err := ask(t); !errors.As(err, &e) || !strings.Contains(e.Hint(), "AWS_CA_BUNDLE") {
			t.Errorf("%v", err)
		}
	})
	t.Run("known CA", func(t *testing.T) {
		t.Setenv("AWS_CA_BUNDLE", writeCA(t, s))
		if err := ask(t); err != nil {
			t.Errorf("%v", err)
		}
	})
	t.Run("old version", func(t *testing.T) {
		old := httptest.NewUnstartedServer(http.NotFoundHandler())
		old.Config.ErrorLog = s.Config.ErrorLog
		old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
		old.StartTLS()
		defer old.Close()
		t.Setenv("AWS_CA_BUNDLE", writeCA(t, old))
		cfg, err := configFor(t, Config{EndpointURL: old.URL}, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err = sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "protocol version") {
			t.Errorf("%v", err)
		}
	})
	if c := wire.NewTransport().GetTransport().TLSClientConfig; c.InsecureSkipVerify || c.MinVersion < tls.VersionTLS12 {
		t.Errorf("%+v", c)
	}
}

// TestResponsesAreBounded calls a server that sends endless responses.
func TestResponsesAreBounded(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(bytes.Repeat([]byte(" "), 1<<20))
	z.Close()
	bomb := packed.Bytes()
	for name, write := range map[string]func(w http.ResponseWriter){
		"endless": func(w http.ResponseWriter) { endless(w) },
		"gzip": func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			for { // a gzip stream may have many members
				if _, err := w.Write(bomb); err != nil {
					return
				}
			}
		},
		"length": func(w http.ResponseWriter) { w.Header().Set("Content-Length", "1000000000000"); endless(w) },
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { write(w) }))
			defer s.Close()
			cfg, err := configFor(t, Config{EndpointURL: s.URL}, "")
			if err != nil {
				t.Fatal(err)
			}
			for service, err := range callAll(t, cfg) {
				// An object may be as long as its Content-Length, and is not decompressed.
				if service != "s3" && !errors.As(err, new(*wire.TooLongError)) || service == "s3" && name == "endless" && err == nil {
					t.Errorf("%s: %.300v", service, err)
				}
			}
		})
	}
	t.Run("header", func(t *testing.T) {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Long", strings.Repeat("x", 1<<20)) }))
		defer s.Close()
		cfg, err := configFor(t, Config{EndpointURL: s.URL}, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err = sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "headers exceeded") {
			t.Errorf("%v", err)
		}
	})
	t.Run("error", func(t *testing.T) {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503); endless(w) }))
		defer s.Close()
		cfg, err := configFor(t, Config{EndpointURL: s.URL}, "")
		if err != nil {
			t.Fatal(err)
		}
		for service, err := range callAll(t, cfg) {
			var r *awshttp.ResponseError
			if !errors.As(err, &r) || r.HTTPStatusCode() != 503 {
				t.Errorf("%s: %.300v", service, err)
			}
		}
	})
}

// endless writes until the reader is gone.
func endless(w io.Writer) {
	block := []byte(strings.Repeat("x", 1<<16))
	for {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

type clientFunc func(*http.Request) (*http.Response, error)

func (f clientFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }

func writeCA(t *testing.T, s *httptest.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
