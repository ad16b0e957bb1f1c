package place

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"cwharvest/store/durable"
	"cwharvest/store/place/s3test"
)

// TestConformance checks that both kinds of place keep the promises of Place.
func TestConformance(t *testing.T) {
	t.Run("local", func(t *testing.T) { conform(t, NewLocal(t.TempDir()+"/lake/metrics", &durable.Files{})) })
	t.Run("s3", func(t *testing.T) {
		p, _ := startS3(t)
		conform(t, p)
	})
	t.Run("s3 in parts and pages", func(t *testing.T) {
		p, _ := startS3(t)
		two := int32(2)
		p.part, p.window, p.page = 40_000, 5_000, &two
		conform(t, p)
	})
	t.Run("s3 root", func(t *testing.T) {
		s := s3test.Start(t, "lake")
		conform(t, NewS3(s.Client(), "lake", "", t.TempDir(), &durable.Files{}))
	})
}

func startS3(t *testing.T) (*S3, *s3test.Server) {
	s := s3test.Start(t, "lake")
	return NewS3(s.Client(), "lake", "lake/metrics", t.TempDir()+"/making", &durable.Files{}), s
}

func conform(t *testing.T, p Place) {
	ctx := t.Context()
	const name = "date=2026-01-02/job1-0001.parquet"
	content := random(100_000)
	sum := hexSum(content)

	if _, _, err := p.Sum(ctx, name, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("sum of a missing object: %v", err)
	}
	if _, _, err := p.Sum(ctx, name, true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("deep sum of a missing object: %v", err)
	}
	if _, err := p.Open(ctx, name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open a missing object: %v", err)
	}
	if err := p.Remove(ctx, name); err != nil {
		t.Errorf("remove a missing object: %v", err)
	}
	if names, err := p.List(ctx, "date=*/job1*"); err != nil || len(names) > 0 {
		t.Errorf("list an empty place: %q, %v", names, err)
	}

	conformCreate(t, p)
	temporary := mustMake(t, p, name, content)
	mustPublish(t, p, name, sum)
	if _, err := os.Stat(temporary); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("temporary file after publishing: %v", err)
	}
	if err := p.Publish(ctx, name, sum); err != nil {
		t.Errorf("publish again, without the temporary file: %v", err)
	}
	mustMake(t, p, name, content)
	if err := p.Publish(ctx, name, sum); err != nil {
		t.Errorf("publish again, with the temporary file: %v", err)
	}
	other := random(100_000)
	mustMake(t, p, name, other)
	if err := p.Publish(ctx, name, hexSum(other)); !errors.Is(err, ErrExists) || Transient(err) {
		t.Errorf("publish other content: %v", err)
	}

	for _, deep := range []bool{false, true} {
		if got, size, err := p.Sum(ctx, name, deep); got != sum || size != 100_000 || err != nil {
			t.Errorf("sum (deep %v): %s, %d, %v", deep, got, size, err)
		}
	}
	readBack(t, p, name, content)
	listBack(t, p)
	empty(t, p)

	if err := p.Sweep(ctx, "job1"); err != nil {
		t.Errorf("sweep: %v", err)
	}
	if err := p.Remove(ctx, name); err != nil {
		t.Errorf("remove: %v", err)
	}
	if _, _, err := p.Sum(ctx, name, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("sum after remove: %v", err)
	}
}

// conformCreate has several callers create one object.
func conformCreate(t *testing.T, p Place) {
	t.Helper()
	const name = ".claim.json"
	errs := make([]error, 5)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { errs[i] = p.Create(t.Context(), name, []byte{'a' + byte(i)}) })
	}
	all.Wait()
	object, err := p.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.NewSectionReader(object, 0, object.Size()))
	if err := errors.Join(err, object.Close()); err != nil || len(got) != 1 {
		t.Fatalf("created %q, %v", got, err)
	}
	for i, err := range errs {
		if winner := got[0] == 'a'+byte(i); winner && err != nil || !winner && !errors.Is(err, fs.ErrExist) {
			t.Errorf("create %d beside others (%q won): %v", i, got, err)
		}
	}
	if err := p.Create(t.Context(), "../../outside", nil); err == nil {
		t.Error("created an object outside of the place")
	}
	if err := p.Remove(t.Context(), name); err != nil {
		t.Errorf("remove: %v", err)
	}
}

