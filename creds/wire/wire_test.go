package wire

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

func TestPlainHTTP(t *testing.T) {
	for text, clear := range map[string]bool{
		"https://aws.example.com": false, "http://127.0.0.1:4566": false, "http://127.8.8.8": false, "http://localhost:4566": false,
		"http://[::1]:4566": false, "http://[::ffff:127.0.0.1]:4566": false,
		"http://aws.example.com": true, "http://localhost.evil.com": true, "http://127.0.0.1.nip.io": true, "http://127.0.0.1@evil.com": true,
		"http://2130706433": true, "http://0x7f000001": true, "http://0177.0.0.1": true, "http://127.1": true, "http://localhost.": true,
		"http://0.0.0.0": true, "http://[::]": true, "http://10.0.0.1": true, "http://169.254.169.254": true, "http://[::1%25eth0]": true,
		"HTTP://evil.com": true, "http://[::ffff:10.0.0.1]": true, "http://127.0.0.1%2eevil.com": true,
	} {
		err := CheckEndpoint(text)
		if got := errors.As(err, new(*PlainHTTPError)); got != clear {
			// A text that is not a URL is refused as well.
			if _, parse := url.Parse(text); parse == nil || got {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
	for _, text := range []string{"aws.example.com", "localhost:4566", "ftp://127.0.0.1", "http://", "https:", "http:///x", "file:///etc/passwd"} {
		if CheckEndpoint(text) == nil {
			t.Errorf("%q is accepted as an endpoint", text)
		}
	}
}

// TestTagsAreCounted: few bytes of XML can decode to many structures.
func TestTagsAreCounted(t *testing.T) {
	for text, fits := range map[string]bool{
		strings.Repeat("<item/>", maxTags/8): true, strings.Repeat("<item/>", maxTags/8+100): false,
		strings.Repeat("<a>b</a>", maxTags/2): true, strings.Repeat("<a>b</a>", maxTags/2+1): false,
	} {
		body := boundBody(&http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(text))}, "DescribeInstances")
		n, err := io.Copy(io.Discard, body)
		var long *TooLongError
		if errors.As(err, &long) == fits || fits && n != int64(len(text)) {
			t.Errorf("%.10s..., %d bytes: %d read, %v", text, len(text), n, err)
		}
	}
}

func TestSlowResponsesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := boundBody(&http.Response{StatusCode: 200, Body: drip{}}, "GetMetricData")
		began := time.Now()
		_, err := io.Copy(io.Discard, body)
		if took := time.Since(began); err == nil || took < slowAfter || took > 2*slowAfter {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// drip yields a byte every ten seconds.
type drip struct{}

func (drip) Read(p []byte) (int, error) { time.Sleep(10 * time.Second); return 1, nil }
func (drip) Close() error               { return nil }

// TestBoundIsReported: the bound's error counts, whatever the decoder said.
func TestBoundIsReported(t *testing.T) {
	for text, long := range map[string]bool{strings.Repeat("<a>b</a>", maxTags): true, "<a>": false} {
		r := &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(text))}
		decode := middleware.DeserializeHandlerFunc(func(context.Context, middleware.DeserializeInput) (middleware.DeserializeOutput, middleware.Metadata, error) {
			r.Body = boundBody(r, "DescribeInstances")
			_, _ = io.Copy(io.Discard, r.Body)
			return middleware.DeserializeOutput{RawResponse: &smithyhttp.Response{Response: r}}, middleware.Metadata{}, errors.New("XML syntax error on line 1: invalid UTF-8")
		})
		_, _, err := reportBound{}.HandleDeserialize(t.Context(), middleware.DeserializeInput{}, decode)
		if errors.As(err, new(*TooLongError)) != long {
			t.Errorf("%.10s: %v", text, err)
		}
	}
}
