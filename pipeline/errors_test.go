package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

type fakeCredentialError struct{ refused, person bool }

func (fakeCredentialError) Error() string       { return "assume role r: no" }
func (e fakeCredentialError) Refused() bool     { return e.refused }
func (e fakeCredentialError) NeedsPerson() bool { return e.person }

func call(err error) error {
	return &smithy.OperationError{ServiceID: "CloudWatch", OperationName: "GetMetricData", Err: err}
}

func api(code string) error { return call(&smithy.GenericAPIError{Code: code, Message: "m"}) }

func status(code int, err error) error {
	return call(&smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: code}}, Err: err,
	})
}

// pageOf returns the error of a page in HTML, as proxies send.
func pageOf(code int) error {
	header := http.Header{"Content-Type": {"text/html; charset=utf-8"}}
	return call(&smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: code, Header: header}}, Err: errors.New("deserialization failed"),
	})
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		err  error
		want class
	}{
		{api("Throttling"), throttled},
		{api("ThrottlingException"), throttled},
		{api("RequestLimitExceeded"), throttled},
		{status(429, errors.New("html")), throttled},
		{api("ExpiredToken"), expired},
		{api("RequestExpired"), expired},
		{api("AccessDenied"), refused},
		{api("UnauthorizedOperation"), refused},
		{api("InvalidClientTokenId"), refused},
		{status(403, errors.New("deserialization failed")), refused},
		{api("InternalServiceError"), transient},
		{status(503, errors.New("html")), transient},
		{status(200, io.ErrUnexpectedEOF), transient},
		{call(io.ErrUnexpectedEOF), transient},
		{call(context.DeadlineExceeded), transient},
		{call(fmt.Errorf("x: %w", context.Canceled)), cancelled},
		{status(413, errors.New("html")), invalid},
		{pageOf(403), transient}, {pageOf(400), transient}, {pageOf(404), invalid}, {pageOf(429), throttled}, {pageOf(502), transient},
		{status(400, &smithy.GenericAPIError{Code: "ValidationError"}), invalid},
		{status(500, &smithy.GenericAPIError{Code: "SomethingNew"}), transient},
		{fmt.Errorf("%w: m", errForbidden), refused},
		{call(fakeCredentialError{refused: true}), refused},
		{call(fakeCredentialError{person: true}), person},
		{call(fakeCredentialError{}), transient},
	} {
		if got := classify(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
}

func TestFailureNamesTheRegion(t *testing.T) {
	if got := failure(refused, api("AuthFailure")); got.Class != "region_not_enabled" {
		t.Errorf("class %q, want region_not_enabled", got.Class)
	}
	if got := failure(refused, call(fakeCredentialError{refused: true})); got.Message != "assume role r: no" {
		t.Errorf("message %q: want the credential error alone", got.Message)
	}
}

// A document of another protocol is recognized whatever its status says, unless the
// status is one that gateways use. A page in HTML is no protocol.
func TestForeignResponses(t *testing.T) {
	const json, xml, html = `{"__type":"InternalFailure"}`, `<?xml version="1.0"?><ErrorResponse/>`, "<!DOCTYPE html><p>log in"
	for _, c := range []struct {
		protocol Protocol
		status   int
		body     string
		foreign  bool
	}{
		{CBOR, 200, json, true}, {CBOR, 200, xml, true}, {CBOR, 400, json, true}, {CBOR, 500, xml, true}, {CBOR, 404, "", true}, {CBOR, 501, html, true},
		{JSON, 200, xml, true}, {JSON, 500, "\xa1", true}, {Query, 200, json, true}, {Query, 405, json, true},
		{CBOR, 500, html, false}, {CBOR, 200, html, false}, {JSON, 400, json, false}, {Query, 500, xml, false}, {CBOR, 500, "", false},
		{CBOR, 503, xml, false}, {CBOR, 403, xml, false}, {CBOR, 429, json, false}, {CBOR, 502, html, false},
	} {
		service := &oneResponse{status: c.status, body: []byte(c.body)}
		_, err := NewCloudWatch(service.config(), c.protocol).ListMetrics(t.Context(), nil)
		if err == nil || isForeign(err) != c.foreign {
			t.Errorf("%s, %d %q: %v", c.protocol, c.status, c.body, err)
		}
	}
}
