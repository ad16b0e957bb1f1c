package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cwharvest/store/encode"
	"cwharvest/store/place"
	"cwharvest/store/record"
)

// outputFormats are all formats of parts.
var outputFormats = []encode.Format{
	{Name: "parquet"},
	{Name: "csv"}, {Name: "csv", Compression: "gzip"}, {Name: "csv", Compression: "zstd"},
	{Name: "jsonl"}, {Name: "jsonl", Compression: "gzip"}, {Name: "jsonl", Compression: "zstd"},
}

// published returns every row of the parts in a place, by the fixture's names. A
// row that is there twice ends the test.
func (f *fixture) published(at place.Place, format encode.Format) map[string]string {
	f.Helper()
	names, err := at.List(context.Background(), "date=*/*"+format.Suffix())
	if err != nil {
		f.Fatal(err)
	}
	rows := map[string]string{}
	for _, name := range names {
		if strings.HasPrefix(filepath.Base(name), "_") {
			continue // not published
		}
		err := record.ReadRuns(context.Background(), at, format, name, func(run *encode.Run, columns []string) error {
			return addRows(rows, run, columns)
		})
		if err != nil {
			f.Fatalf("%s: %v", name, err)
		}
	}
	return rows
}

func addRows(rows map[string]string, run *encode.Run, columns []string) error {
	for i := range run.Points {
		if !run.HasRow(i) {
			continue
		}
		values := map[string]any{"average": nil, "maximum": nil, "sum": nil}
		for c, column := range columns {
			if v := run.Columns[c][i]; !math.IsNaN(v) {
				values[column] = v
			}
		}
		text, err := json.Marshal(values)
		if err != nil {
			return err
		}
		at := time.Unix(run.Start+int64(i)*run.Period, 0).UTC().Format(time.RFC3339)
		name := strings.Join([]string{run.Account, run.Region, run.Metric, run.Dimensions, at, fmt.Sprint(run.Period)}, " ")
		if _, twice := rows[name]; twice {
			return fmt.Errorf("row %s is there twice", name)
		}
		rows[name] = string(text)
	}
	return nil
}

// holds compares the rows of a directory with those wanted.
func (f *fixture) holds(dir string, format encode.Format) {
	f.Helper()
	f.compareRows(f.published(place.NewLocal(dir, &f.files), format))
}

func (f *fixture) compareRows(got map[string]string) {
	f.Helper()
	for name, values := range f.want {
		if got[name] != values {
			f.Fatalf("row %s is %q, want %s", name, got[name], values)
		}
	}
	if len(got) != len(f.want) {
		f.Fatalf("%d rows, want %d", len(got), len(f.want))
	}
}

func (f *fixture) export(out string, format encode.Format) (Exported, error) {
	return ExportParts(context.Background(), f.path, f.remote, Export{Out: out, Format: format})
}

// Whatever format a job has, its export in each format has the same rows, and a
// second export writes nothing.
func TestExportsHoldTheSameRows(t *testing.T) {
	for _, from := range []encode.Format{{Name: "parquet"}, {Name: "csv", Compression: "gzip"}, {Name: "jsonl"}} {
		t.Run(from.Suffix(), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, 21)
			f.plan.Format, f.plan.Compression = from.Name, from.Compression
			if err := f.attempt(false); err != nil {
				t.Fatal(err)
			}
			f.holds(f.plan.Out, from)
			parts := len(f.manifest().Parts)
			for _, to := range outputFormats {
				out := t.TempDir()
				done, err := f.export(out, to)
				if err != nil || done.Files != parts || done.Rows != int64(len(f.want)) || done.Kept+done.Removed != 0 {
					t.Fatalf("to %s: %+v, %v, want %d files with %d rows", to.Suffix(), done, err, parts, len(f.want))
				}
				f.holds(out, to)
				if again, err := f.export(out, to); err != nil || again.Files != 0 || again.Kept != parts {
					t.Errorf("to %s again: %+v, %v", to.Suffix(), again, err)
				}
			}
		})
	}
}

// An export of an open job has what is published, and the next one the rest.
func TestExportOfAnOpenJob(t *testing.T) {
	for seed := range uint64(4) {
		f := newFixture(t, 30+seed)
		out, format := t.TempDir(), encode.Format{Name: "csv"}
		files := 0
		for range 6 {
			if err := f.attempt(true); err != nil {
				t.Fatal(err)
			}
			done, err := f.export(out, format)
			if err != nil || done.Kept != files || done.Removed != 0 {
				t.Fatalf("seed %d: %+v, %v, %d files before", seed, done, err, files)
			}
			files += done.Files
			for name, values := range f.published(place.NewLocal(out, &f.files), format) {
				if f.want[name] != values {
					t.Fatalf("seed %d: row %s is %s", seed, name, values)
				}
			}
		}
		if err := f.attempt(false); err != nil {
			t.Fatal(err)
		}
		if _, err := f.export(out, format); err != nil {
			t.Fatal(err)
		}
		f.holds(out, format)
	}
}

