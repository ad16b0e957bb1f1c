package place

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"

	"cwharvest/store/durable"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// oneResponse is a service that sends the same response to every call.
type oneResponse struct {
	status          int
	contentRange    string
	body            string
	broken          error // after the body
	calls, deletion int
	temporary       string // directory
}

// mostCalls is more than any operation of the fuzz target may cause.
const mostCalls = 20

func (a *oneResponse) Do(r *http.Request) (*http.Response, error) {
	if a.calls++; a.calls > mostCalls {
		return nil, context.DeadlineExceeded // as if the call had reached its deadline
	}
	if r.Method == http.MethodDelete {
		a.deletion++
		return &http.Response{StatusCode: http.StatusNoContent, Request: r, Body: http.NoBody, Header: http.Header{}}, nil
	}
	body := io.Reader(strings.NewReader(a.body))
	if a.broken != nil {
		body = io.MultiReader(body, brokenReader{a.broken})
	}
	header := http.Header{"Content-Type": {"application/xml"}, "X-Amz-Meta-Sha256": {hexSum([]byte(a.body))}}
	if a.contentRange != "" {
		header.Set("Content-Range", a.contentRange)
	} else if a.broken == nil {
		header.Set("Content-Length", fmt.Sprint(len(a.body)))
	}
	return &http.Response{StatusCode: a.status, Request: r, ContentLength: -1, Body: io.NopCloser(body), Header: header}, nil
}

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

func (a *oneResponse) place() *S3 {
	client := s3.New(s3.Options{
		Region: "us-east-1", HTTPClient: a, Retryer: aws.NopRetryer{}, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("AKIABASEBASEBASEBASE", "s", ""),
	})
	return NewS3(client, "lake", "lake/metrics", a.temporary, &durable.Files{})
}

// FuzzS3 checks that any response gives matching names, correct sums and bytes, or an
// error, and that an incomplete response gives no other result than the whole one.
func FuzzS3(f *testing.F) {
	const list = `<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>lake</Name><Prefix>lake/metrics/date=</Prefix><KeyCount>2</KeyCount><MaxKeys>1000</MaxKeys>` +
		`<IsTruncated>false</IsTruncated><Contents><Key>lake/metrics/date=2026-01-02/job1-0001.parquet</Key><Size>5</Size></Contents><Contents><Key>lake/metrics/date=2026-01-02/_job1</Key></Contents></ListBucketResult>`
	const uploads = `<ListMultipartUploadsResult><Bucket>lake</Bucket><IsTruncated>false</IsTruncated><Upload><Key>lake/metrics/date=2026-01-02/job1-0001.parquet</Key><UploadId>u</UploadId></Upload>` +
		`<Upload><Key>lake/metrics/other</Key><UploadId>v</UploadId></Upload></ListMultipartUploadsResult>`
	for _, body := range []string{list, uploads, "PAR1", "", "<html><body>Please log in to this network</body></html>", list[:200],
		strings.Replace(list, "<Name>lake</Name>", "", 1), strings.Replace(list, "<Key>lake/metrics/", "<Key>", 1),
		strings.Replace(list, "<IsTruncated>false</IsTruncated>", "<IsTruncated>true</IsTruncated><NextContinuationToken>again</NextContinuationToken>", 1),
		strings.Replace(uploads, "<IsTruncated>false</IsTruncated>", "<IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>", 1),
		strings.Replace(uploads, "<UploadId>u</UploadId>", "", 1)} {
		f.Add(uint16(200), "", body, uint16(len(body)/2))
	}
	for _, contentRange := range []string{"bytes 0-0/5", "bytes 2-4/5", "bytes 0-0/-5", "bytes 0-0/*", "bytes 0-0/9223372036854775807", "5"} {
		f.Add(uint16(206), contentRange, "PAR1x", uint16(3))
	}
	for _, code := range []string{"NoSuchKey", "NoSuchBucket", "SlowDown", "AccessDenied", "InvalidRange", "PermanentRedirect"} {
		f.Add(uint16(404), "", "<Error><Code>"+code+"</Code><Message>m</Message></Error>", uint16(0))
	}
	f.Add(uint16(503), "", "<html>", uint16(0))
	temporary := f.TempDir()
	f.Fuzz(func(t *testing.T, status uint16, contentRange, body string, cut uint16) {
		service := &oneResponse{status: int(status), contentRange: contentRange, body: body, temporary: temporary}
		names, listErr := checkList(t, service)
		sum := checkSum(t, service)
		checkRead(t, service)
		deletions := checkSweep(t, service)
		service.broken = errors.New("connection reset")
		service.body = body[:min(int(cut), len(body))]
		if part, err := checkList(t, service); err == nil && (listErr != nil || !slices.Equal(part, names)) {
			t.Errorf("an incomplete listing gives %q, the whole one %q, %v", part, names, listErr)
		}
		if part := checkSum(t, service); part != "" && part != sum {
			t.Errorf("an incomplete object has the sum %s, the whole one %s", part, sum)
		}
		checkRead(t, service)
		if n := checkSweep(t, service); n > deletions {
			t.Errorf("%d uploads aborted for an incomplete listing, %d for the whole one", n, deletions)
		}
	})
}

