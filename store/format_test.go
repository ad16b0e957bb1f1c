package store

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cwharvest/store/check"
	"cwharvest/store/encode"
	"cwharvest/store/record"
)

// Every operation refuses a job of an older or a newer format, with a hint, and
// changes no file.
func TestOtherFormatsAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		version int
		make    func(f *fixture)
	}{
		"written by format 1": {1, func(f *fixture) { f.unpackSchema1() }},
		"format 2":            {2, func(f *fixture) { f.writeFormat(2) }},
		"a newer one":         {record.SchemaVersion + 1, func(f *fixture) { f.writeFormat(record.SchemaVersion + 1) }},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 5)
			c.make(f)
			before := readTree(t, f.path)
			for operation, do := range map[string]func() error{
				"attempt": func() error { return f.attempt(true) },
				"redo":    func() error { return f.beginRedo(testTargets[0]) },
				"jobs":    func() error { _, err := record.ReadJobs(f.path); return err },
				"status":  func() error { _, err := record.ReadStatus(f.path); return err },
				"verify":  func() error { _, err := check.Verify(context.Background(), f.path, nil, true); return err },
				"export": func() error {
					_, err := ExportParts(context.Background(), f.path, nil, Export{Out: t.TempDir(), Format: encode.Format{Name: "csv"}})
					return err
				},
				"repair": func() error { _, err := check.Repair(context.Background(), f.path, nil, false); return err },
			} {
				err := do()
				var other *record.FormatError
				if !errors.As(err, &other) || other.Format != c.version || other.Hint() == "" {
					t.Errorf("%s: %v", operation, err)
				}
			}
			for path, text := range readTree(t, f.path) {
				if before[path] != text {
					t.Errorf("%s was changed", path)
				}
			}
		})
	}
}

// A damaged job beside one of another format stays as it is, too.
func TestRepairRefusesBeforeItChanges(t *testing.T) {
	f := newFixture(t, 5)
	f.writeFormat(2)
	damaged := filepath.Join(f.path, "jobs", "a-2026-11-18-000000.db")
	if err := os.WriteFile(damaged, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := readTree(t, f.path)
	if repaired, err := check.Repair(context.Background(), f.path, nil, false); !errors.As(err, new(*record.FormatError)) || len(repaired) > 0 {
		t.Errorf("%+v, %v", repaired, err)
	}
	if after := readTree(t, f.path); !maps.Equal(before, after) {
		t.Error("a file was changed")
	}
}

// writeFormat finishes a job and gives its database another format's number.
func (f *fixture) writeFormat(version int) {
	f.Helper()
	if err := f.attempt(false); err != nil {
		f.Fatal(err)
	}
	if err := setVersion(f.database(), version); err != nil {
		f.Fatal(err)
	}
}

// unpackSchema1 unpacks an open job that a program of format 1 wrote.
func (f *fixture) unpackSchema1() {
	f.Helper()
	files, err := filepath.Glob("testdata/schema1/jobs/*")
	if err != nil || len(files) != 2 {
		f.Fatal(files, err)
	}
	if err := os.Mkdir(filepath.Join(f.path, "jobs"), 0o777); err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		if err := unpack(name, filepath.Join(f.path, "jobs", strings.TrimSuffix(filepath.Base(name), ".gz"))); err != nil {
			f.Fatal(err)
		}
	}
}

func unpack(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	var r io.Reader = in
	if strings.HasSuffix(from, ".gz") {
		if r, err = gzip.NewReader(in); err != nil {
			return err
		}
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

// readTree returns the files below a directory, except for its lock.
func readTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "lock" {
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
