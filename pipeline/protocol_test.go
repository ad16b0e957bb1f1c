package pipeline

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"cwharvest/store"

	"github.com/aws/smithy-go/encoding/cbor"
)

var protocols = []Protocol{CBOR, JSON, Query}

// An error has the same class in each protocol, under its name there, and so have
// errors of proxies.
func TestErrorsMeanTheSame(t *testing.T) {
	for _, e := range []struct {
		status            int
		queryCode, ofType string
		want              class
	}{
		{400, "Throttling", "ThrottlingException", throttled},
		{400, "LimitExceeded", "LimitExceededFault", throttled},
		{403, "ExpiredToken", "ExpiredTokenException", expired},
		{400, "RequestExpired", "RequestExpired", expired},
		{403, "AccessDenied", "AccessDeniedException", refused},
		{403, "InvalidClientTokenId", "UnrecognizedClientException", refused},
		{403, "SignatureDoesNotMatch", "InvalidSignatureException", refused},
		{500, "InternalServiceError", "InternalServiceFault", transient},
		{503, "ServiceUnavailable", "ServiceUnavailableException", transient},
		{400, "InvalidNextToken", "InvalidNextToken", invalid},
		{400, "InvalidParameterValue", "InvalidParameterValueException", invalid},
		{400, "ValidationError", "ValidationException", invalid},
	} {
		for _, p := range protocols {
			for _, withHeader := range []bool{true, false} {
				service := &oneResponse{status: e.status, body: errorBody(p, e.queryCode, e.ofType)}
				if withHeader && p != Query {
					service.code = e.queryCode
				}
				for _, statistics := range []bool{false, true} {
					if a := fetchAll(t, service, p, statistics, false); classify(a.err) != e.want {
						t.Errorf("%s %d %s, header %v: %v, want %v (%v)", p, e.status, e.queryCode, withHeader, classify(a.err), e.want, a.err)
					}
				}
			}
		}
	}
	for _, body := range []string{"", "<html><body>no</body></html>", "<Error/>", "no"} {
		for status, want := range map[int]class{403: refused, 401: refused, 429: throttled, 503: transient, 502: transient, 413: invalid, 200: transient} {
			for _, p := range protocols {
				for _, statistics := range []bool{false, true} {
					a := fetchAll(t, &oneResponse{status: status, body: []byte(body)}, p, statistics, false)
					if a.err == nil || classify(a.err) != want {
						t.Errorf("%s %d %q: %v, want %v (%v)", p, status, body, classify(a.err), want, a.err)
					}
				}
			}
		}
	}
}

func errorBody(p Protocol, queryCode, ofType string) []byte {
	switch p {
	case JSON:
		return fmt.Appendf(nil, `{"__type": "com.amazonaws.cloudwatch.v2010_08_01#%s", "message": "m"}`, ofType)
	case Query:
		return fmt.Appendf(nil, `<ErrorResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/"><Error><Type>Sender</Type><Code>%s</Code><Message>m</Message></Error></ErrorResponse>`, queryCode)
	}
	return encodeCBOR(cbor.Map{"__type": cbor.String("com.amazonaws.cloudwatch.v2010_08_01#" + ofType), "message": cbor.String("m")})
}

// A response without a length that ends early never gives another result.
func TestTextCutShort(t *testing.T) {
	for n, body := range textBodies {
		p, statistics := protocols[n/2+1], n%2 == 1
		service := &oneResponse{status: http.StatusOK, body: []byte(body)}
		whole := fetchAll(t, service, p, statistics, false)
		if !slices.ContainsFunc(whole.results, func(r store.Result) bool { return r.Columns != nil }) {
			t.Errorf("%s: %v", p, summary(whole))
		}
		for cut := range body {
			service.body = []byte(body[:cut])
			part := fetchAll(t, service, p, statistics, false)
			if len(part.results) > 0 && !sameResults(part, whole) {
				t.Errorf("%s, %d bytes of %d: %v", p, cut, len(body), summary(part))
			}
		}
	}
}
