package place

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"cwharvest/store/place/s3test"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const object = "date=2026-01-02/job1-0001.parquet"

// publishRetrying publishes again while the error is transient.
func publishRetrying(t *testing.T, p Place, sum string) error {
	var err error
	for range 5 {
		if err = p.Publish(t.Context(), object, sum); !Transient(err) {
			return err
		}
	}
	return err
}

// TestPublishSurvives fails each step of both kinds of upload, before and after it is
// done.
func TestPublishSurvives(t *testing.T) {
	steps := map[string]struct {
		match string
		part  int64
	}{
		"put":      {"^PUT ", 64 << 20},
		"create":   {"^POST .*uploads", 40_000},
		"part":     {"^PUT .*partNumber=2", 40_000},
		"complete": {"^POST .*uploadId", 40_000},
	}
	faults := map[string]s3test.Fault{
		"503":  {Status: 503, Code: "SlowDown", Count: 2},
		"500":  {Status: 500, Code: "InternalError", Count: 1},
		"409":  {Status: 409, Code: "ConditionalRequestConflict", Count: 1},
		"slow": {Status: 400, Code: "RequestTimeout", Count: 1},
		"cut":  {Cut: 100, Count: 1},
		"lost": {Lost: true, Count: 1},
	}
	for step, s := range steps {
		p, server := startS3(t)
		p.part = s.part
		for name, fault := range faults {
			t.Run(step+" "+name, func(t *testing.T) {
				content := random(100_000)
				temporary := mustMake(t, p, object, content)
				fault.Match = s.match
				server.Fault(fault)
				if err := p.Publish(t.Context(), object, hexSum(content)); err != nil && !Transient(err) {
					t.Fatalf("first: %v", err)
				}
				if err := publishRetrying(t, p, hexSum(content)); err != nil {
					t.Fatal(err)
				}
				readBack(t, p, object, content)
				if _, err := os.Stat(temporary); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the temporary file is there: %v", err)
				}
				if err := p.Sweep(t.Context(), "job1"); err != nil {
					t.Error(err)
				}
				if n := uploads(t, p); n != 0 {
					t.Errorf("%d uploads are left", n)
				}
				if err := p.Remove(t.Context(), object); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func uploads(t *testing.T, p *S3) int {
	t.Helper()
	out, err := p.client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &p.bucket})
	if err != nil {
		t.Fatal(err)
	}
	return len(out.Uploads)
}

func TestCutUploadLeavesNothing(t *testing.T) {
	for name, part := range map[string]int64{"whole": 64 << 20, "parts": 40_000} {
		t.Run(name, func(t *testing.T) {
			p, server := startS3(t)
			p.part = part
			content := random(100_000)
			temporary := mustMake(t, p, object, content)
			server.Fault(s3test.Fault{Match: "^PUT ", Cut: 10_000, Count: -1})
			err := p.Publish(t.Context(), object, hexSum(content))
			if !Transient(err) {
				t.Fatalf("not transient: %v", err)
			}
			server.Fault(s3test.Fault{})
			if names, err := p.List(t.Context(), "date=*/*"); err != nil || len(names) != 0 {
				t.Errorf("visible: %q, %v", names, err)
			}
			if n := uploads(t, p); n != 0 {
				t.Errorf("%d uploads were not aborted", n)
			}
			if _, err := os.Stat(temporary); err != nil {
				t.Errorf("the temporary file is gone: %v", err)
			}
		})
	}
}

func TestCancelledUploadIsAborted(t *testing.T) {
	p, _ := startS3(t)
	p.part = 40_000
	content := random(100_000)
	mustMake(t, p, object, content)
	ctx, cancel := context.WithCancel(t.Context())
	p.client = s3.New(p.client.Options(), func(o *s3.Options) {
		o.HTTPClient = cancelAt{o.HTTPClient, "partNumber=2", cancel}
	})
	err := p.Publish(ctx, object, hexSum(content))
	if !errors.Is(err, context.Canceled) || Transient(err) {
		t.Errorf("cancelled: %v", err)
	}
	if n := uploads(t, p); n != 0 {
		t.Errorf("%d uploads were not aborted", n)
	}
}

type cancelAt struct {
	s3.HTTPClient
	query  string
	cancel func()
}

func (c cancelAt) Do(r *http.Request) (*http.Response, error) {
	if strings.Contains(r.URL.RawQuery, c.query) {
		c.cancel()
	}
	return c.HTTPClient.Do(r)
}

func TestChangedFileIsNotPublished(t *testing.T) {
	for name, part := range map[string]int64{"whole": 64 << 20, "parts": 40_000} {
		p, _ := startS3(t)
		p.part = part
		mustMake(t, p, object, random(100_000))
		if err := p.Publish(t.Context(), object, hexSum([]byte("before"))); err == nil || Transient(err) {
			t.Errorf("%s: %v", name, err)
		}
		if n := uploads(t, p); n != 0 {
			t.Errorf("%s: %d uploads were not aborted", name, n)
		}
	}
}

func TestSweep(t *testing.T) {
	p, _ := startS3(t)
	one := int32(1)
	p.page = &one
	for _, key := range []string{
		"lake/metrics/date=2026-01-01/job1-1", "lake/metrics/date=2026-01-01/job1-2", "lake/instances/date=2026-01-01/job1",
		"lake/metrics/date=2026-01-01/job2-1", "lake/job1", // of other jobs
	} {
		if _, err := p.client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &p.bucket, Key: &key}); err != nil {
			t.Fatal(err)
		}
	}
	mine, other := mustMake(t, p, object, nil), mustMake(t, p, "date=2026-01-02/job2", nil)
	if err := p.Sweep(t.Context(), "job1"); err != nil {
		t.Fatal(err)
	}
	if n := uploads(t, p); n != 2 {
		t.Errorf("%d uploads are left, want 2", n)
	}
	if _, err := os.Stat(mine); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("temporary file: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("another job's temporary file: %v", err)
	}
}

