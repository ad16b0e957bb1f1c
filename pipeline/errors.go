package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"cwharvest/store/record"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// class says what a failed call means for its request and its target.
type class int

const (
	transient class = iota // network, 5xx, a broken answer: ask again
	throttled              // too fast: slow down, ask again
	expired                // the session is over and could not be renewed in time: pause
	person                 // credentials need a person: pause until they are mended
	unfit                  // this request cannot be answered as it is: bisect it
	refused                // this target will not answer at all: deny it
	cancelled              // we gave up waiting for it ourselves
)

func (c class) String() string {
	return [...]string{"outage", "throttled", "expired", "credentials", "invalid_request", "refused", "cancelled"}[c]
}

// credentialError is what a credential manager says of a session that cannot
// be had. It arrives wrapped in the SDK's operation error.
type credentialError interface {
	error
	Refused() bool     // it will not work as things are
	NeedsPerson() bool // somebody must log in or rotate keys
}

// classByCode holds the codes that the services of this pipeline answer with
// (AWS general reference, common errors of CloudWatch, EC2 and STS).
var classByCode = map[string]class{
	"Throttling": throttled, "ThrottlingException": throttled, "ThrottledException": throttled,
	"RequestLimitExceeded": throttled, "LimitExceeded": throttled, "LimitExceededException": throttled,
	"LimitExceededFault":       throttled, // of query, whose code LimitExceeded the SDK reads as the type's
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

// regionCodes are the codes with which a region that the account has not
// enabled refuses keys that are good elsewhere. The credential manager lets
// them through only when STS accepts the key.
var regionCodes = map[string]bool{
	"OptInRequired": true, "AuthFailure": true, "InvalidClientTokenId": true, "UnrecognizedClientException": true,
}

// classify decides once what an error means; everything after goes by class.
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
	case errors.As(err, &long) && long.TooLong():
		return unfit
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		if c, known := classByCode[api.ErrorCode()]; known {
			return c
		}
	}
	return classifyStatus(err)
}

// classifyStatus goes by the HTTP status of an answer whose code is missing
// or unknown: proxies and front ends answer in no protocol of AWS.
func classifyStatus(err error) class {
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &answer) || answer.Response == nil {
		return transient
	}
	switch status := answer.HTTPStatusCode(); {
	case status == http.StatusTooManyRequests:
		return throttled
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return refused
	case status >= 400 && status < 500:
		return unfit
	default:
		return transient
	}
}

// failure puts an error that ends a target or an instance into words.
func failure(c class, err error) record.Failure {
	f := record.Failure{Class: c.String(), Message: shortError(err)}
	var cred credentialError
	var api smithy.APIError
	var named interface{ Class() string }
	switch {
	case errors.As(err, &named):
		f.Class = named.Class()
	case errors.As(err, &cred) && c != transient:
		f.Class = "credentials_refused"
	case c == refused && errors.As(err, &api) && regionCodes[api.ErrorCode()]:
		f.Class = "region_not_enabled"
		f.Message += "; enable the region for this account or leave it out"
	}
	return f
}

// Explain says in words what an error of a call means for its target, as a
// denial would: its class, and one line.
func Explain(err error) record.Failure { return failure(classify(err), err) }

// IsRefused reports whether a call that failed would fail again.
func IsRefused(err error) bool { c := classify(err); return c == refused || c == unfit }

// noSuchHost says what else than an outage it may be: a region that there is not
// has no address.
func noSuchHost(err error) string {
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return "; check the region's name, and this machine's DNS"
	}
	return ""
}

// shortError is an error without the SDK's layers, in one line: "GetMetricData:
// code: message", followed by the hint if the error has one.
func shortError(err error) string {
	text := withoutLayers(err)
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		text += "; " + hinted.Hint()
	}
	return strings.ReplaceAll(text, "\n", " ")
}

func withoutLayers(err error) string {
	var cred credentialError
	if errors.As(err, &cred) {
		return cred.Error()
	}
	var op *smithy.OperationError
	var api smithy.APIError
	var answer *smithyhttp.ResponseError
	var send *smithyhttp.RequestSendError
	name := "call"
	if errors.As(err, &op) {
		name = op.Operation()
	}
	switch {
	case errors.As(err, &api):
		return fmt.Sprintf("%s: %s: %s", name, api.ErrorCode(), api.ErrorMessage())
	case errors.As(err, &answer) && answer.Response != nil && answer.HTTPStatusCode() >= 400:
		return fmt.Sprintf("%s: HTTP status %d without an error code", name, answer.HTTPStatusCode())
	case errors.As(err, &send):
		return fmt.Sprintf("%s: %v%s", name, send.Err, noSuchHost(err))
	case op != nil:
		return fmt.Sprintf("%s: %v", name, op.Unwrap())
	default:
		return err.Error()
	}
}
