package flat

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/encoding/cbor"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// The SDK's decoder can allocate 240 bytes for one byte of a response: it makes a
// structure of an empty map and grows its slices by copying them. 16 MB of empty
// maps took 3.8 GB. The byte limit of an operation is chosen for its largest legal
// response, so it cannot prevent that. Therefore the parts of a response are
// counted before the SDK decodes it, and few responses are decoded at a time.
const (
	// maxParts bounds the parts of a response: the heads of CBOR, the elements of
	// XML, the characters of JSON that begin or separate values. The largest legal
	// response has 320,000: GetMetricData in CBOR, with a tag, a time and a value
	// for each of 100,800 datapoints. The limit also bounds how deep structures
	// nest, since the SDK's decoder calls itself for each level.
	maxParts = 3 << 17

	maxDecoding = 2
	readFirst   = 1 << 19 // bytes that are read without a place among the decoders, so that slow responses do not hold one
)

// decoding holds an element for each response that the SDK decodes.
var decoding = make(chan struct{}, maxDecoding)

// bySDK checks a response and has the SDK decode it.
func (p protocol) bySDK(
	ctx context.Context, schema *smithy.OperationSchema, registry *smithy.TypeRegistry, resp *smithyhttp.Response, out smithy.Deserializable,
) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, readFirst))
	select {
	case decoding <- struct{}{}:
		defer func() { <-decoding }()
	case <-ctx.Done():
		return &smithy.DeserializationError{Err: ctx.Err()}
	}
	if err == nil && len(body) == readFirst {
		var rest []byte
		rest, err = io.ReadAll(resp.Body)
		body = append(body, rest...)
	}
	if err != nil {
		return &smithy.DeserializationError{Err: fmt.Errorf("read response: %w", err)}
	}
	if err := cmp.Or(p.checkProtocol(body), p.check(body)); err != nil {
		return &smithy.DeserializationError{Err: err}
	}
	return p.ClientProtocol.DeserializeResponse(ctx, schema, registry, with(resp, bytes.NewReader(body)), out)
}

// failure has the SDK decode an error. A gateway can send one in any format if it
// means credentials, quotas or an outage, which its status says as well.
func (p protocol) failure(
	ctx context.Context, schema *smithy.OperationSchema, registry *smithy.TypeRegistry, resp *smithyhttp.Response, out smithy.Deserializable,
) error {
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return p.ClientProtocol.DeserializeResponse(ctx, schema, registry, resp, out)
	}
	body, err := io.ReadAll(resp.Body)
	if err == nil {
		err = p.checkProtocol(body)
	}
	if err != nil {
		return &smithy.DeserializationError{Err: err}
	}
	return p.ClientProtocol.DeserializeResponse(ctx, schema, registry, with(resp, bytes.NewReader(body)), out)
}

// checkProtocol refuses a document of another protocol. A page in HTML is none: it
// comes from a proxy.
func (p protocol) checkProtocol(body []byte) error {
	text := bytes.ToLower(bytes.TrimSpace(body[:min(len(body), 512)]))
	got := p.name()
	switch {
	case len(text) == 0, bytes.Contains(text, []byte("<html")), bytes.HasPrefix(text, []byte("<!doctype html")):
		return nil
	case text[0] == '<':
		got = "XML"
	case text[0] == '{':
		got = "JSON"
	case body[0]>>5 == majorMap:
		got = "CBOR"
	}
	if got == p.name() {
		return nil
	}
	return &ForeignError{Want: p.name(), Got: got}
}

var (
	errEmpty = errors.New("response is empty")
	errParts = fmt.Errorf("response has more than %d parts, which no page of AWS has", maxParts)
	errNull  = errors.New("response has null in the place of a number")
)

