// Package flat reads the answers of GetMetricData into flat, reused columns
// while they arrive. The SDK's own decoder takes ten times as long, because it
// reads the whole body first, grows its slices from nothing and keeps a
// time.Time for every datapoint. Whatever this decoder does not expect it
// leaves to the SDK's.
package flat

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Result is one element of MetricDataResults.
type Result struct {
	ID      string
	Status  types.StatusCode
	Message string // the last one's value

	// Times are Unix milliseconds; as many as Values, or the answer is broken.
	Times  []int64
	Values []float64
}

// A Sink takes the results of one page as they are decoded, in their order.
// It must not keep the result's slices. When the call fails in the end, what
// it was given is void.
type Sink func(*Result)

// ErrUnexpected says that an answer took a form that the flat decoder does not
// know, too late to start over with the SDK's. The same call without a sink
// is decoded by the SDK.
var ErrUnexpected = errors.New("answer has an unexpected form")

type sinkKey struct{}

// WithSink has the calls of ctx give their results to the sink, and return
// them as MetricDataResults no longer.
func WithSink(ctx context.Context, sink Sink) context.Context {
	return context.WithValue(ctx, sinkKey{}, sink)
}

// Use makes a client's GetMetricData calls serve their context's sink.
func Use(o *cloudwatch.Options) { o.Protocol = protocol{o.Protocol} }

// protocol decodes what it can and leaves the rest to the one it wraps. Answers
// in other protocols than CBOR are the SDK's to decode; sinks are served alike.
type protocol struct{ smithyhttp.ClientProtocol }

func (p protocol) DeserializeResponse(
	ctx context.Context, schema *smithy.OperationSchema, registry *smithy.TypeRegistry,
	resp *smithyhttp.Response, out smithy.Deserializable,
) error {
	output, ours := out.(*cloudwatch.GetMetricDataOutput)
	sink, wanted := ctx.Value(sinkKey{}).(Sink)
	switch {
	case resp.StatusCode/100 != 2:
		return p.ClientProtocol.DeserializeResponse(ctx, schema, registry, resp, out)
	case !ours || !wanted:
		return p.bySDK(ctx, schema, registry, resp, out)
	case !p.isCBOR():
		return p.deliver(ctx, schema, registry, resp, output, sink)
	}
	d := decoders.Get().(*decoder)
	defer d.release()
	d.start(resp.Body, sink)
	err := d.answer()
	switch {
	case err == nil:
		if d.token != "" {
			token := d.token // d is another answer's once it is released
			output.NextToken = &token
		}
		return nil
	case !errors.Is(err, ErrUnexpected):
		return &smithy.DeserializationError{Err: fmt.Errorf("read answer: %w", err)}
	case d.delivered || d.slid:
		return &smithy.DeserializationError{Err: err}
	}
	return p.deliver(ctx, schema, registry, with(resp, d.rest()), output, sink)
}

func (p protocol) isCBOR() bool { return p.ID().Name == "rpcv2Cbor" }

// deliver has the SDK decode an answer, for the sink.
func (p protocol) deliver(
	ctx context.Context, schema *smithy.OperationSchema, registry *smithy.TypeRegistry,
	resp *smithyhttp.Response, output *cloudwatch.GetMetricDataOutput, sink Sink,
) error {
	if err := p.bySDK(ctx, schema, registry, resp, output); err != nil {
		return err
	}
	deliver(output, sink)
	return nil
}

// deliver gives the sink what the SDK has decoded.
func deliver(output *cloudwatch.GetMetricDataOutput, sink Sink) {
	for i := range output.MetricDataResults {
		r := FromSDK(&output.MetricDataResults[i])
		sink(&r)
	}
	output.MetricDataResults = nil
}

// FromSDK converts a result that the SDK has decoded.
func FromSDK(r *types.MetricDataResult) Result {
	flat := Result{Status: r.StatusCode, Values: r.Values, Times: make([]int64, len(r.Timestamps))}
	if r.Id != nil {
		flat.ID = *r.Id
	}
	for i, t := range r.Timestamps {
		flat.Times[i] = t.UnixMilli()
	}
	for _, m := range r.Messages {
		if m.Value != nil {
			flat.Message = *m.Value
		}
	}
	return flat
}