func readBack(t *testing.T, p Place, name string, content []byte) {
	t.Helper()
	object, err := p.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if object.Size() != int64(len(content)) {
		t.Errorf("size %d", object.Size())
	}
	got, err := io.ReadAll(io.NewSectionReader(object, 0, object.Size()))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("read all: %d bytes, %v", len(got), err)
	}
	for range 50 {
		at, want := rand.IntN(len(content)), make([]byte, rand.IntN(20_000))
		n, err := object.ReadAt(want, int64(at))
		end := min(at+len(want), len(content))
		if !bytes.Equal(want[:n], content[at:end]) || (err != nil) != (at+len(want) > len(content)) || (err != nil && err != io.EOF) {
			t.Fatalf("read %d at %d: %d, %v", len(want), at, n, err)
		}
	}
	if n, err := object.ReadAt(make([]byte, 1), object.Size()); n != 0 || err != io.EOF {
		t.Errorf("read at the end: %d, %v", n, err)
	}
	if err := object.Close(); err != nil {
		t.Error(err)
	}
}

func listBack(t *testing.T, p Place) {
	t.Helper()
	names := []string{
		"../instances/date=2026-01-01/job1.parquet", "../instances/date=2026-01-02/job1.parquet", "../instances/date=2026-01-02/job2.parquet",
		"date=2026-01-01/job1-0001.parquet", "date=2026-01-03/job1-0002.parquet", "date=2026-01-03/job2-[1].parquet",
	}
	for _, name := range names {
		mustMake(t, p, name, []byte(name))
		mustPublish(t, p, name, hexSum([]byte(name)))
	}
	for pattern, want := range map[string][]string{
		"../instances/date=*/job1*": names[:2],
		"date=*/job1*":              {names[3], "date=2026-01-02/job1-0001.parquet", names[4]},
		"date=2026-01-03/*":         names[4:],
		`date=*/job2-\[1\].parquet`: names[5:],
		"date=2026-01-01/job1-0001": nil,
		"*.parquet":                 nil,
	} {
		if got, err := p.List(t.Context(), pattern); err != nil || !slices.Equal(got, want) {
			t.Errorf("list %s: %q, %v; want %q", pattern, got, err, want)
		}
	}
	if _, err := p.List(t.Context(), "date=[/x"); err == nil {
		t.Error("listed a malformed pattern")
	}
}

func empty(t *testing.T, p Place) {
	t.Helper()
	mustMake(t, p, "date=2026-01-04/empty", nil)
	mustPublish(t, p, "date=2026-01-04/empty", hexSum(nil))
	if sum, size, err := p.Sum(t.Context(), "date=2026-01-04/empty", false); sum != hexSum(nil) || size != 0 || err != nil {
		t.Errorf("sum of an empty object: %s, %d, %v", sum, size, err)
	}
}

func mustMake(t *testing.T, p Place, name string, content []byte) string {
	t.Helper()
	temporary, err := p.Temporary(name)
	if err == nil {
		err = os.WriteFile(temporary, content, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	return temporary
}

func mustPublish(t *testing.T, p Place, name, sum string) {
	t.Helper()
	if err := p.Publish(context.Background(), name, sum); err != nil {
		t.Fatalf("publish %s: %v", name, err)
	}
}

func random(size int) []byte {
	p := make([]byte, size)
	for i := range p {
		p[i] = byte(rand.Uint32())
	}
	return p
}

func hexSum(p []byte) string {
	sum := sha256.Sum256(p)
	return hex.EncodeToString(sum[:])
}
