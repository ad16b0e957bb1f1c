package awssim

import (
	"cmp"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
)

// apiError is an error response.
type apiError struct {
	status  int
	code    string // in the Query protocol
	shape   string // in the other protocols, as __type; empty: code
	message string
	raw     bool // sent without the request's protocol, as a proxy does
}

var errMissingToken = &apiError{status: 403, code: "MissingAuthenticationToken", message: "Request is missing Authentication Token"}

// errExpired returns a service's error for an expired session.
func errExpired(service string) *apiError {
	if service == "ec2" {
		return &apiError{status: 400, code: "RequestExpired", message: "Request has expired."}
	}
	return &apiError{status: 403, code: "ExpiredToken", shape: "ExpiredTokenException",
		message: "The security token included in the request is expired"}
}

// errUnknownKey returns a service's error for an unknown key, and for any key in a
// region that the account has not enabled.
func errUnknownKey(service string) *apiError {
	if service == "ec2" {
		return &apiError{status: 401, code: "AuthFailure",
			message: "AWS was not able to validate the provided access credentials"}
	}
	return &apiError{status: 403, code: "InvalidClientTokenId", shape: "UnrecognizedClientException",
		message: "The security token included in the request is invalid."}
}

func errThrottled(service string) *apiError {
	if service == "ec2" {
		return &apiError{status: 503, code: "RequestLimitExceeded", message: "Request limit exceeded."}
	}
	return &apiError{status: 400, code: "Throttling", shape: "ThrottlingException", message: "Rate exceeded"}
}

func errDenied(c *call) *apiError {
	return &apiError{status: 403, code: "AccessDenied", shape: "AccessDeniedException",
		message: fmt.Sprintf("User: %s is not authorized to perform: %s:%s", c.principal.arn, c.service, c.operation)}
}

// errExplicitlyDenied returns a service's error for a call that a policy denies (IAM
// user guide, access denied error messages; EC2 has a code of its own).
func errExplicitlyDenied(c *call) *apiError {
	e := errDenied(c)
	if e.message += " with an explicit deny in an identity-based policy"; c.service == "ec2" {
		e.code = "UnauthorizedOperation"
	}
	return e
}

func errInvalid(format string, args ...any) *apiError {
	return &apiError{status: 400, code: "ValidationError", message: fmt.Sprintf(format, args...)}
}

// codec is the protocol of a request. It writes errors.
type codec interface {
	name() string
	fail(http.ResponseWriter, *apiError)
}

func (xmlCodec) name() string  { return "query" }
func (ec2Codec) name() string  { return "ec2query" }
func (cborCodec) name() string { return "cbor" }
func (jsonCodec) name() string { return "json" }

type xmlCodec struct{}

func (xmlCodec) fail(w http.ResponseWriter, e *apiError) {
	writeXML(w, e.status, fmt.Sprintf(`<ErrorResponse><Error><Type>%s</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>sim</RequestId></ErrorResponse>`,
		e.side(), e.code, escape(e.message)))
}

type ec2Codec struct{}

func (ec2Codec) fail(w http.ResponseWriter, e *apiError) {
	writeXML(w, e.status, fmt.Sprintf(`<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>sim</RequestID></Response>`,
		e.code, escape(e.message)))
}

type cborCodec struct{}

func (cborCodec) fail(w http.ResponseWriter, e *apiError) {
	b := appendMap(nil, 3)
	b = appendText(appendText(b, "__type"), "com.amazonaws.cloudwatch.v2010_08_01#"+e.typeName())
	b = appendText(appendText(b, "message"), e.message)
	b = appendText(appendText(b, "Message"), e.message) // as modelled errors spell it
	e.setQueryError(w)
	writeCBOR(w, e.status, b)
}

// jsonCodec is AWS JSON.
type jsonCodec struct {
	version   string // 1.0 or 1.1
	queryMode bool
}

func (j jsonCodec) fail(w http.ResponseWriter, e *apiError) {
	if j.queryMode {
		e.setQueryError(w)
	}
	writeAWSJSON(w, e.status, j.version, map[string]string{"__type": e.typeName(), "Message": e.message})
}

// setQueryError sets the header with the code of the Query protocol, for clients
// that were written for it.
func (e *apiError) setQueryError(w http.ResponseWriter) {
	w.Header().Set("X-Amzn-Query-Error", e.code+";"+e.side())
}

// failRaw writes an error as a proxy would: in a protocol that the SDK does not
// expect, or with an empty body.
func failRaw(w http.ResponseWriter, e *apiError) {
	if e.message == "empty" {
		w.WriteHeader(e.status)
		return
	}
	if e.message == "html" {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(e.status)
		write(w, []byte("<html><body>Please log in to this network"))
		return
	}
	writeXML(w, e.status, "<Error><Code>"+e.code+"</Code></Error>")
}

func (e *apiError) typeName() string { return cmp.Or(e.shape, e.code) }

func (e *apiError) side() string {
	if e.status >= 500 {
		return "Receiver"
	}
	return "Sender"
}

func writeXML(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/xml")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	write(w, []byte(body))
}

func writeCBOR(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/cbor")
	w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	write(w, body)
}

func writeAWSJSON(w http.ResponseWriter, status int, version string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // every value here can be encoded
	}
	w.Header().Set("Content-Type", "application/x-amz-json-"+version)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	write(w, body)
}

// write sends a body. An error means that the caller has disconnected.
func write(w http.ResponseWriter, body []byte) { _, _ = w.Write(body) }

func escape(s string) string {
	var b xmlBuffer
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		panic(err) // writing to memory does not fail
	}
	return string(b)
}

type xmlBuffer []byte

func (b *xmlBuffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}
