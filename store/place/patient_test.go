package place

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"cwharvest/store/durable"
	"cwharvest/store/place/s3test"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// A patient place keeps the promises of Place, and repeats each read through faults.
func TestPatience(t *testing.T) {
	raw, server := startS3(t)
	conform(t, Patient(raw, time.Minute))
	p := Patient(raw, 10*time.Second)
	content := random(100_000)
	mustMake(t, p, object, content)
	mustPublish(t, p, object, hexSum(content))
	for name, fault := range map[string]s3test.Fault{
		"503": {Status: 503, Code: "SlowDown", Count: 2}, "reset": {Lost: true, Count: 2}, "cut": {Cut: 50_000, Count: 2},
	} {
		for read, do := range map[string]func() error{
			"sum":  func() error { _, _, err := p.Sum(t.Context(), object, true); return err },
			"stat": func() error { _, _, err := p.Sum(t.Context(), object, false); return err },
			"list": func() error { _, err := p.List(t.Context(), "date=*/*"); return err },
		} {
			server.Fault(fault)
			if err := do(); err != nil {
				t.Errorf("%s, %s: %v", name, read, err)
			}
		}
	}
	server.Fault(s3test.Fault{Status: 503, Code: "SlowDown", Count: -1})
	_, _, err := Patient(raw, 0).Sum(t.Context(), object, true)
	var away interface{ Unavailable() bool }
	if !errors.As(err, &away) || !away.Unavailable() {
		t.Errorf("a lasting outage: %v", err)
	}
}

// A read that S3 does not answer, or stops answering, ends and can be repeated.
func TestStalledReads(t *testing.T) {
	var calls atomic.Int32
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		switch calls.Add(1) {
		case 1: // no response
			<-hang
		case 2: // a part of the body
			io.WriteString(w, "con")
			w.(http.Flusher).Flush()
			<-hang
		default:
			io.WriteString(w, "whole")
		}
	}))
	defer server.Close()
	defer close(hang)
	client := s3.New(s3.Options{BaseEndpoint: &server.URL, Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""), Retryer: aws.NopRetryer{}})
	p := NewS3(client, "lake", "", t.TempDir(), &durable.Files{})
	p.stall = 50 * time.Millisecond
	for range 2 {
		_, _, err := p.Sum(t.Context(), object, true)
		if !Transient(err) || errors.As(err, new(*net.OpError)) {
			t.Fatalf("stalled: %v", err)
		}
	}
	if sum, size, err := p.Sum(t.Context(), object, true); err != nil || size != 5 || sum != hexSum([]byte("whole")) {
		t.Errorf("sum %s of %d bytes, %v", sum, size, err)
	}
}
