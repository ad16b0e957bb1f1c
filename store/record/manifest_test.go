package record

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// The manifest that is written part by part is the one that is encoded at once.
func TestManifestPartByPart(t *testing.T) {
	for _, parts := range []int{0, 1, 3} {
		d, db := withParts(t, parts)
		if err := d.WriteManifest(db); err != nil {
			t.Fatal(err)
		}
		m, err := db.Manifest()
		if err != nil || len(m.Parts) != parts {
			t.Fatalf("%d parts: %v", len(m.Parts), err)
		}
		want, err := json.MarshalIndent(m, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(d.JobFile(m.Job, ".manifest.json"))
		if err != nil || string(got) != string(want)+"\n" {
			t.Errorf("%d parts: %v\n%s\nwant\n%s", parts, err, got, want)
		}
	}
}

// BenchmarkWriteManifest writes the manifest of a job with 7,000 parts.
func BenchmarkWriteManifest(b *testing.B) {
	d, db := withParts(b, 7000)
	b.ReportAllocs()
	for b.Loop() {
		if err := d.WriteManifest(db); err != nil {
			b.Fatal(err)
		}
	}
}

// withParts returns the database of a job with so many published parts.
func withParts(t testing.TB, parts int) (*Dir, *Database) {
	t.Helper()
	d := &Dir{Path: t.TempDir()}
	if err := os.Mkdir(d.JobsPath(), 0o777); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.Path, "a.db")
	epoch := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	plan := Plan{ID: "nullify-1", Name: `"parts": null`, Start: epoch, End: epoch.Add(time.Hour), Settings: json.RawMessage(`{}`)}
	if err := CreateDatabase(path, plan, nil, nil); err != nil {
		t.Fatal(err)
	}
	db, err := OpenForWriting(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	err = db.Update(func(tx *bolt.Tx) error {
		for i := range parts {
			p := Part{Name: fmt.Sprintf("date=2026-11-20/night-%06d.parquet", i), Segment: uint64(i), Date: "2026-11-20", Rows: 1, First: epoch, Last: epoch, SHA256: fmt.Sprintf("%064x", i)}
			if err := PutJSON(tx.Bucket(BucketParts), []byte(p.Name), p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return d, db
}
