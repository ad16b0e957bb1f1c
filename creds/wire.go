package creds

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// addWire adds two steps to every operation, those of the SDK's own credential
// providers among them: the last before the network refuses to sign for all to
// read, the first after it bounds the answer.
func (m *Manager) addWire(stack *middleware.Stack) error {
	container := stack.ID() == "GetCredentials" // of endpointcreds: it names no service, and has that of the call that needs keys
	return errors.Join(
		stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("cwharvest.Clear", m.refuseClear(container)), middleware.After),
		stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("cwharvest.Bound", bound), middleware.After),
	)
}

// ClearError is an address that would be called in the clear.
type ClearError struct{ URL string }

func (e *ClearError) Error() string {
	return e.URL + ": plain http is for loopback only; use https, or --insecure-endpoint if signatures and metrics may be read on the way"
}

// Refused reports that waiting does not help.
func (e *ClearError) Refused() bool { return true }

// NeedsPerson reports that no credentials do.
func (e *ClearError) NeedsPerson() bool { return false }

// Class names what is wrong, as failures do.
func (e *ClearError) Class() string { return "insecure_endpoint" }

// CheckEndpoint refuses an address that would be called in the clear, and one
// that is none.
func CheckEndpoint(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return fmt.Errorf("%w: write https://host or https://host:port", err)
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return fmt.Errorf("%q is no address of a service: write https://host or https://host:port", text)
	case inTheClear(u):
		return &ClearError{u.Scheme + "://" + u.Host}
	}
	return nil
}

// inTheClear reports whether others could read what is sent to an address. Only
// names and numbers that cannot mean another machine are this one: those that
// end or begin so are anybody's.
func inTheClear(u *url.URL) bool {
	if u.Scheme == "https" || u.Hostname() == "localhost" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err != nil || !ip.Unmap().IsLoopback() || ip.Zone() != ""
}

// Addresses that packets do not leave the machine for, since no proxy is asked:
// of an instance's metadata (EC2 user guide, access instance metadata), and of a
// container's credentials in ECS and in EKS (config/resolve_credentials.go of the
// SDK has the same).
var (
	metadata    = []string{"169.254.169.254", "fd00:ec2::254"}
	ofContainer = []string{"169.254.170.2", "169.254.170.23", "fd00:ec2::23"}
)

// finalize is a step of an operation's last stage.
type finalize = func(context.Context, middleware.FinalizeInput, middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error)

func (m *Manager) refuseClear(container bool) finalize {
	return func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
		out middleware.FinalizeOutput, result middleware.Metadata, err error,
	) {
		r, ok := in.Request.(*smithyhttp.Request)
		if ok && !m.cfg.Insecure && inTheClear(r.URL) && !local(r.URL.Hostname(), awsmiddleware.GetServiceID(ctx), container) {
			return out, result, &ClearError{r.URL.Scheme + "://" + r.URL.Host}
		}
		return next.HandleFinalize(ctx, in)
	}
}

