package flat

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

var sdk = cloudwatch.New(cloudwatch.Options{Region: "us-east-1"}).Options().Protocol

var operation = &smithy.OperationSchema{}

// page is a decoded response.
type page struct {
	results []Result
	token   string
	err     error
}

func response(body io.Reader) *smithyhttp.Response {
	return &smithyhttp.Response{Response: &http.Response{StatusCode: 200, Body: io.NopCloser(body)}}
}

func collect(into *[]Result) Sink {
	return func(r *Result) {
		kept := *r
		kept.Times, kept.Values = slices.Clone(r.Times), slices.Clone(r.Values)
		*into = append(*into, kept)
	}
}

// bySDK decodes with the SDK's decoder alone.
func bySDK(body io.Reader) (p page) {
	var out cloudwatch.GetMetricDataOutput
	if p.err = sdk.DeserializeResponse(context.Background(), operation, nil, response(body), &out); p.err != nil {
		return p
	}
	deliver(&out, collect(&p.results))
	return p.withToken(&out)
}

// byProtocol decodes as a client does.
func byProtocol(body io.Reader) (p page) {
	var out cloudwatch.GetMetricDataOutput
	ctx := WithSink(context.Background(), collect(&p.results))
	p.err = protocol{sdk}.DeserializeResponse(ctx, operation, nil, response(body), &out)
	return p.withToken(&out)
}

// byDecoder decodes with a small buffer and no way back to the SDK.
func byDecoder(body io.Reader, size int) (p page) {
	d := &decoder{buf: make([]byte, size)}
	d.start(body, collect(&p.results))
	p.err = d.output()
	p.token = d.token
	return p
}

func (p page) withToken(out *cloudwatch.GetMetricDataOutput) page {
	if out.NextToken != nil {
		p.token = *out.NextToken
	}
	return p
}

func (p page) String() string {
	return fmt.Sprintf("token %q, error %v, %v", p.token, p.err, p.results)
}

func (p page) equal(o page) bool {
	same := func(a, b float64) bool { return a == b || a != a && b != b }
	return p.token == o.token && slices.EqualFunc(p.results, o.results, func(a, b Result) bool {
		return a.ID == b.ID && a.Status == b.Status && a.Message == b.Message &&
			slices.Equal(a.Times, b.Times) && slices.EqualFunc(a.Values, b.Values, same)
	})
}

// compare checks that a decoding agrees with the SDK's or has given up.
func compare(t *testing.T, how string, got, want page) {
	t.Helper()
	switch {
	case errors.Is(got.err, ErrUnexpected):
	case (got.err == nil) != (want.err == nil):
		t.Errorf("%s: error %v, the SDK's %v", how, got.err, want.err)
	case got.err == nil && !got.equal(want):
		t.Errorf("%s:\n got %v\nwant %v", how, got, want)
	}
}

// item builds CBOR by hand, in forms that the SDK never writes too.
type item []byte

func head(major byte, n int) item {
	switch {
	case n < 24:
		return item{major<<5 | byte(n)}
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(item{major<<5 | 25}, uint16(n))
	default:
		return binary.BigEndian.AppendUint64(item{major<<5 | 27}, uint64(n))
	}
}

func text(s string) item { return append(head(majorText, len(s)), s...) }
func number(v float64) item {
	return binary.BigEndian.AppendUint64(item{headFloat64}, math.Float64bits(v))
}
func stamp(seconds float64) item { return append(item{headEpoch}, number(seconds)...) }

func array(items ...item) item {
	return append(head(majorArray, len(items)), slices.Concat(items...)...)
}
func object(items ...item) item {
	return append(head(majorMap, len(items)/2), slices.Concat(items...)...)
}
func open(major byte, items ...item) item {
	return append(append(item{major<<5 | 31}, slices.Concat(items...)...), headBreak)
}

func answer(results ...item) item {
	return object(text("MetricDataResults"), array(results...), text("Messages"), array())
}

func points(n int) (times, values []item) {
	for i := range n {
		times = append(times, stamp(float64(1_790_000_000+300*i)))
		values = append(values, number(float64(i)/7))
	}
	return times, values
}

func result(id string, n int) item {
	times, values := points(n)
	return object(text("Id"), text(id), text("Label"), text("CPUUtilization"), text("StatusCode"), text("Complete"),
		text("Timestamps"), array(times...), text("Values"), array(values...))
}

