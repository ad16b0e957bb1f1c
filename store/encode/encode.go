// Package encode writes rows of datapoints to files people read. It takes runs
// of datapoints and writes column by column; nothing in it works row by row
// where the format does not force it to.
package encode

import (
	"compress/gzip"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Run is consecutive grid points of one series on one UTC date.
type Run struct {
	Account, Region, Namespace, Metric, InstanceID, Dimensions string

	Start  int64 // Unix seconds of the first point
	Period int64 // seconds
	Points int

	// Columns has one entry for each statistic of the file: Points values,
	// NaN where there is none, or nil for a statistic that the series lacks.
	// A point without any value is no row.
	Columns [][]float64

	// Whole says that no column has a NaN, which saves looking for one.
	Whole bool
}

// Writer writes runs in the order they come. It keeps nothing of a run.
type Writer interface {
	WriteRun(*Run) error
	// Close completes the file; it does not close what it is written to.
	Close() error
}

// Format names a file format: parquet, or csv or jsonl with compression none (or
// empty), gzip or zstd.
type Format struct {
	Name        string
	Compression string
}

// Suffix is the format's file name extension, with its dot.
func (f Format) Suffix() string {
	suffix := "." + f.Name
	switch f.Compression {
	case "gzip":
		suffix += ".gz"
	case "zstd":
		suffix += ".zst"
	}
	return suffix
}

// Validate refuses what no file can be.
func (f Format) Validate() error {
	switch {
	case !slices.Contains([]string{"parquet", "csv", "jsonl"}, f.Name):
		return fmt.Errorf("unknown format %q: use parquet, csv or jsonl", f.Name)
	case !slices.Contains([]string{"", "none", "gzip", "zstd"}, f.Compression):
		return fmt.Errorf("unknown compression %q: use none, gzip or zstd", f.Compression)
	case f.Name == "parquet" && f.Compression != "" && f.Compression != "none":
		return fmt.Errorf("compression is for text formats: Parquet compresses by itself (zstd); leave it out, or use csv or jsonl")
	}
	return nil
}

// NewWriter starts a file with the given statistics as columns, in their
// order. Parquet keeps the metadata; text formats have no place for it.
func (f Format) NewWriter(w io.Writer, statistics []string, metadata map[string]string) (Writer, error) {
	switch f.Name {
	case "parquet":
		return newParquet(w, statistics, metadata)
	case "jsonl", "csv":
		out, err := f.compress(w)
		if err != nil {
			return nil, err
		}
		if f.Name == "csv" {
			return newCSV(out, statistics), nil
		}
		return newJSONLines(out, statistics), nil
	}
	return nil, fmt.Errorf("unknown format %q: use parquet, csv or jsonl", f.Name)
}

func (f Format) compress(w io.Writer) (io.WriteCloser, error) {
	switch f.Compression {
	case "", "none":
		return nopCloser{w}, nil
	case "gzip":
		return gzip.NewWriter(w), nil
	case "zstd":
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	}
	return nil, fmt.Errorf("unknown compression %q: use none, gzip or zstd", f.Compression)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// basic are the statistics every metric has, in column order.
var basic = []string{"Average", "Maximum", "Minimum", "Sum", "SampleCount"}

// SortStatistics puts statistics into column order: the basic ones, then the
// extended ones by column name.
func SortStatistics(statistics iter.Seq[string]) []string {
	rank := func(s string) string {
		if i := slices.Index(basic, s); i >= 0 {
			return string(rune('0' + i))
		}
		return "~" + Column(s)
	}
	return slices.SortedFunc(statistics, func(a, b string) int { return strings.Compare(rank(a), rank(b)) })
}

// Column is the column name of a statistic: average, sample_count, p99,
// p99_9, tm_10_90 for TM(10%:90%).
func Column(statistic string) string {
	switch statistic {
	case "SampleCount":
		return "sample_count"
	}
	s := strings.NewReplacer(".", "_", "(", "_", ":", "_", "%", "", ")", "").Replace(strings.ToLower(statistic))
	return strings.ReplaceAll(s, "__", "_")
}

// HasRow reports whether point i has any value.
func (r *Run) HasRow(i int) bool {
	for _, c := range r.Columns {
		if c != nil && c[i] == c[i] { // not NaN
			return true
		}
	}
	return false
}

// Rows counts the points with any value.
func (r *Run) Rows() (n int) {
	for i := range r.Points {
		if r.HasRow(i) {
			n++
		}
	}
	return n
}