func TestForeignObject(t *testing.T) {
	p, _ := startS3(t)
	content := "uploaded by hand"
	put := func(body string) {
		_, err := p.client.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: &p.bucket, Key: aws.String(p.key(object)), Body: strings.NewReader(body),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	put(content)
	if sum, size, err := p.Sum(t.Context(), object, false); sum != hexSum([]byte(content)) || size != int64(len(content)) || err != nil {
		t.Errorf("sum without metadata: %s, %d, %v", sum, size, err)
	}
	r, err := p.Open(t.Context(), object)
	if err != nil {
		t.Fatal(err)
	}
	put("another content")
	if _, err := r.ReadAt(make([]byte, 5), 0); code(err) != "PreconditionFailed" || Transient(err) {
		t.Errorf("read of a replaced object: %v", err)
	}
}

func TestReadAheadSavesRequests(t *testing.T) {
	p, server := startS3(t)
	content := random(100_000)
	mustMake(t, p, object, content)
	mustPublish(t, p, object, hexSum(content))
	before := server.Stats()["GET"]
	r, err := p.Open(t.Context(), object)
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(0); at < r.Size(); at += 1000 {
		if _, err := r.ReadAt(make([]byte, 1000), at); err != nil {
			t.Fatal(err)
		}
	}
	if n := server.Stats()["GET"] - before; n != 2 {
		t.Errorf("%d requests, want one for the size and one for the content", n)
	}
}

// TestIncompleteErrorResponse reads half of a response that reports a missing object.
func TestIncompleteErrorResponse(t *testing.T) {
	p, server := startS3(t)
	server.Fault(s3test.Fault{Match: "^GET ", Cut: 60, Count: 1})
	if _, _, err := p.Sum(t.Context(), object, true); !Transient(err) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestIncompleteResponse(t *testing.T) {
	p, server := startS3(t)
	content := random(100_000)
	mustMake(t, p, object, content)
	mustPublish(t, p, object, hexSum(content))
	r, err := p.Open(t.Context(), object)
	if err != nil {
		t.Fatal(err)
	}
	server.Fault(s3test.Fault{Match: "^GET ", Cut: 1000, Count: 2})
	if _, err := r.ReadAt(make([]byte, 5000), 0); err == nil || err == io.EOF || !Transient(err) {
		t.Errorf("read of an incomplete response: %v", err)
	}
	if _, _, err := p.Sum(t.Context(), object, true); !Transient(err) {
		t.Errorf("sum of an incomplete response: %v", err)
	}
	readBack(t, p, object, content)
}

func TestDeadline(t *testing.T) {
	p, _ := startS3(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if _, _, err := p.Sum(ctx, object, false); !Transient(err) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestPartLength(t *testing.T) {
	p := NewS3(nil, "lake", "", "", nil)
	for size, want := range map[int64]int64{
		64<<20 + 1:       64 << 20,
		64 << 20 * 10000: 64 << 20,
		64<<20*10000 + 1: 64<<20 + 1,
		5 << 40:          (5<<40 + 9999) / 10000,
	} {
		if got := p.partLength(size); got != want {
			t.Errorf("%d: parts of %d, want %d", size, got, want)
		}
	}
}
