package place

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"cwharvest/store/durable"
	"cwharvest/store/place/s3test"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// hintOf returns the hint that an error carries.
func hintOf(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}

func TestResponsesAreClassified(t *testing.T) {
	p, server := startS3(t)
	for _, c := range []struct {
		status    int
		code      string
		transient bool
		hint      string
	}{
		{503, "SlowDown", true, ""},
		{500, "InternalError", true, ""},
		{502, "", true, ""},
		{429, "TooManyRequests", true, ""},
		{501, "NotImplemented", false, ""},
		{400, "RequestTimeout", true, ""},
		{403, "RequestTimeTooSkewed", true, ""},
		{400, "ExpiredToken", true, ""},
		{400, "InvalidToken", true, ""},
		{403, "AccessDenied", false, "s3:PutObject"},
		{403, "InvalidAccessKeyId", false, "keys"},
		{403, "SignatureDoesNotMatch", false, "keys"},
		{404, "NoSuchBucket", false, "create the bucket lake"},
		{301, "PermanentRedirect", false, "another region"},
		{400, "AuthorizationHeaderMalformed", false, "another region"},
		{400, "EntityTooLarge", false, ""},
	} {
		server.Fault(s3test.Fault{Status: c.status, Code: c.code, Count: -1})
		mustMake(t, p, object, nil)
		_, _, sumErr := p.Sum(t.Context(), object, false)
		_, listErr := p.List(t.Context(), "date=*/*")
		_, openErr := p.Open(t.Context(), object)
		for _, err := range []error{sumErr, listErr, openErr,
			p.Publish(t.Context(), object, hexSum(nil)), p.Remove(t.Context(), object), p.Sweep(t.Context(), "job1"),
		} {
			if err == nil {
				t.Fatalf("%s: no error", c.code)
			}
			if Transient(err) != c.transient {
				t.Errorf("%v: transient %v", err, !c.transient)
			}
			if hint := hintOf(err); !strings.Contains(hint, c.hint) || c.hint == "" && hint != "" {
				t.Errorf("%v: hint %q", err, hint)
			}
			if !strings.Contains(err.Error(), "s3://lake/lake/metrics") || !strings.Contains(err.Error(), c.code) {
				t.Errorf("does not name the object and the reason: %v", err)
			}
		}
	}
}

func TestPermissionsNameBothPrefixes(t *testing.T) {
	for prefix, want := range map[string]string{
		"lake/metrics": " on lake/lake/metrics/* and lake/lake/instances/*, ",
		"metrics":      " on lake/metrics/* and lake/instances/*, ",
		"":             " on lake/*, ",
	} {
		if got := NewS3(nil, "lake", prefix, "", &durable.Files{}).permissions(); !strings.Contains(got, want) {
			t.Errorf("%q: %s", prefix, got)
		}
	}
}

func TestNetworkIsTransient(t *testing.T) {
	p, _ := startS3(t)
	nowhere := "http://127.0.0.1:1"
	p.client = s3.New(p.client.Options(), func(o *s3.Options) { o.BaseEndpoint = &nowhere })
	if _, _, err := p.Sum(t.Context(), object, false); !Transient(err) {
		t.Errorf("refused connection: %v", err)
	}
}

type refusal bool

func (r refusal) Error() string { return "credentials" }
func (r refusal) Refused() bool { return bool(r) }

func TestOtherErrors(t *testing.T) {
	for _, c := range []struct {
		err       error
		transient bool
		hint      string
	}{
		{nil, false, ""},
		{fmt.Errorf("a: %w", ErrExists), false, "move it away"},
		{(&S3{bucket: "b"}).fail("write", "a", ErrExists), false, "move it away"},
		{&fs.PathError{Op: "write", Path: "a", Err: syscall.ENOSPC}, false, ""},
		{&fs.PathError{Op: "write", Path: "a", Err: syscall.EDQUOT}, false, ""},
		{&fs.PathError{Op: "write", Path: "a", Err: syscall.EROFS}, false, ""},
		{&fs.PathError{Op: "write", Path: "a", Err: syscall.EACCES}, false, ""},
		{&fs.PathError{Op: "read", Path: "a", Err: syscall.EIO}, false, ""},
		{os.ErrDeadlineExceeded, true, ""},
		{io.ErrUnexpectedEOF, false, ""},
		{refusal(true), false, ""},
		{refusal(false), true, ""},
	} {
		if Transient(c.err) != c.transient {
			t.Errorf("%v: transient %v", c.err, !c.transient)
		}
		if hint := hintOf(c.err); !strings.Contains(hint, c.hint) || c.hint == "" && hint != "" {
			t.Errorf("%v: hint %q", c.err, hint)
		}
	}
}

func TestParseS3(t *testing.T) {
	for out, want := range map[string]string{
		"s3://lake":                   "lake||true",
		"s3://lake/":                  "lake||true",
		"s3://lake/a":                 "lake|a|true",
		"s3://my.lake-1/a/b/":         "my.lake-1|a/b|true",
		"s3:/lake":                    "||false",
		"/data/s3://":                 "||false",
		"data":                        "||false",
		"":                            "||false",
		"s3://":                       "error",
		"s3:///a":                     "error",
		"s3://ab":                     "error",
		"s3://Lake":                   "error",
		"s3://la_ke":                  "error",
		"s3://-lake":                  "error",
		"s3://lake.":                  "error",
		"s3://la..ke":                 "error",
		"s3://192.168.0.1":            "error",
		"s3://" + long(64):            "error",
		"s3://" + long(63) + "/a":     long(63) + "|a|true",
		"s3://lake//a":                "error",
		"s3://lake/a//b":              "error",
		"s3://lake/a//":               "error",
		"s3://lake/../a":              "error",
		"s3://lake/a/.":               "error",
		"s3://arn:aws:s3:eu:1:lake/a": "error",
	} {
		bucket, prefix, ok, err := ParseS3(out)
		got := fmt.Sprintf("%s|%s|%v", bucket, prefix, ok)
		if err != nil && ok {
			got = "error"
		}
		if got != want {
			t.Errorf("%s: %s, %v; want %s", out, got, err, want)
		}
	}
}

func long(n int) string { return strings.Repeat("a", n) }
