package wire

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

const (
	readTimeout  = 5 * time.Minute // without a byte; callers have their own deadlines, except those that read whole objects
	maxHeader    = 256 << 10
	maxIdle      = 512
	maxIdleAHost = 128 // many workers call one host
)

// NewTransport returns the SDK's own client, which honours AWS_CA_BUNDLE, with
// room for many workers on one host.
func NewTransport() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithReadTimeout(readTimeout).
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = 10 * time.Second }).
		WithTransportOptions(func(t *http.Transport) {
			t.Proxy = proxy
			t.MaxIdleConns, t.MaxIdleConnsPerHost = maxIdle, maxIdleAHost
			t.MaxResponseHeaderBytes = maxHeader
		})
}

// proxy returns the proxy that the environment names, and none for the
// credentials of this instance or container.
func proxy(r *http.Request) (*url.URL, error) {
	if host := r.URL.Hostname(); slices.Contains(instanceHosts, host) || slices.Contains(containerHosts, host) {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}

// NewClient wraps the client that the SDK made of a transport, for all AWS
// clients of a process. It follows no redirects.
func NewClient(loaded aws.HTTPClient) aws.HTTPClient { return client{NoRedirects(loaded)} }

// NoRedirects returns a client that follows no redirects: a request signed for
// one host would go to another.
func NoRedirects(c aws.HTTPClient) aws.HTTPClient {
	if buildable, ok := c.(*awshttp.BuildableClient); ok {
		c = buildable.Freeze()
	}
	if plain, ok := c.(*http.Client); ok {
		stays := *plain
		stays.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		c = &stays
	}
	return c
}

// client hides the WriterTo of the request body. Smithy's returns io.EOF once it
// is closed; net/http takes that for a failed write and cuts the response of a
// server that responded early (aws-sdk-go-v2#1825).
type client struct{ next aws.HTTPClient }

func (c client) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	response, err := c.next.Do(r)
	if errors.As(err, new(*tls.CertificateVerificationError)) {
		err = &CertificateError{err}
	}
	return response, err
}

// CertificateError reports that the certificate of a server does not verify, as
// with a proxy that inspects TLS or an emulator.
type CertificateError struct{ Err error }

func (e *CertificateError) Error() string { return e.Err.Error() }
func (e *CertificateError) Unwrap() error { return e.Err }

// Hint returns the way to trust another CA.
func (e *CertificateError) Hint() string {
	return "if a proxy or an emulator has its own CA, name its file in AWS_CA_BUNDLE"
}
