package store

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"cwharvest/store/check"
	"cwharvest/store/claim"
	"cwharvest/store/durable"
	"cwharvest/store/encode"
	"cwharvest/store/place"
	"cwharvest/store/place/s3test"
	"cwharvest/store/record"
)

// breakSometimes has one of ten durable steps fail, or report a failure although
// it was done. The builder of parts takes steps beside the test.
func (f *fixture) breakSometimes() {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(f.rng.Uint64(), 1))
	f.fault = func(durable.Step, bool) error {
		mu.Lock()
		defer mu.Unlock()
		if rng.IntN(20) == 0 {
			return errInjected
		}
		return nil
	}
}

// In every format, attempts that end anywhere and durable steps that fail at
// random leave every row once.
func TestEveryRowOnceInEveryFormat(t *testing.T) {
	for i, format := range outputFormats {
		t.Run(format.Suffix(), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, 40+uint64(i))
			f.plan.Format, f.plan.Compression = format.Name, format.Compression
			f.goOn(6)
			f.holds(f.plan.Out, format)
			f.verified()
		})
	}
}

// goOn has so many attempts that break, and a last one that does not.
func (f *fixture) goOn(attempts int) {
	f.Helper()
	f.breakSometimes()
	for range attempts {
		if err := f.attempt(true); err != nil && !errors.Is(err, errInjected) {
			f.Fatal(err)
		}
	}
	f.fault = nil
	if err := f.attempt(false); err != nil {
		f.Fatal(err)
	}
}

// verified has verify read every row and find nothing.
func (f *fixture) verified() {
	f.Helper()
	report, err := check.Verify(context.Background(), f.path, f.remote, true)
	if err != nil || len(report.Problems) > 0 || report.Rows != int64(len(f.want)) {
		f.Fatalf("verify: %v, %+v, want %d rows", err, report, len(f.want))
	}
}

// inBucket has the fixture's output lie in an S3.
func (f *fixture) inBucket(s *s3test.Server) {
	f.plan.Out = "s3://bucket/harvest/data"
	f.remote = func(out, temporary string, files *durable.Files) (place.Place, error) {
		_, prefix, _ := strings.Cut(strings.TrimPrefix(out, "s3://"), "/")
		return place.NewS3(s.Client(), "bucket", prefix, temporary, files), nil
	}
}

func (f *fixture) bucketRows(format encode.Format) map[string]string {
	f.Helper()
	at, err := f.remote(f.plan.Out, f.TempDir(), &f.files)
	if err != nil {
		f.Fatal(err)
	}
	return f.published(at, format)
}

// TestEveryRowOnceInABucket proves that a bucket also holds every row once,
// whatever breaks here, and whether the service does not respond, responds with an
// error, or responds with an error after doing the work.
func TestEveryRowOnceInABucket(t *testing.T) {
	for name, fault := range map[string]s3test.Fault{
		"calm":           {},
		"throttled":      {Match: "PUT .*date=", Count: 3, Status: http.StatusServiceUnavailable, Code: "SlowDown"},
		"lost responses": {Match: "PUT .*", Count: 3, Lost: true},
		"cut requests":   {Match: "PUT .*date=", Count: 2, Cut: 1000},
		"broken reads":   {Match: "GET .*", Count: 2, Status: http.StatusInternalServerError, Code: "InternalError"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, s := newFixture(t, 50), s3test.Start(t, "bucket")
			f.inBucket(s)
			s.Fault(fault)
			f.goOn(3)
			f.compareRows(f.bucketRows(f.plan.OutputFormat()))
			f.verified()
		})
	}
}

// A redo in a bucket replaces its target's rows, and an export of it has the new
// ones.
func TestRedoInABucket(t *testing.T) {
	f, s := newFixture(t, 51), s3test.Start(t, "bucket")
	f.inBucket(s)
	if err := f.attempt(false); err != nil {
		t.Fatal(err)
	}
	if err := f.beginRedo(testTargets[0]); err != nil {
		t.Fatal(err)
	}
	f.change(testTargets[0])
	s.Fault(s3test.Fault{Match: "PUT .*", Count: 2, Lost: true})
	f.goOn(2)
	f.compareRows(f.bucketRows(f.plan.OutputFormat()))
	f.verified()
	out, format := t.TempDir(), encode.Format{Name: "parquet"}
	if _, err := f.export(out, format); err != nil {
		t.Fatal(err)
	}
	f.holds(out, format)
}

// A part in a bucket that was replaced or removed is found, and repair has its
// rows fetched again.
func TestRepairOfABucket(t *testing.T) {
	for name, replace := range map[string]bool{"removed": false, "replaced": true} {
		t.Run(name, func(t *testing.T) {
			f, s := newFixture(t, 52), s3test.Start(t, "bucket")
			f.inBucket(s)
			if err := f.attempt(false); err != nil {
				t.Fatal(err)
			}
			bad := f.manifest().Parts[0]
			at, err := f.remote(f.plan.Out, t.TempDir(), &f.files)
			if err == nil {
				err = at.Remove(context.Background(), bad.Name)
			}
			if err == nil && replace {
				err = putObject(at, &f.files, bad.Name, "other bytes")
			}
			if err != nil {
				t.Fatal(err)
			}
			report, err := check.Verify(context.Background(), f.path, f.remote, false)
			if err != nil || len(report.Damaged) != 1 || report.Damaged[0] != bad.Name {
				t.Fatalf("%v, %+v", err, report)
			}
			if _, err := check.Repair(context.Background(), f.path, f.remote, false); err != nil {
				t.Fatal(err)
			}
			if err := f.attempt(false); err != nil {
				t.Fatal(err)
			}
			f.compareRows(f.bucketRows(f.plan.OutputFormat()))
			f.verified()
		})
	}
}

func putObject(at place.Place, files *durable.Files, name, content string) error {
	part := record.Part{Name: name}
	err := build(at, files, &part, func(w io.Writer) error {
		_, err := io.WriteString(w, content)
		return err
	})
	if err != nil {
		return err
	}
	return at.Publish(context.Background(), name, part.SHA256)
}

// An empty object in the place of a claim keeps every directory out. The error says
// how to go on.
func TestEmptyClaimInABucket(t *testing.T) {
	f, s := newFixture(t, 53), s3test.Start(t, "bucket")
	f.inBucket(s)
	at, err := f.remote(f.plan.Out, f.TempDir(), &f.files)
	if err != nil {
		t.Fatal(err)
	}
	if err := at.Create(t.Context(), claim.Name, nil); err != nil {
		t.Fatal(err)
	}
	var bad *claim.BadClaimError
	if err := f.attempt(false); !errors.As(err, &bad) || !strings.HasSuffix(bad.Error(), claim.Name+" is damaged: it is empty") {
		t.Errorf("error %v", err)
	}
}