// bodies holds responses in every known form; fallback marks those that the SDK
// must decode.
var bodies = []struct {
	name     string
	body     item
	fallback bool
}{
	{"no results", answer(), false},
	{"one result", answer(result("q0", 3)), false},
	{"many", answer(result("q0", 288), result("q1", 0), result("q2", 1440)), false},
	{"token", object(text("NextToken"), text("q1-7"), text("MetricDataResults"), array(result("q0", 1))), false},
	{"null token", object(text("NextToken"), item{headNull}, text("MetricDataResults"), array(result("q0", 1))), false},
	{"indefinite", open(majorMap, text("MetricDataResults"), open(majorArray, open(majorMap,
		text("Id"), text("q0"), text("Timestamps"), open(majorArray, stamp(1), stamp(2)),
		text("Values"), open(majorArray, number(1), item{0xfa, 0x3f, 0x80, 0, 0}),
	))), false},
	{"whole numbers", answer(object(text("Values"), array(head(majorUint, 7), head(majorNegative, 70_000)),
		text("Timestamps"), array(append(item{headEpoch}, head(majorUint, 1_790_000_000)...), append(item{headEpoch}, head(majorNegative, 3)...)))), false},
	{"messages", answer(object(text("Messages"), array(object(text("Code"), text("c"), text("Value"), text("v"))),
		text("StatusCode"), text("Forbidden"))), false},
	{"unknown members", object(text("New"), object(text("a"), array(head(majorUint, 1), item{0xf5}, item{0xf9, 0, 0}, stamp(1))),
		text("MetricDataResults"), array(object(text("Blob"), append(head(majorBytes, 3), 1, 2, 3), text("Id"), text("q0")))), false},
	{"half floats", answer(object(text("Values"), array(item{0xf9, 0x3c, 0}))), true},
	{"null value", answer(object(text("Values"), array(item{headNull}))), true},
	{"results twice", object(text("MetricDataResults"), array(), text("MetricDataResults"), array()), true},
	{"values twice", answer(object(text("Values"), array(number(1)), text("Values"), array(number(2)))), true},
	{"chunked text", answer(object(text("Id"), open(majorText, text("q"), text("0")))), true},
	{"a list", array(number(1)), true},
	{"more behind", append(answer(), 0), true},
	{"date far away", answer(object(text("Timestamps"), array(stamp(1e300)))), true},
	{"deep", object(text("New"), slices.Concat(slices.Repeat(item{0x81}, 100), item{1}), text("MetricDataResults"), array()), true},
}

func TestDecodesAsTheSDKDoes(t *testing.T) {
	for _, b := range bodies {
		t.Run(b.name, func(t *testing.T) {
			want := bySDK(bytes.NewReader(b.body))
			got := byDecoder(bytes.NewReader(b.body), bufferSize)
			if gaveUp := errors.Is(got.err, ErrUnexpected); gaveUp != b.fallback {
				t.Errorf("left to the SDK: %v, want %v (%v)", gaveUp, b.fallback, got.err)
			}
			compare(t, "decoder", got, want)
			compare(t, "small buffer, byte by byte", byDecoder(iotest.OneByteReader(bytes.NewReader(b.body)), 64), want)
			through := byProtocol(bytes.NewReader(b.body))
			if errors.Is(through.err, ErrUnexpected) && len(through.results) == 0 {
				t.Error("gave up though the body was still there")
			}
			compareThrough(t, b.body, through, want)
		})
	}
}

// A body that breaks off is a read error and never a result.
func TestCutBodies(t *testing.T) {
	whole := answer(result("q0", 20), result("q1", 20))
	broken := errors.New("connection reset")
	for n := range whole {
		got := byProtocol(io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(broken)))
		if !errors.Is(got.err, broken) {
			t.Errorf("cut after %d bytes: %v", n, got.err)
		}
		if got := byProtocol(bytes.NewReader(whole[:n])); got.err == nil {
			t.Errorf("ended after %d bytes: no error", n)
		}
	}
}

