package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"cwharvest/pipeline/flat"
	"cwharvest/store/record"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// ErrCredentials ends a run in which no target can continue until a person
// repairs credentials. Everything fetched is committed.
var ErrCredentials = errors.New("no target can go on: credentials need a person")

// ErrBudget ends a run that would exceed its cost or duration. Everything fetched
// is committed.
var ErrBudget = errors.New("stopped by a budget")

// errForbidden reports a result that CloudWatch refuses in a response with status
// 200.
var errForbidden = errors.New("GetMetricData: result is Forbidden")

// errNotAWS reports a response with status 200 without the list that AWS always
// sends, even if it is empty. Proxies send such responses.
var errNotAWS = errors.New("response has no list; it probably came from a proxy, not from AWS")

// errImpossible reports a response that AWS cannot mean; it would be the same again.
var errImpossible = errors.New("response has an impossible value")

// wrongError reports a result that was not asked for, in a response that is complete.
// Another call may get a better one, but it is no outage.
type wrongError struct{ error }

func wrong(format string, args ...any) error { return &wrongError{fmt.Errorf(format, args...)} }

func isWrong(err error) bool { return errors.As(err, new(*wrongError)) }

// unitsError reports a metric that is published with several units. CloudWatch returns
// a datapoint for each of them.
type unitsError struct{ units []string }

func (e *unitsError) Error() string {
	return "metric is published with several units: " + strings.Join(e.units, ", ")
}

// Hint returns the next step.
func (e *unitsError) Hint() string { return "choose one with unit in metrics" }

// Class returns the class of the failure.
func (e *unitsError) Class() string { return "several_units" }

// fromAWS reports whether a response has the id that AWS gives each request.
func fromAWS(m middleware.Metadata) bool {
	id, ok := awsmiddleware.GetRequestIDMetadata(m)
	return ok && id != ""
}

// class is the kind of a failed call. It decides the next step for the request and
// for its target.
type class int

const (
	transient class = iota // network, 5xx, an incomplete response: ask again
	throttled              // too fast: slow down, ask again
	expired                // the session expired and was not renewed in time: pause
	person                 // only a person can repair the credentials: pause
	invalid                // AWS cannot answer this request: bisect it
	refused                // AWS refuses the target: deny it
	cancelled              // the run no longer waited for it
	poison                 // the request fails while others succeed
)

func (c class) String() string {
	return [...]string{"outage", "throttled", "expired", "credentials", "invalid_request", "refused", "cancelled", "poison"}[c]
}

// credentialError is an error of a credential manager that has no usable session.
// The SDK wraps it in the error of the operation.
type credentialError interface {
	error
	Refused() bool     // a retry cannot succeed
	NeedsPerson() bool // a person must log in or replace keys
}

// newRoleError is the refusal of a role that may be new.
type newRoleError struct {
	credentialError
	until time.Time
}

func (e *newRoleError) Error() string {
	return fmt.Sprintf("%s (tried again until %s, in case the role is new)", e.credentialError, e.until.UTC().Format("15:04:05 UTC"))
}

func (e *newRoleError) Unwrap() error { return e.credentialError }

// asNewRole returns a refusal as an error to retry until a time, if it concerns a role
// that may be new.
func asNewRole(err error, until time.Time) (*newRoleError, bool) {
	var cred credentialError
	var may interface{ MayBeNew() bool }
	if !errors.As(err, &cred) || !errors.As(err, &may) || !may.MayBeNew() {
		return nil, false
	}
	return &newRoleError{cred, until}, true
}

