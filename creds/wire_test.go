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
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

func TestInTheClear(t *testing.T) {
	for text, clear := range map[string]bool{
		"https://aws.example.com": false, "http://127.0.0.1:4566": false, "http://127.8.8.8": false, "http://localhost:4566": false,
		"http://[::1]:4566": false, "http://[::ffff:127.0.0.1]:4566": false,
		"http://aws.example.com": true, "http://localhost.evil.com": true, "http://127.0.0.1.nip.io": true, "http://127.0.0.1@evil.com": true,
		"http://2130706433": true, "http://0x7f000001": true, "http://0177.0.0.1": true, "http://127.1": true, "http://localhost.": true,
		"http://0.0.0.0": true, "http://[::]": true, "http://10.0.0.1": true, "http://169.254.169.254": true, "http://[::1%25eth0]": true,
		"HTTP://evil.com": true, "http://[::ffff:10.0.0.1]": true, "http://127.0.0.1%2eevil.com": true,
	} {
		err := CheckEndpoint(text)
		if got := errors.As(err, new(*ClearError)); got != clear {
			// What is no address at all is refused as well.
			if _, parse := url.Parse(text); parse == nil || got {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
	for _, text := range []string{"aws.example.com", "localhost:4566", "ftp://127.0.0.1", "http://", "https:", "http:///x", "file:///etc/passwd"} {
		if CheckEndpoint(text) == nil {
			t.Errorf("%q passes for an address", text)
		}
	}
}

// TestContainerCredentials asks where ECS and EKS keep a container's
// credentials, in the clear, and nothing else there.
func TestContainerCredentials(t *testing.T) {
	for variable, value := range map[string]string{
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
	} {
		t.Run(variable, func(t *testing.T) {
			asked, calls := 0, false
			client := clientFunc(func(r *http.Request) (*http.Response, error) {
				asked++
				switch own := slices.Contains(ofContainer, r.URL.Hostname()); {
				case own:
				case calls:
					return answer(r, 200, "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>"), nil
				default:
					t.Errorf("%s was called", r.URL)
				}
				return answer(r, 200, fmt.Sprintf(`{"AccessKeyId": "ASIA1", "SecretAccessKey": "s", "Token": "t", "Expiration": %q}`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))), nil
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
				if !errors.As(err, new(*ClearError)) {
					t.Errorf("%s: %v", service, err)
				}
			}
			// The SDK asks within calls, too, with what it knows of them.
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

// TestContainerIsAskedItself has no proxy see the container's token, and no other
// host.
func TestContainerIsAskedItself(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "")
	for _, host := range append(ofContainer, metadata...) {
		r := &http.Request{URL: &url.URL{Scheme: "http", Host: net.JoinHostPort(host, "80")}}
		t.Setenv("HTTP_PROXY", "http://proxy.example.com")
		if proxy, err := newTransport().GetTransport().Proxy(r); proxy != nil || err != nil {
			t.Errorf("%s is asked by %v: %v", host, proxy, err)
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

// TestTagsAreCounted: what is short in bytes may be long in structures.
func TestTagsAreCounted(t *testing.T) {
	for text, fits := range map[string]bool{
		strings.Repeat("<item/>", mostOfTags/8): true, strings.Repeat("<item/>", mostOfTags/8+100): false,
		strings.Repeat("<a>b</a>", mostOfTags/2): true, strings.Repeat("<a>b</a>", mostOfTags/2+1): false,
	} {
		body := boundBody(&http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(text))}, "DescribeInstances")
		n, err := io.Copy(io.Discard, body)
		var long *TooLongError
		if errors.As(err, &long) == fits || fits && n != int64(len(text)) {
			t.Errorf("%.10s..., %d bytes: %d read, %v", text, len(text), n, err)
		}
	}
}

// TestProcessThatSaysMore has a credential_process print a line before its keys:
// the SDK's error holds all of it.
func TestProcessThatSaysMore(t *testing.T) {
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
	if err == nil || !strings.Contains(err.Error(), "credential_process printed something else") {
		t.Errorf("%v", err)
	}
	for _, secret := range []string{secretCanary, tokenCanary} {
		if strings.Contains(fmt.Sprint(err)+log.String(), secret) {
			t.Errorf("it is told: %v\n%s", err, &log)
		}
	}
}

// configFor is a manager's configuration for a server, with nothing else of the
// machine's.
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
		_, err := io.CopyN(io.Discard, object.Body, mostOfOther+1)
		s3Err = errors.Join(err, object.Body.Close())
	}
	return map[string]error{"sts": stsErr, "ec2": ec2Err, "cloudwatch": cwErr, "s3": s3Err}
}

// TestNothingIsSentInTheClear names a machine that is not this one in each way
// that the SDK knows; a proxy stands for the way there.
func TestNothingIsSentInTheClear(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "")
	var sent atomic.Int64
	client := clientFunc(func(r *http.Request) (*http.Response, error) { sent.Add(1); return answer(r, 500, ""), nil })
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
				if !errors.As(err, new(*ClearError)) {
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
				t.Error("what is allowed is not sent")
			}
		})
	}
}

// TestRoleOfAProfileIsNotAskedInTheClear holds the SDK's own provider to it.
func TestRoleOfAProfileIsNotAskedInTheClear(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "")
	client := clientFunc(func(r *http.Request) (*http.Response, error) {
		t.Errorf("sent to %s", r.URL)
		return answer(r, 500, ""), nil
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
	if !errors.As(err, new(*ClearError)) || !errors.As(err, &e) || !e.Refused() || e.NeedsPerson() {
		t.Errorf("%v", err)
	}
}

// TestRedirectsAreNotFollowed: what was signed for one host goes to no other.
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
				t.Errorf("%s takes %d for an answer", service, status)
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
		if err := ask(t); err == nil || !strings.Contains(err.Error(), "AWS_CA_BUNDLE") {
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
	if c := newTransport().GetTransport().TLSClientConfig; c.InsecureSkipVerify || c.MinVersion < tls.VersionTLS12 {
		t.Errorf("%+v", c)
	}
}

// TestAnswersAreBounded has a server never end, in the ways there are.
func TestAnswersAreBounded(t *testing.T) {
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
			for { // members may follow one another
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
				// An object may be as long as it says, and is not decompressed.
				if service != "s3" && !errors.As(err, new(*TooLongError)) || service == "s3" && name == "endless" && err == nil {
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

// endless writes until nobody reads any more.
func endless(w io.Writer) {
	block := []byte(strings.Repeat("x", 1<<16))
	for {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

func TestSlowAnswersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := boundBody(&http.Response{StatusCode: 200, Body: drip{}}, "GetMetricData")
		began := time.Now()
		_, err := io.Copy(io.Discard, body)
		if took := time.Since(began); err == nil || took < slowAfter || took > 2*slowAfter {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// drip gives a byte every ten seconds.
type drip struct{}

func (drip) Read(p []byte) (int, error) { time.Sleep(10 * time.Second); return 1, nil }
func (drip) Close() error               { return nil }

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
