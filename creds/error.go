package creds

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Error is why no usable session of a source can be had. When it is neither
// Refused nor NeedsPerson it is an outage: try again later.
type Error struct {
	Source Source
	Err    error

	refused, person bool
	hint            string // what to do
	fallbacks       bool   // Err tells of every link itself
}

func (e *Error) Error() string {
	if e.fallbacks {
		return strings.ReplaceAll(e.Err.Error(), "\n", "; fallback: ")
	}
	text := fmt.Sprintf("%s: %s", e.Source, oneLine(e.Err))
	if e.hint != "" {
		text = strings.TrimSuffix(text, ".") + "; " + e.hint
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// Refused reports that the source will not work as things are.
func (e *Error) Refused() bool { return e.refused }

// NeedsPerson reports that somebody must log in or rotate keys.
func (e *Error) NeedsPerson() bool { return e.person }

// oneLine is an error of the SDK without its layers, and without the line breaks
// of what a service says.
func oneLine(err error) string {
	text := err.Error()
	var api smithy.APIError
	var op *smithy.OperationError
	if errors.As(err, &api) && errors.As(err, &op) {
		text = fmt.Sprintf("%s %s: %s: %s", op.Service(), op.Operation(), api.ErrorCode(), api.ErrorMessage())
	}
	var send *smithyhttp.RequestSendError
	if errors.As(err, &op) && errors.As(err, &send) {
		text = fmt.Sprintf("%s %s: %v", op.Service(), op.Operation(), send.Err)
		var dns *net.DNSError
		if errors.As(err, &dns) && dns.IsNotFound { // a region that there is not has no address
			text += "; check the region's name, and this machine's DNS"
		}
	}
	return strings.ReplaceAll(text, "\n", " ")
}

// said is an error of the SDK that prints without its layers.
type said struct{ error }

func (s said) Error() string { return oneLine(s.error) }
func (s said) Unwrap() error { return s.error }

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

func httpStatus(err error) int {
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil {
		return answer.HTTPStatusCode()
	}
	return 0
}

// over are the codes of a session whose time is over (CloudWatch and STS, EC2).
func over(err error) bool {
	switch code(err) {
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired":
		return true
	}
	return false
}

// doubtful are answers that a session whose time is over gets as well as a
// good one in a region that is not enabled.
func doubtful(err error) bool {
	switch code(err) {
	case "InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure":
		return true
	case "", "UnknownError": // the latter is the SDK's own name for an empty XML answer
		return httpStatus(err) == 403
	}
	return false
}

// skewed are the answers to a request whose signing time may be off.
func skewed(err error) bool {
	switch code(err) {
	case "SignatureDoesNotMatch", "RequestTimeTooSkewed", "InvalidSignatureException":
		return true
	}
	return false
}

// forged is the answer to a request whose signature is of another secret.
func forged(err error) bool {
	return skewed(err) && says(err, "signature we calculated does not match")
}

// mistimed is the answer to a request whose signature is of another time; that of
// another secret, region or service has the same code.
func mistimed(err error) bool {
	return code(err) == "RequestTimeTooSkewed" || skewed(err) && (says(err, "Signature expired") || says(err, "Signature not yet current"))
}

func says(err error, part string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && strings.Contains(api.ErrorMessage(), part)
}

// refusal puts a failed call of STS into an Error.
func (s *session) refusal(err error) *Error {
	e := &Error{Source: s.src, Err: err}
	switch c := code(err); {
	case errors.As(err, new(*ClearError)):
		e.refused = true
	case errors.As(err, new(*wrongAccount)):
		e.refused = true
		e.hint = "correct the role or the account id"
	case c == "AccessDenied":
		e.refused = true
		e.hint = "check that the role exists, trusts this caller, and that external_id is right"
	case over(err), doubtful(err):
		e.person = true
		e.hint = s.base.source.String() + " is over: " + s.base.remedy()
	case forged(err):
		e.person = true
		e.hint = "the secret key of " + s.base.source.String() + " is wrong: " + s.base.remedy()
	case c == "RegionDisabledException":
		e.refused = true
		e.hint = "enable STS in the region, or name another one"
	case c == "ValidationError", c == "MalformedPolicyDocument":
		e.refused = true
		e.hint = "check role_arn, external_id and session_duration"
	}
	return e
}
