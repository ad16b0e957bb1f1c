package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Limits of a response body in bytes, after decompression, by operation. The
// 100,800 datapoints of a page of GetMetricData take 2 MB in CBOR and 10 MB in
// indented XML (100 bytes each). A page of 1,000 instances takes 10 MB, and many
// times that if each has dozens of addresses. A page of 500 metrics with 30
// dimensions each takes 20 MB.
const (
	maxError     = 1 << 20
	maxOther     = 8 << 20 // STS, SSO, the metadata of an instance or container, Organizations
	maxData      = 16 << 20
	maxMetrics   = 24 << 20
	maxInstances = 64 << 20
)

// maxTags bounds the XML tags of a page of instances; one instance has about
// 300. The caller asks for smaller pages if that is not enough. An empty tag
// counts as emptyTag tags, since the SDK can allocate a whole instance, about a
// kilobyte, for it.
const (
	maxTags  = 1 << 19
	emptyTag = 8
)

// A response that arrives slower than minRate bytes a second fails after
// slowAfter, although some of it keeps coming.
const (
	slowAfter = 5 * time.Minute
	minRate   = 1 << 10
)

// boundResponse is the first step after the network. It bounds the body.
type boundResponse struct{}

func (boundResponse) ID() string { return "cwharvest.BoundResponse" }

func (boundResponse) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	out middleware.DeserializeOutput, metadata middleware.Metadata, err error,
) {
	out, metadata, err = next.HandleDeserialize(ctx, in)
	if r, ok := out.RawResponse.(*smithyhttp.Response); ok && r != nil && r.Response != nil && r.Body != nil {
		r.Body = boundBody(r.Response, awsmiddleware.GetOperationName(ctx))
	}
	return out, metadata, err
}

// reportBound is the last step after the network: it returns the error of the bound
// that a body has exceeded. The decoder can hide it, such as behind invalid UTF-8 when
// the bound cuts a character.
type reportBound struct{}

func (reportBound) ID() string { return "cwharvest.ReportBound" }

func (reportBound) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	out middleware.DeserializeOutput, metadata middleware.Metadata, err error,
) {
	out, metadata, err = next.HandleDeserialize(ctx, in)
	r, ok := out.RawResponse.(*smithyhttp.Response)
	if err == nil || !ok || r == nil || r.Response == nil {
		return out, metadata, err
	}
	if b, bounded := r.Body.(*boundedBody); bounded && b.long != nil && !errors.As(err, new(*TooLongError)) {
		err = &smithy.DeserializationError{Err: b.long}
	}
	return out, metadata, err
}

// boundBody bounds a body by the limit of the operation. The rest of a long
// error is dropped, since its status says enough. An object may be as long as
// its Content-Length.
func boundBody(r *http.Response, operation string) io.ReadCloser {
	b := &boundedBody{body: r.Body, limit: maxOther, began: time.Now()}
	switch {
	case r.StatusCode >= 300:
		b.limit, b.isError = maxError, true
	case operation == "GetMetricData", operation == "GetMetricStatistics":
		b.limit = maxData
	case operation == "ListMetrics":
		b.limit = maxMetrics
	case operation == "DescribeInstances":
		b.limit, b.countsTags = maxInstances, true
	case operation == "GetObject" && r.ContentLength >= 0:
		b.limit = r.ContentLength
	}
	return b
}

type boundedBody struct {
	body       io.ReadCloser
	limit      int64
	isError    bool
	countsTags bool
	began      time.Time

	read   int64
	tags   int
	failed bool
	long   *TooLongError // that Read has returned
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.failed || b.read > b.limit {
		return 0, b.exceeded()
	}
	n, err := b.body.Read(p[:min(int64(len(p)), b.limit-b.read+1)])
	b.read += int64(n)
	if b.read > b.limit {
		return n - 1, b.exceeded()
	}
	if b.countsTags && !b.addTags(p[:n]) {
		b.failed, b.long = true, &TooLongError{}
		return 0, b.long
	}
	if took := time.Since(b.began); err == nil && took > slowAfter && b.read < int64(took/time.Second)*minRate {
		err = fmt.Errorf("response is too slow: %d bytes in %v", b.read, took.Round(time.Second))
	}
	return n, err
}

// addTags counts the XML tags of a piece of the body and reports whether they
// are within the limit.
func (b *boundedBody) addTags(text []byte) bool {
	b.tags += bytes.Count(text, []byte("<")) + (emptyTag-1)*bytes.Count(text, []byte("/>"))
	return b.tags <= maxTags
}

// exceeded returns a TooLongError once; whoever drains the body afterwards reads
// its end.
func (b *boundedBody) exceeded() error {
	if b.isError || b.failed {
		return io.EOF
	}
	b.failed, b.long = true, &TooLongError{b.limit}
	return b.long
}

func (b *boundedBody) Close() error { return b.body.Close() }

// TooLongError reports a response that exceeds the limit of its operation.
type TooLongError struct{ Limit int64 } // in bytes; 0: it has too many XML tags

func (e *TooLongError) Error() string {
	if e.Limit == 0 {
		return fmt.Sprintf("response has more than %d XML tags", maxTags)
	}
	return fmt.Sprintf("response is longer than %d MiB", e.Limit>>20)
}

// TooLong reports that asking for less may help.
func (e *TooLongError) TooLong() bool { return true }