// classByCode maps the error codes of CloudWatch, EC2, STS and Organizations to
// classes (common errors in the API reference of each).
var classByCode = map[string]class{
	"Throttling": throttled, "ThrottlingException": throttled, "ThrottledException": throttled,
	"RequestLimitExceeded": throttled, "LimitExceeded": throttled, "LimitExceededException": throttled,
	"LimitExceededFault":       throttled, // the SDK's name for LimitExceeded in the query protocol
	"TooManyRequestsException": throttled, "SlowDown": throttled, "RequestThrottled": throttled,

	"ExpiredToken": expired, "ExpiredTokenException": expired, "RequestExpired": expired,

	"AccountNotRegisteredException": refused, "AWSOrganizationsNotInUseException": refused, "ParentNotFoundException": refused,

	"AccessDenied": refused, "AccessDeniedException": refused, "UnauthorizedOperation": refused,
	"OptInRequired": refused, "AuthFailure": refused, "InvalidClientTokenId": refused,
	"UnrecognizedClientException": refused, "SignatureDoesNotMatch": refused, "Forbidden": refused,

	"InternalServiceError": transient, "InternalServiceFault": transient, "InternalError": transient,
	"InternalFailure": transient, "ServiceUnavailable": transient, "Unavailable": transient,
	"RequestTimeout": transient, "RequestTimeoutException": transient,
}

// isOfOperation reports whether AWS refused one operation and not the account or its
// keys: another operation of the target may succeed.
func isOfOperation(c class, err error) bool {
	var cred credentialError
	var api smithy.APIError
	switch {
	case errors.As(err, &cred):
		return false
	case c == refused && errors.As(err, &api):
		return !regionCodes[api.ErrorCode()] && api.ErrorCode() != "SignatureDoesNotMatch"
	}
	return c == invalid || c == refused || c == poison
}

// isForeign reports a response of a server that does not have the operation or the
// protocol of the call, as an emulator of AWS.
func isForeign(err error) bool {
	if errors.As(err, new(*flat.ForeignError)) {
		return true
	}
	var cred credentialError
	if errors.As(err, &cred) && (cred.Refused() || cred.NeedsPerson()) {
		return false // a provider of keys may answer 404 as well: its own class counts
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		if _, known := classByCode[api.ErrorCode()]; known {
			return false
		}
	}
	var response *smithyhttp.ResponseError
	return errors.As(err, &response) && response.Response != nil &&
		(response.HTTPStatusCode() == http.StatusNotFound || response.HTTPStatusCode() == http.StatusNotImplemented)
}

// foreignHint returns the protocol to try.
func foreignHint(err error) string {
	var foreign *flat.ForeignError
	switch errors.As(err, &foreign); {
	case foreign == nil:
		return "check the endpoint; an emulator of AWS may need --protocol json"
	case foreign.Got == "XML":
		return "use --protocol query, or --protocol json"
	case foreign.Got == "CBOR":
		return "use --protocol cbor"
	}
	return "use --protocol json"
}

// isValidation reports whether CloudWatch has judged a request and refused it, with a
// code. A gateway can refuse anything for a while, and a response that is too long
// refuses nothing.
func isValidation(err error) bool {
	var api smithy.APIError
	return classify(err) == invalid && errors.As(err, &api)
}

// regionCodes lists the codes with which a region refuses valid keys if the
// account has not enabled it. The credential manager passes them on only after
// STS has accepted the key.
var regionCodes = map[string]bool{
	"OptInRequired": true, "AuthFailure": true, "InvalidClientTokenId": true, "UnrecognizedClientException": true,
}

// classify returns the class of an error. It is the only place that looks into
// errors of AWS.
func classify(err error) class {
	var cred credentialError
	if errors.As(err, &cred) {
		switch {
		case cred.Refused():
			return refused
		case cred.NeedsPerson():
			return person
		default:
			return transient
		}
	}
	var long interface{ TooLong() bool }
	switch {
	case errors.Is(err, context.Canceled):
		return cancelled
	case errors.Is(err, errForbidden):
		return refused
	case errors.As(err, &long) && long.TooLong(), errors.Is(err, errImpossible), errors.As(err, new(*unitsError)):
		return invalid
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		if c, known := classByCode[api.ErrorCode()]; known {
			return c
		}
	}
	return classifyStatus(err)
}

// classifyStatus uses the HTTP status of a response without a known code, as
// proxies and load balancers send.
func classifyStatus(err error) class {
	var response *smithyhttp.ResponseError
	if !errors.As(err, &response) || response.Response == nil {
		return transient
	}
	switch status := response.HTTPStatusCode(); {
	case status == http.StatusTooManyRequests:
		return throttled
	case isPage(response.Response) && status != http.StatusNotFound: // AWS sends no HTML: a proxy refuses, for now
		return transient
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return refused
	case status >= 400 && status < 500:
		return invalid
	default:
		return transient
	}
}

