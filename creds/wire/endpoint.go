package wire

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// PlainHTTPError reports an endpoint that would be called over plain HTTP
// although it is not on this machine.
type PlainHTTPError struct{ URL string }

func (e *PlainHTTPError) Error() string {
	return e.URL + ": plain http is allowed only to loopback addresses"
}

// Hint returns the alternatives.
func (e *PlainHTTPError) Hint() string {
	return "use https, or --insecure-endpoint if others may read signatures and metrics on the way"
}

// Refused reports that waiting does not help.
func (e *PlainHTTPError) Refused() bool { return true }

// NeedsPerson reports that other credentials do not help.
func (e *PlainHTTPError) NeedsPerson() bool { return false }

// Class returns the class under which a target that needs the endpoint fails.
func (e *PlainHTTPError) Class() string { return "insecure_endpoint" }

// EndpointError reports a text that is not the URL of a service.
type EndpointError struct {
	Text string
	Err  error // of the parser; nil: the URL lacks a scheme or a host
}

func (e *EndpointError) Error() string {
	text := fmt.Sprintf("%q is not the URL of a service", HidePassword(e.Text))
	var parse *url.Error // has the whole text
	if errors.As(e.Err, &parse) {
		text += ": " + HidePassword(parse.Err.Error())
	}
	return text
}

func (e *EndpointError) Unwrap() error { return e.Err }

// Hint returns the form of a URL.
func (e *EndpointError) Hint() string { return "write https://host or https://host:port" }

// CheckEndpoint returns an EndpointError for a text that is not the URL of a
// service, and a PlainHTTPError for one that would be called over plain HTTP.
func CheckEndpoint(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return &EndpointError{Text: text, Err: err}
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || !isPort(u.Port()):
		return &EndpointError{Text: text}
	case readable(u):
		return &PlainHTTPError{u.Scheme + "://" + u.Host}
	}
	return nil
}

var userinfo = regexp.MustCompile(`//.*@`)

// HidePassword removes the user and the password from a URL, which need not be valid.
func HidePassword(text string) string { return userinfo.ReplaceAllString(text, "//***@") }

// isPort reports a number that a port can have; empty: that of the scheme.
func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return text == "" || err == nil
}

// readable reports whether others on the network could read a request to the
// URL. Only "localhost" and literal loopback addresses are this machine: names
// and numbers that merely look like them can belong to anybody.
func readable(u *url.URL) bool {
	if u.Scheme == "https" || u.Hostname() == "localhost" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err != nil || !ip.Unmap().IsLoopback() || ip.Zone() != ""
}

// Link-local addresses at which the SDK asks for credentials. Requests to them
// do not leave the machine: instance metadata (EC2 user guide, access instance
// metadata) and container credentials in ECS and EKS (the SDK's
// config/resolve_credentials.go has the same list).
var (
	instanceHosts  = []string{"169.254.169.254", "fd00:ec2::254"}
	containerHosts = []string{"169.254.170.2", "169.254.170.23", "fd00:ec2::23"}
)

// refusePlainHTTP is the last step before the network. It fails with a
// PlainHTTPError instead of sending a request that others could read.
type refusePlainHTTP struct {
	local []string // hosts at which this operation asks for the credentials of this instance or container
}

func (refusePlainHTTP) ID() string { return "cwharvest.RefusePlainHTTP" }

func (s refusePlainHTTP) HandleFinalize(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
	out middleware.FinalizeOutput, metadata middleware.Metadata, err error,
) {
	r, ok := in.Request.(*smithyhttp.Request)
	if ok && readable(r.URL) && !slices.Contains(s.local, r.URL.Hostname()) {
		return out, metadata, &PlainHTTPError{r.URL.Scheme + "://" + r.URL.Host}
	}
	return next.HandleFinalize(ctx, in)
}