// proxyOf is what the environment says, but for what is on this machine.
func proxyOf(r *http.Request) (*url.URL, error) {
	if host := r.URL.Hostname(); slices.Contains(metadata, host) || slices.Contains(ofContainer, host) {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}

// local reports whether the host is where the SDK asks for the credentials of
// this instance or container.
func local(host, service string, container bool) bool {
	return service == "ec2imds" && slices.Contains(metadata, host) || container && slices.Contains(ofContainer, host)
}

// How long answers may be, decompressed. The 100,800 datapoints of a page of
// GetMetricData take 2 MB in CBOR and 10 MB in XML with its indentation, 100
// bytes each. A page of 1,000 instances takes 10 MB, one with dozens of
// addresses each many times that, and 500 metrics with 30 dimensions 20 MB.
const (
	mostOfError = 1 << 20
	mostOfOther = 8 << 20
	mostOfData  = 16 << 20
	mostOfList  = 24 << 20
	mostOfPage  = 64 << 20
	mostOfTags  = 1 << 19 // of a page of instances: each has some 300, begun and ended ones; of more, smaller pages are asked
	emptyTag    = 8       // counts so many: it may stand for a whole instance
)

// An answer must not take for ever, though some of it comes all the time.
const (
	slowAfter = 5 * time.Minute
	slowest   = 1 << 10 // bytes a second
)

func bound(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	out middleware.DeserializeOutput, result middleware.Metadata, err error,
) {
	out, result, err = next.HandleDeserialize(ctx, in)
	if r, ok := out.RawResponse.(*smithyhttp.Response); ok && r != nil && r.Response != nil && r.Body != nil {
		r.Body = boundBody(r.Response, awsmiddleware.GetOperationName(ctx))
	}
	return out, result, err
}

// boundBody bounds a body by what the operation can have meant. Of an error the
// rest is passed over: its status tells enough. An object is as long as it says.
func boundBody(r *http.Response, operation string) io.ReadCloser {
	b := &boundedBody{body: r.Body, most: mostOfOther, began: time.Now()}
	switch {
	case r.StatusCode >= 300:
		b.most, b.isError = mostOfError, true
	case operation == "GetMetricData", operation == "GetMetricStatistics":
		b.most = mostOfData
	case operation == "ListMetrics":
		b.most = mostOfList
	case operation == "DescribeInstances":
		b.most, b.counted = mostOfPage, true
	case operation == "GetObject" && r.ContentLength >= 0:
		b.most = r.ContentLength
	}
	return b
}

type boundedBody struct {
	body    io.ReadCloser
	most    int64
	isError bool
	over    bool
	read    int64
	counted bool // its tags are
	tags    int
	began   time.Time
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.over || b.read > b.most {
		return 0, b.exceeded()
	}
	n, err := b.body.Read(p[:min(int64(len(p)), b.most-b.read+1)])
	b.read += int64(n)
	if b.read > b.most {
		return n - 1, b.exceeded()
	}
	if b.counted && !b.count(p[:n]) {
		b.over = true
		return 0, &TooLongError{}
	}
	if took := time.Since(b.began); err == nil && took > slowAfter && b.read < int64(took/time.Second)*slowest {
		err = fmt.Errorf("only %d bytes of an answer came in %v", b.read, took.Round(time.Second))
	}
	return n, err
}

// count adds up the tags of XML and reports whether there may be so many. The
// SDK makes a kilobyte of some.
func (b *boundedBody) count(text []byte) bool {
	b.tags += bytes.Count(text, []byte("<")) + (emptyTag-1)*bytes.Count(text, []byte("/>"))
	return b.tags <= mostOfTags
}

// exceeded is an error once: who drains the body afterwards is done.
func (b *boundedBody) exceeded() error {
	if b.isError || b.over {
		return io.EOF
	}
	b.over = true
	return &TooLongError{b.most}
}

func (b *boundedBody) Close() error { return b.body.Close() }

// TooLongError is an answer that is longer than what was asked can be.
type TooLongError struct{ Most int64 } // 0: not in bytes, but in elements

func (e *TooLongError) Error() string {
	if e.Most == 0 {
		return "the answer has more elements than are read of one"
	}
	return fmt.Sprintf("the answer is longer than the %d MiB that are read of one", e.Most>>20)
}

// TooLong reports that asking for less may help.
func (e *TooLongError) TooLong() bool { return true }

// onlyThere is a client that follows no redirects, as what the SDK makes does:
// what was signed for one host would go to another.
func onlyThere(client *http.Client) *http.Client {
	there := *client
	there.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &there
}

// unredirected is a client of the SDK that follows no redirects.
func unredirected(client aws.HTTPClient) aws.HTTPClient {
	if buildable, ok := client.(*awshttp.BuildableClient); ok {
		client = buildable.Freeze()
	}
	if plain, ok := client.(*http.Client); ok {
		client = onlyThere(plain)
	}
	return client
}

// explainTLS says what to do where somebody else answers, or an emulator.
func explainTLS(err error) error {
	if errors.As(err, new(*tls.CertificateVerificationError)) {
		return fmt.Errorf("%w; if a proxy or an emulator has a CA of its own, AWS_CA_BUNDLE names its file", err)
	}
	return err
}