// isPage reports whether a response is a page in HTML.
func isPage(r *smithyhttp.Response) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "text/html")
}

// failure returns the record of an error that ends a target or an instance. Its
// message is one line: the fact and, after a semicolon, the hint.
func failure(c class, err error) record.Failure {
	f := record.Failure{Class: c.String(), Message: describe(err), Hint: hint(err)}
	var cred credentialError
	var api smithy.APIError
	var named interface{ Class() string }
	switch {
	case errors.As(err, &named):
		f.Class = named.Class()
	case errors.As(err, &cred) && c == refused:
		f.Class = "credentials_refused"
	case c == refused && errors.As(err, &api) && regionCodes[api.ErrorCode()]:
		f.Class = "region_not_enabled"
		f.Hint = "enable the region for this account or leave it out"
		f.Message += "; " + f.Hint
	}
	return f
}

// Explain returns the class of an error and its description, as the denial of a
// target would record them.
func Explain(err error) record.Failure { return failure(classify(err), err) }

// IsRefused reports whether the same call would fail again.
func IsRefused(err error) bool { c := classify(err); return c == refused || c == invalid }

// describe returns the fact and the hint of an error in one line.
func describe(err error) string {
	text := fact(err)
	if h := hint(err); h != "" {
		text += "; " + h
	}
	return strings.ReplaceAll(text, "\n", " ")
}

// hint returns the next step after an error, "" if there is none.
func hint(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		return hinted.Hint()
	}
	switch {
	case isForeign(err):
		return foreignHint(err)
	case strings.Contains(err.Error(), http.StatusText(http.StatusProxyAuthRequired)): // net/http has only the text of an answer to CONNECT
		return "put the proxy's user and password into HTTPS_PROXY (http://user:password@host:port), and start again"
	case errors.Is(err, context.DeadlineExceeded) && errors.As(err, new(credentialError)):
		return "check the network and the proxy"
	case errors.Is(err, context.DeadlineExceeded):
		return "check the endpoint, the network and the proxy; an emulator of AWS may need --protocol json"
	}
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return "check the region's name, and this machine's DNS" // a region that does not exist has no address
	}
	return ""
}

// fact returns an error without the SDK's layers: "GetMetricData: code: message".
func fact(err error) string {
	var cred credentialError
	if errors.As(err, &cred) {
		return cred.Error()
	}
	var op *smithy.OperationError
	var api smithy.APIError
	var response *smithyhttp.ResponseError
	var send *smithyhttp.RequestSendError
	name := "call"
	if errors.As(err, &op) {
		name = op.Operation()
	}
	var foreign *flat.ForeignError
	switch {
	case errors.As(err, &foreign):
		return fmt.Sprintf("%s: %v", name, foreign)
	case errors.Is(err, context.DeadlineExceeded):
		return name + ": no response within the time of a call"
	case errors.As(err, &response) && response.Response != nil && isPage(response.Response):
		return fmt.Sprintf("%s: HTTP status %d with a page in HTML, probably from a proxy", name, response.HTTPStatusCode())
	case errors.As(err, &api) && api.ErrorCode() != "UnknownError": // the SDK's, for a response without a code
		return fmt.Sprintf("%s: %s: %s", name, cut(api.ErrorCode()), cut(api.ErrorMessage()))
	case errors.As(err, &response) && response.Response != nil && response.HTTPStatusCode() >= 400:
		return fmt.Sprintf("%s: HTTP status %d without an error code", name, response.HTTPStatusCode())
	case errors.As(err, &send):
		return fmt.Sprintf("%s: %v", name, send.Err)
	case op != nil:
		return fmt.Sprintf("%s: %v", name, op.Unwrap())
	default:
		return err.Error()
	}
}

// cut shortens text of a remote service.
func cut(text string) string {
	const most = 300 // characters
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return text
}

// hintedError is an error with the next step.
type hintedError struct {
	error
	hint string
}

func (e hintedError) Unwrap() error { return e.error }

// Hint returns the next step.
func (e hintedError) Hint() string { return e.hint }
