package flat

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/encoding/cbor"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// The SDK's decoder keeps a hundred bytes for a single one of an answer that is
// made for it, and holds the body beside. So the weight of an answer is bounded
// before it is decoded, and few are decoded at a time: they take turns on the
// processors anyhow.
const (
	mostWeight   = 1 << 19 // 100,800 datapoints weigh 302,400, 500 results 60,000, 1,440 datapoints of 15 statistics 300,000
	mostMetrics  = 1 << 20 // 500 metrics with 30 dimensions weigh 630,000
	heavy        = 8       // what is no number may become a structure
	mostDecoding = 4
	small        = 1 << 19 // bytes that are read before: most answers then hold up nobody while they arrive
)

// decoding holds a token for each answer that the SDK decodes.
var decoding = make(chan struct{}, mostDecoding)

func (p protocol) bySDK(
	ctx context.Context, schema *smithy.OperationSchema, registry *smithy.TypeRegistry, resp *smithyhttp.Response, out smithy.Deserializable,
) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, small))
	select {
	case decoding <- struct{}{}:
		defer func() { <-decoding }()
	case <-ctx.Done():
		return &smithy.DeserializationError{Err: ctx.Err()}
	}
	if err == nil && len(body) == small {
		var rest []byte
		rest, err = io.ReadAll(resp.Body)
		body = append(body, rest...)
	}
	if err != nil {
		return &smithy.DeserializationError{Err: fmt.Errorf("read answer: %w", err)}
	}
	weigh, hasNull := weight, cborHasNull
	if !p.isCBOR() {
		weigh, hasNull = weightOfText, jsonHasNull
	}
	w, null := weigh(body)
	switch {
	case len(body) == 0:
		return errEmpty
	case w > heaviest(out):
		return &smithy.DeserializationError{Err: errors.New("answer is made of more than a page can hold")}
	case null && hasNull(body):
		return errNull
	}
	return p.ClientProtocol.DeserializeResponse(ctx, schema, registry, with(resp, bytes.NewReader(body)), out)
}

// heaviest is what an answer may weigh.
func heaviest(out smithy.Deserializable) int {
	if _, listing := out.(*cloudwatch.ListMetricsOutput); listing {
		return mostMetrics
	}
	return mostWeight
}

var nullElement = regexp.MustCompile(`[\[,:]\s*null`)

// jsonHasNull reports whether JSON has null for a datapoint's value: the SDK takes
// it for 0. What is no JSON is left to the decoder.
func jsonHasNull(body []byte) bool {
	var answer struct {
		MetricDataResults []struct{ Values []*float64 }
		Datapoints        []struct{ ExtendedStatistics map[string]*float64 }
	}
	if !nullElement.Match(body) || json.Unmarshal(body, &answer) != nil {
		return false
	}
	for _, r := range answer.MetricDataResults {
		if slices.Contains(r.Values, nil) {
			return true
		}
	}
	for _, d := range answer.Datapoints {
		if slices.Contains(slices.Collect(maps.Values(d.ExtendedStatistics)), nil) {
			return true
		}
	}
	return false
}

// cborHasNull is jsonHasNull of CBOR.
func cborHasNull(body []byte) bool {
	answer, err := cbor.Decode(body)
	if err != nil {
		return false
	}
	for _, r := range elements(member(answer, "MetricDataResults")) {
		if slices.ContainsFunc(elements(member(r, "Values")), isNull) {
			return true
		}
	}
	for _, d := range elements(member(answer, "Datapoints")) {
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

// errNull refuses null in the place of a number, which the SDK takes for 0.
var errNull = &smithy.DeserializationError{Err: errors.New("answer has null in the place of a number")}

// errEmpty refuses an answer that is no document in any protocol, as one is that
// broke off before it began. The SDK takes it for one that has nothing to say.
var errEmpty = &smithy.DeserializationError{Err: errors.New("answer is empty")}

// with is a response with another body.
func with(resp *smithyhttp.Response, body io.Reader) *smithyhttp.Response {
	r := *resp.Response
	r.Body = struct {
		io.Reader
		io.Closer
	}{body, resp.Body}
	return &smithyhttp.Response{Response: &r}
}

// weightOfText is the weight of JSON or XML: of what separates numbers, and of
// what becomes a structure. It reports whether there may be a null. A datapoint
// of XML has four tags, and 100,800 weigh 403,200.
func weightOfText(body []byte) (w int, null bool) {
	nulls := bytes.Count(body, []byte("null"))
	w = heavy * nulls
	for i, c := range body {
		switch {
		case c == '{' || c == '[' || c == '>' && i > 0 && body[i-1] == '/':
			w += heavy
		case c == ',' || c == '<':
			w++
		}
	}
	return w, nulls > 0
}

// weight adds up the items of CBOR, whatever they are nested in, and reports
// whether one is null. What is no CBOR is left to the decoder.
func weight(body []byte) (w int, null bool) {
	for len(body) > 0 {
		major, info := body[0]>>5, body[0]&31
		n := uint64(info)
		body = body[1:]
		if info >= 24 && info <= 27 {
			size := 1 << (info - 24)
			if len(body) < size {
				return w, null
			}
			var argument [8]byte
			copy(argument[8-size:], body)
			n, body = binary.BigEndian.Uint64(argument[:]), body[size:]
		}
		switch isFloat := major == majorOther && info >= 25 && info <= 27; {
		case major == majorUint, major == majorNegative, major == majorTag, isFloat:
			w++
		default:
			w += heavy
			null = null || major == majorOther && (info == headNull&31 || info == headNothing&31)
		}
		if (major == majorBytes || major == majorText) && info <= 27 {
			body = body[min(n, uint64(len(body))):]
		}
	}
	return w, null
}