func checkResult(t *testing.T, service *oneResponse, err error) {
	t.Helper()
	if service.calls > mostCalls {
		t.Fatalf("%d calls: %v", service.calls, err)
	}
	service.calls = 0
	if err == nil {
		return
	}
	if Transient(err) && errors.Is(err, ErrExists) || strings.TrimSpace(err.Error()) == "" {
		t.Errorf("error %q", err)
	}
	_ = hintOf(err) // must not panic; it may be empty
}

func checkList(t *testing.T, service *oneResponse) ([]string, error) {
	t.Helper()
	const pattern = "date=*/job1*"
	names, err := service.place().List(t.Context(), pattern)
	checkResult(t, service, err)
	for _, name := range names {
		if ok, _ := path.Match(pattern, name); !ok || err != nil || !strings.Contains(service.body, "job1") {
			t.Errorf("listed %q, error %v", name, err)
		}
	}
	if err == nil && !strings.Contains(strings.ToLower(service.body), "name") {
		t.Error("accepted a listing that does not name the bucket")
	}
	return names, err
}

func checkSum(t *testing.T, service *oneResponse) string {
	t.Helper()
	p := service.place()
	_, size, err := p.Sum(t.Context(), object, false)
	checkResult(t, service, err)
	if size < 0 {
		t.Errorf("size %d", size)
	}
	sum, size, err := p.Sum(t.Context(), object, true)
	checkResult(t, service, err)
	if err == nil && (sum != hexSum([]byte(service.body)) || size != int64(len(service.body)) || service.broken != nil) {
		t.Errorf("sum %s of %d bytes, error %v", sum, size, service.broken)
	}
	return sum
}

// checkRead checks that a read at an offset returns the bytes of the response at that
// offset.
func checkRead(t *testing.T, service *oneResponse) {
	t.Helper()
	const off = 2
	at, err := service.place().Open(t.Context(), object)
	checkResult(t, service, err)
	if err != nil {
		return
	}
	p := make([]byte, 3)
	n, err := at.ReadAt(p, off)
	checkResult(t, service, err)
	first, _, _ := strings.Cut(strings.TrimPrefix(service.contentRange, "bytes "), "-")
	want := service.body // which begins elsewhere if the server ignores ranges
	if at.Size() < 0 || n > 0 && (first != fmt.Sprint(off) || !strings.HasPrefix(want, string(p[:n]))) {
		t.Errorf("read %q at %d of %d, the response was %q as %q", p[:n], off, at.Size(), want, service.contentRange)
	}
	if err := at.Close(); err != nil {
		t.Error(err)
	}
}

func checkSweep(t *testing.T, service *oneResponse) int {
	t.Helper()
	service.deletion = 0
	err := service.place().Sweep(t.Context(), "job1")
	checkResult(t, service, err)
	if service.deletion > 0 && !strings.Contains(service.body, "job1") {
		t.Error("aborted another job's upload")
	}
	return service.deletion
}