// check refuses a body that the SDK would misread: an empty one, which it takes
// for a response without results, and null for a number, which it takes for 0. It
// also refuses one with too many parts.
func (p protocol) check(body []byte) error {
	var parts int
	var null bool
	switch {
	case p.isCBOR():
		parts, null = countCBOR(body)
	case p.isXML():
		parts = countXML(body)
	default:
		parts = countJSON(body)
	}
	switch {
	case len(body) == 0:
		return errEmpty
	case parts > maxParts:
		return errParts
	case null && cborHasNull(body), !p.isCBOR() && jsonHasNull(body):
		return errNull
	}
	return nil
}

var nullElement = regexp.MustCompile(`[\[,:]\s*null`)

// jsonHasNull reports whether JSON has null for the value of a datapoint, which the
// SDK takes for 0. It leaves invalid JSON to the SDK.
func jsonHasNull(body []byte) bool {
	var output struct {
		MetricDataResults []struct{ Values []*float64 }
		Datapoints        []struct{ ExtendedStatistics map[string]*float64 }
	}
	if !nullElement.Match(body) || json.Unmarshal(body, &output) != nil {
		return false
	}
	for _, r := range output.MetricDataResults {
		if slices.Contains(r.Values, nil) {
			return true
		}
	}
	for _, d := range output.Datapoints {
		if slices.Contains(slices.Collect(maps.Values(d.ExtendedStatistics)), nil) {
			return true
		}
	}
	return false
}

// cborHasNull reports the same of CBOR.
func cborHasNull(body []byte) bool {
	output, err := cbor.Decode(body)
	if err != nil {
		return false
	}
	for _, r := range elements(member(output, "MetricDataResults")) {
		if slices.ContainsFunc(elements(member(r, "Values")), isNull) {
			return true
		}
	}
	for _, d := range elements(member(output, "Datapoints")) {
		statistics, _ := member(d, "ExtendedStatistics").(cbor.Map)
		if slices.ContainsFunc(slices.Collect(maps.Values(statistics)), isNull) {
			return true
		}
	}
	return false
}

func member(v cbor.Value, name string) cbor.Value {
	m, _ := v.(cbor.Map)
	return m[name]
}

func elements(v cbor.Value) []cbor.Value {
	l, _ := v.(cbor.List)
	return l
}

func isNull(v cbor.Value) bool {
	switch v.(type) {
	case *cbor.Nil, *cbor.Undefined:
		return true
	}
	return false
}

// with returns a response with another body.
func with(resp *smithyhttp.Response, body io.Reader) *smithyhttp.Response {
	r := *resp.Response
	r.Body = struct {
		io.Reader
		io.Closer
	}{body, resp.Body}
	return &smithyhttp.Response{Response: &r}
}

// countXML counts the elements of XML. It must not guess by the body that it is
// XML, since the SDK finds elements behind any other text.
func countXML(body []byte) int {
	return bytes.Count(body, []byte("<")) - bytes.Count(body, []byte("</"))
}

// countJSON counts the parts of JSON. The text of a dimension or a label may contain
// any of the characters that begin or separate values.
func countJSON(body []byte) (n int) {
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '{', '[', ',':
			n++
		case '"':
			i += textLength(body[i+1:]) + 1
		}
	}
	return n
}

// textLength returns the length of a JSON string up to its closing quote.
func textLength(text []byte) (n int) {
	for n < len(text) && text[n] != '"' {
		if text[n] == '\\' {
			n++
		}
		n++
	}
	return n
}

// countCBOR counts the parts of CBOR and reports whether one is null. It leaves
// errors of the form to the decoder.
func countCBOR(body []byte) (n int, null bool) {
	for ; len(body) > 0; n++ {
		major, info := body[0]>>5, body[0]&31
		length := uint64(info)
		body = body[1:]
		if info >= 24 && info <= 27 {
			size := 1 << (info - 24)
			if len(body) < size {
				return n, null
			}
			var argument [8]byte
			copy(argument[8-size:], body)
			length, body = binary.BigEndian.Uint64(argument[:]), body[size:]
		}
		null = null || major == majorOther && (info == headNull&31 || info == headNothing&31)
		if (major == majorBytes || major == majorText) && info <= 27 {
			body = body[min(length, uint64(len(body))):]
		}
	}
	return n, null
}