// The SDK decodes other responses, errors among them.
func TestLeavesOthersAlone(t *testing.T) {
	refused := response(strings.NewReader("<html>"))
	refused.StatusCode = 503
	got := page{}
	ctx := WithSink(context.Background(), collect(&got.results))
	registry := cloudwatch.TypeRegistry
	if err := (protocol{sdk}).DeserializeResponse(ctx, operation, registry, refused, &cloudwatch.GetMetricDataOutput{}); err == nil {
		t.Error("no error for status 503")
	}
	var out cloudwatch.GetMetricDataOutput
	body := bytes.NewReader(answer(result("q0", 2)))
	if err := (protocol{sdk}).DeserializeResponse(context.Background(), operation, registry, response(body), &out); err != nil {
		t.Fatal(err)
	}
	if len(out.MetricDataResults) != 1 || out.MetricDataResults[0].StatusCode != types.StatusCodeComplete {
		t.Errorf("without a sink: %+v", out.MetricDataResults)
	}
}

// The token of a page stays the same while other responses are decoded.
func TestTokensAreNotMixedUp(t *testing.T) {
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			want := fmt.Sprint("token ", i)
			body := object(text("MetricDataResults"), array(result("q0", 3)), text("NextToken"), text(want))
			for range 2000 {
				var out cloudwatch.GetMetricDataOutput
				ctx := WithSink(context.Background(), func(*Result) {})
				if err := (protocol{sdk}).DeserializeResponse(ctx, operation, nil, response(bytes.NewReader(body)), &out); err != nil {
					t.Error(err)
					return
				}
				runtime.Gosched() // another takes the decoder
				if got := aws.ToString(out.NextToken); got != want {
					t.Errorf("token %q, want %q", got, want)
					return
				}
			}
		})
	}
	all.Wait()
}

// For any bytes in any pieces, the decoder agrees with the SDK's or returns
// ErrUnexpected.
func FuzzDecode(f *testing.F) {
	for _, b := range bodies {
		if len(b.body) < 4<<10 {
			f.Add([]byte(b.body), uint8(7))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, chunk uint8) {
		if len(body) == 0 {
			return // refused, see TestCutBodies
		}
		want := safely(func() page { return bySDK(bytes.NewReader(body)) })
		compareThrough(t, body, byProtocolSafely(body), want)
		compare(t, "decoder", byDecoder(&chunks{body, int(chunk) + 1}, 64), want)
	})
}

// compareThrough compares the results of the whole protocol, which refuses null for a
// number.
func compareThrough(t *testing.T, body []byte, got, want page) {
	t.Helper()
	if errors.Is(got.err, errNull) && (bytes.IndexByte(body, headNull) >= 0 || bytes.IndexByte(body, headNothing) >= 0) {
		return
	}
	compare(t, "protocol", got, want)
}

func byProtocolSafely(body []byte) page {
	return safely(func() page { return byProtocol(bytes.NewReader(body)) })
}

// safely returns a panic of the SDK's decoder as an error.
func safely(decode func() page) (p page) {
	defer func() {
		if r := recover(); r != nil {
			p = page{err: fmt.Errorf("panic: %v", r)}
		}
	}()
	return decode()
}

// chunks reads a few bytes at a time.
type chunks struct {
	body []byte
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.body) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.size)], c.body)
	c.body = c.body[n:]
	return n, nil
}

func BenchmarkDecode(b *testing.B) {
	for _, shape := range []struct{ results, points int }{{350, 288}, {25, 4032}} {
		all := make([]item, shape.results)
		for i := range all {
			all[i] = result(fmt.Sprint("q", i), shape.points)
		}
		body := answer(all...)
		for _, decoder := range []struct {
			name   string
			decode func() error
		}{
			{"flat", func() error {
				ctx := WithSink(context.Background(), func(*Result) {})
				return protocol{sdk}.DeserializeResponse(ctx, operation, nil, response(bytes.NewReader(body)), &cloudwatch.GetMetricDataOutput{})
			}},
			{"sdk", func() error {
				return sdk.DeserializeResponse(context.Background(), operation, nil, response(bytes.NewReader(body)), &cloudwatch.GetMetricDataOutput{})
			}},
		} {
			b.Run(fmt.Sprintf("%dx%d/%s", shape.results, shape.points, decoder.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := decoder.decode(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(shape.results*shape.points), "ns/datapoint")
			})
		}
	}
}