// An export follows a redo: the rows of parts that were replaced leave it.
func TestExportAfterARedo(t *testing.T) {
	f := newFixture(t, 22)
	out, format := t.TempDir(), encode.Format{Name: "parquet"}
	if err := f.attempt(false); err != nil {
		t.Fatal(err)
	}
	if _, err := f.export(out, format); err != nil {
		t.Fatal(err)
	}
	if err := f.beginRedo(testTargets[1]); err != nil {
		t.Fatal(err)
	}
	old := maps.Clone(f.want)
	f.change(testTargets[1])
	if done, err := f.export(out, format); err != nil || done.Files+done.Removed != 0 {
		t.Errorf("in the midst of the redo: %+v, %v", done, err)
	}
	f.want, old = old, f.want
	f.holds(out, format)
	f.want = old
	if err := f.attempt(false); err != nil {
		t.Fatal(err)
	}
	done, err := f.export(out, format)
	if err != nil || done.Files == 0 || done.Removed == 0 {
		t.Errorf("after the redo: %+v, %v", done, err)
	}
	f.holds(out, format)
}

// TestExportRefuses proves that an export selects jobs, and refuses a selection
// that would give a reader rows twice or only half of them.
func TestExportRefuses(t *testing.T) {
	f := newFixture(t, 23)
	if err := f.attempt(false); err != nil {
		t.Fatal(err)
	}
	csv := encode.Format{Name: "csv"}
	none := Export{Out: t.TempDir(), Format: csv, Job: func(*record.Plan) bool { return false }}
	if _, err := ExportParts(context.Background(), f.path, nil, none); !errors.Is(err, record.ErrNoJob) {
		t.Errorf("no job is selected: %v", err)
	}
	if _, err := ExportParts(context.Background(), t.TempDir(), nil, Export{Out: t.TempDir(), Format: csv}); !errors.Is(err, record.ErrNoJob) {
		t.Errorf("a directory without a harvest: %v", err)
	}
	if _, err := f.export(f.plan.Out, csv); err == nil {
		t.Error("exported into its own output")
	}
	out := t.TempDir()
	if _, err := f.export(out, encode.Format{Name: "csv", Compression: "gzip"}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.export(out, csv); err == nil {
		t.Error("exported beside the same rows with another compression")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ExportParts(ctx, f.path, nil, Export{Out: t.TempDir(), Format: csv}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestExportOfADamagedPart proves that exporting a damaged part fails and publishes
// nothing of it. The parts before it stay, and the export resumes once the part is
// restored.
func TestExportOfADamagedPart(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"missing":   os.Remove,
		"cut":       func(p string) error { return os.Truncate(p, 300) },
		"too short": dropLastLine,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 24)
			if err := f.attempt(false); err != nil {
				t.Fatal(err)
			}
			parts := f.manifest().Parts
			slices.SortFunc(parts, func(a, b record.Part) int { return strings.Compare(a.Name, b.Name) })
			bad := filepath.Join(f.plan.Out, parts[len(parts)/2].Name)
			whole, err := os.ReadFile(bad)
			if err != nil {
				t.Fatal(err)
			}
			if err := harm(bad); err != nil {
				t.Fatal(err)
			}
			out, format := t.TempDir(), encode.Format{Name: "csv"}
			if done, err := f.export(out, format); err == nil || done.Files >= len(parts) {
				t.Fatalf("%+v, %v", done, err)
			}
			exported := filepath.Join(out, strings.TrimSuffix(parts[len(parts)/2].Name, ".jsonl")+".csv")
			if _, err := os.Stat(exported); err == nil {
				t.Errorf("%s was published", exported)
			}
			if err := os.WriteFile(bad, whole, 0o666); err != nil {
				t.Fatal(err)
			}
			if _, err := f.export(out, format); err != nil {
				t.Fatal(err)
			}
			f.holds(out, format)
		})
	}
}

func dropLastLine(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	end := strings.LastIndexByte(strings.TrimSuffix(string(data), "\n"), '\n')
	return os.WriteFile(path, data[:end+1], 0o666)
}
