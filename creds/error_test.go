package creds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"cwharvest/creds/wire"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// apiError returns the SDK's error for a response of STS.
func apiError(code, message string) error {
	return &smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRole", Err: &smithy.GenericAPIError{Code: code, Message: message}}
}

// sendError returns the SDK's error for a request without a response.
func sendError(cause error) error {
	return &smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRole", Err: &smithyhttp.RequestSendError{Err: cause}}
}

// Each refusal of STS has one class, and a hint that is not part of its fact.
func TestSTSErrors(t *testing.T) {
	fix := remedy{"run: aws sso login --profile p", true}
	for _, c := range []struct {
		err        error
		class      class
		fact, hint string
	}{
		{apiError("AccessDenied", "no."), refused, "role R: STS AssumeRole: AccessDenied: no", "check that the role exists"},
		{apiError("ExpiredToken", "m"), person, "role R: profile p has expired: STS AssumeRole: ExpiredToken: m", "run: aws sso login --profile p; the run continues by itself"},
		{apiError("SignatureDoesNotMatch", "The request signature we calculated does not match"), person, "the secret key of profile p is wrong", "run: aws sso login"},
		{apiError("RegionDisabledException", "m"), refused, "RegionDisabledException", "enable STS in the region"},
		{apiError("ValidationError", "m"), refused, "ValidationError", "check role_arn"},
		{apiError("Throttling", "a\nb"), outage, "role R: STS AssumeRole: Throttling: a b", ""},
		{apiError("InternalFailure", strings.Repeat("é", 400)), outage, strings.Repeat("é", maxText) + "…", ""},
		{sendError(&net.DNSError{IsNotFound: true, Name: "sts"}), outage, "role R: STS AssumeRole: lookup sts", "check the name of the region"},
		{sendError(&wire.CertificateError{Err: errors.New("unknown authority")}), outage, "unknown authority", "AWS_CA_BUNDLE"},
		{&wire.PlainHTTPError{URL: "http://a"}, refused, "role R: http://a: plain http", "use https"},
		{&accountError{want: "1", got: "account 2"}, refused, "the credentials belong to account 2, not to account 1", "correct the role"},
	} {
		e := stsError(Source{RoleARN: "R"}, c.err, Source{Profile: "p"}, fix)
		if e.class != c.class || !strings.Contains(e.Error(), c.fact) {
			t.Errorf("class %d, %q; want %d, %q", e.class, e.Error(), c.class, c.fact)
		}
		if !strings.Contains(e.Hint(), c.hint) || c.hint == "" && e.Hint() != "" {
			t.Errorf("hint %q, want %q", e.Hint(), c.hint)
		}
		if strings.Contains(e.Error(), e.Hint()) && e.Hint() != "" {
			t.Errorf("the fact contains the hint: %q", e.Error())
		}
	}
}

// A chain is as final as the least final of its sources, and offers the remedies
// of all of them.
func TestChainError(t *testing.T) {
	of := func(c class, do string) error {
		return &Error{Source: Source{RoleARN: do}, Err: errors.New("failed"), class: c, remedy: remedy{do: do, resumes: c == person}}
	}
	for _, c := range []struct {
		errs []error
		want class
		hint string
	}{
		{[]error{of(refused, "a"), of(refused, "b")}, refused, "a, or b"},
		{[]error{of(refused, "a"), of(person, "b")}, person, "a, or b; the run continues by itself"},
		{[]error{of(person, "a"), of(person, "a")}, person, "a; the run continues by itself"},
		{[]error{of(person, "a"), of(outage, "")}, outage, "a; the run continues by itself"},
		{[]error{of(outage, ""), of(refused, "b")}, outage, "b"},
		{[]error{context.DeadlineExceeded, of(refused, "b")}, outage, "b"},
		{[]error{signerError(Source{}, of(person, "a")), of(person, "b")}, person, "a, or b; the run continues by itself"},
		{[]error{signerError(Source{}, of(person, "a")), signerError(Source{}, of(refused, "b"))}, person, "a, or b; the run continues by itself"},
		{[]error{of(outage, ""), signerError(Source{}, of(person, "b"))}, outage, "b; the run continues by itself"},
	} {
		e := chainError(Source{}, c.errs)
		if e.class != c.want || e.Hint() != c.hint || strings.Count(e.Error(), "; fallback: ") != 1 {
			t.Errorf("class %d, %q, hint %q; want %d, hint %q", e.class, e.Error(), e.Hint(), c.want, c.hint)
		}
	}
	e := chainError(Source{}, []error{of(refused, "a"), of(refused, "b")})
	if got := fmt.Sprint(e.LogValue()); got != "role a: failed; fallback: role b: failed; a, or b" {
		t.Errorf("logged as %q", got)
	}
}
