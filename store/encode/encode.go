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

	// Columns has one entry for each statistic of the file: Points values, NaN for
	// a missing value, or nil for a statistic that the series lacks. A point
	// without any value is no row.
	Columns [][]float64

	// Whole promises that no column has a NaN, so that writers need not search for
	// one.
	Whole bool
}

// Writer writes the runs of a file in order.
type Writer interface {
	WriteRun(*Run) error // does not keep the run
	// Close completes the file. It does not close the underlying io.Writer.
	Close() error
}

// Format is a file format.
type Format struct {
	Name        string // parquet, csv or jsonl
	Compression string // of csv and jsonl: none or empty, gzip, zstd
}

// Suffix returns the file name extension with its dot.
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

// Validate returns an error for an unknown format or compression.
func (f Format) Validate() error {
	switch {
	case !slices.Contains([]string{"parquet", "csv", "jsonl"}, f.Name):
		return f.unknownName()
	case !slices.Contains([]string{"", "none", "gzip", "zstd"}, f.Compression):
		return f.unknownCompression()
	case f.Name == "parquet" && f.Compression != "" && f.Compression != "none":
		return &formatError{"compression is for text formats, and Parquet always uses zstd", "leave it out, or use csv or jsonl"}
	}
	return nil
}

// formatError is the error of an invalid Format.
type formatError struct{ fact, hint string }

func (e *formatError) Error() string { return e.fact }

// Hint returns the next step for the user.
func (e *formatError) Hint() string { return e.hint }

func (f Format) unknownName() error {
	return &formatError{fmt.Sprintf("unknown format %q", f.Name), "use parquet, csv or jsonl"}
}

func (f Format) unknownCompression() error {
	return &formatError{fmt.Sprintf("unknown compression %q", f.Compression), "use none, gzip or zstd"}
}

// NewWriter begins a file with a column for each of the statistics, in their order.
// Only Parquet stores the metadata.
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
	return nil, f.unknownName()
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
	return nil, f.unknownCompression()
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// basic lists the statistics that every metric has, in column order.
var basic = []string{"Average", "Maximum", "Minimum", "Sum", "SampleCount"}

// SortStatistics returns statistics in column order: the basic ones, then the
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

// Column returns the column name of a statistic: average, sample_count, p99, p99_9,
// tm_10_90 for TM(10%:90%).
func Column(statistic string) string {
	switch statistic {
	case "SampleCount":
		return "sample_count"
	}
	s := strings.NewReplacer(".", "_", "(", "_", ":", "_", "%", "", ")", "").Replace(strings.ToLower(statistic))
	return strings.ReplaceAll(s, "__", "_")
}

// HasRow reports whether point i has a value in any column.
func (r *Run) HasRow(i int) bool {
	for _, c := range r.Columns {
		if c != nil && c[i] == c[i] { // not NaN
			return true
		}
	}
	return false
}

// Rows returns the number of points that have a value in any column.
func (r *Run) Rows() (n int) {
	for i := range r.Points {
		if r.HasRow(i) {
			n++
		}
	}
	return n
}
