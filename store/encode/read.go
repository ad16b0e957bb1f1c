package encode

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Reader returns the runs of a file in the order of its rows. It holds one page of
// each column: together a few MB for files of this package, up to 16 MB with long
// texts, and up to 64 MB a page for a damaged file. It does not panic on any damage.
type Reader interface {
	// Columns returns the names of the statistic columns (average, p99, ...) in
	// file order.
	Columns() []string

	// Next reads the next run into r, whose memory it reuses, or returns io.EOF.
	// A run consists of consecutive rows of one series with one period on one UTC
	// date, on the grid Start + i*Period. A point without a row is NaN in every
	// column. Each column of the run has Points values, even if all are NaN.
	//
	// For a damaged file Next returns the runs before the damage, the last of them
	// as far as it can be read, and then always an error that names the row.
	Next(r *Run) error

	// Close frees the memory of the reader. It does not close the underlying
	// io.ReaderAt.
	Close() error
}

// Limits that keep a damaged file from taking memory without bound. Files of this
// package stay far below them.
const (
	maxStatistics = 256
	maxRow        = 1 << 20 // bytes of a row of text
	daySeconds    = 24 * 60 * 60
)

// NewReader returns a reader of a file that NewWriter of the same format wrote.
func (f Format) NewReader(r io.ReaderAt, size int64) (Reader, error) {
	rows, err := f.openRows(r, size)
	if err != nil {
		return nil, fmt.Errorf("%s file: %w", f.Name, err)
	}
	if n := len(rows.columns()); n > maxStatistics {
		return nil, errors.Join(fmt.Errorf("%s file has %d statistic columns, at most %d are supported", f.Name, n, maxStatistics), rows.close())
	}
	return &runReader{rows: rows, row: row{values: make([]float64, len(rows.columns()))}}, nil
}

func (f Format) openRows(r io.ReaderAt, size int64) (rows rowReader, err error) {
	defer recoverTo(&err)
	switch f.Name {
	case "parquet":
		return openParquet(r, size)
	case "csv", "jsonl":
		in, err := f.decompress(io.NewSectionReader(r, 0, size))
		if err != nil {
			return nil, err
		}
		if f.Name == "csv" {
			rows, err = openCSV(in)
		} else {
			rows, err = openJSONLines(in)
		}
		if err != nil {
			return nil, errors.Join(err, in.Close())
		}
		return rows, nil
	}
	return nil, f.unknownName()
}

func (f Format) decompress(r io.Reader) (io.ReadCloser, error) {
	switch f.Compression {
	case "", "none":
		return io.NopCloser(r), nil
	case "gzip":
		in, err := gzip.NewReader(r)
		if err == io.EOF { // an empty file is not a gzip file
			err = io.ErrUnexpectedEOF
		}
		return in, err
	case "zstd":
		in, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return in.IOReadCloser(), nil
	}
	return nil, f.unknownCompression()
}

// maxWindow is the window of the zstd encoder of Format.compress.
const maxWindow = 8 << 20

// recoverTo turns a panic into an error, because libraries panic on some damaged files.
func recoverTo(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("damaged: %v", p)
	}
}

// fixedColumns lists the columns before the statistics, in file order.
var fixedColumns = append(slices.Clone(textColumns), "timestamp", "period_s")

// statisticsOf returns the names of the statistic columns of a valid header.
func statisticsOf(header []string) ([]string, error) {
	if len(header) < len(fixedColumns) || !slices.Equal(header[:len(fixedColumns)], fixedColumns) {
		return nil, fmt.Errorf("columns %.200q do not begin with %s", strings.Join(header, ","), strings.Join(fixedColumns, ","))
	}
	statistics := header[len(fixedColumns):]
	for i, name := range statistics {
		if name == "" || slices.Contains(header[:len(fixedColumns)+i], name) {
			return nil, fmt.Errorf("column %d has the name %.200q, which is empty or used twice", len(fixedColumns)+i+1, name)
		}
	}
	return statistics, nil
}

// rowReader returns the rows of a file.
type rowReader interface {
	columns() []string
	next(*row) error // io.EOF at the end
	close() error
}

// row is a row of a file. A null value is NaN.
type row struct {
	texts  [6]string // as in textColumns
	at     int64     // Unix seconds
	period int64     // seconds
	values []float64
}

func (r *row) check() error {
	switch {
	case r.period < 1:
		return fmt.Errorf("period %d is not positive", r.period)
	case r.at < 0:
		return fmt.Errorf("timestamp %d is before 1970", r.at)
	case r.at > LastSecond:
		return fmt.Errorf("timestamp %d is after 9999", r.at)
	}
	some := false
	for _, v := range r.values {
		if math.IsInf(v, 0) {
			return errors.New("value is infinite")
		}
		some = some || v == v // not NaN
	}
	if !some {
		return errors.New("no value")
	}
	return nil
}

// LastSecond is the last second, in Unix time, that RFC 3339 and encoding/json can
// represent.
var LastSecond = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()

// runReader gathers rows into runs. It reads one row ahead, because the row that does
// not belong to a run begins the next run.
type runReader struct {
	rows    rowReader
	row     row
	number  int64 // of row, from 1
	pending bool  // row is read and belongs to the next run
	err     error // io.EOF or the error that ended the reading
}

func (g *runReader) Columns() []string { return g.rows.columns() }

func (g *runReader) Close() (err error) {
	defer recoverTo(&err)
	return g.rows.close()
}

func (g *runReader) Next(r *Run) error {
	if !g.pending && !g.fetch() {
		return g.err
	}
	g.begin(r)
	for {
		g.add(r)
		last := g.row.at
		if !g.fetch() || !g.continues(r, last) {
			return nil
		}
	}
}

// fetch reads the next row and reports whether there is one. Otherwise it sets err.
func (g *runReader) fetch() bool {
	g.pending = false
	if g.err != nil {
		return false
	}
	g.number++
	err := g.read()
	if err == nil {
		err = g.row.check()
	}
	if err == io.EOF {
		g.err = err
	} else if err != nil {
		g.err = fmt.Errorf("row %d: %w", g.number, err)
	}
	g.pending = err == nil
	return g.pending
}

func (g *runReader) read() (err error) {
	defer recoverTo(&err)
	return g.rows.next(&g.row)
}

// continues reports whether the current row belongs to run r, whose last timestamp is
// last.
func (g *runReader) continues(r *Run, last int64) bool {
	t := &g.row.texts
	same := g.row.period == r.Period && t[4] == r.InstanceID && t[5] == r.Dimensions && t[3] == r.Metric &&
		t[2] == r.Namespace && t[1] == r.Region && t[0] == r.Account
	if !same {
		return false
	}
	if g.row.at <= last {
		g.err = fmt.Errorf("row %d: timestamp %d does not ascend from %d of the same series", g.number, g.row.at, last)
		g.pending = false
		return false
	}
	return g.row.at/daySeconds == r.Start/daySeconds && (g.row.at-r.Start)%r.Period == 0
}

func (g *runReader) begin(r *Run) {
	t := &g.row.texts
	r.Account, r.Region, r.Namespace, r.Metric, r.InstanceID, r.Dimensions = t[0], t[1], t[2], t[3], t[4], t[5]
	r.Start, r.Period, r.Points = g.row.at, g.row.period, 0
	r.Columns = slices.Grow(r.Columns[:0], len(g.row.values))[:len(g.row.values)]
	for i := range r.Columns {
		r.Columns[i] = r.Columns[i][:0]
	}
}

// add appends the current row to its run, after the missing points before it. A run
// has at most 86,400 points, because it is on one date.
func (g *runReader) add(r *Run) {
	points := int((g.row.at-r.Start)/r.Period) + 1
	for i, v := range g.row.values {
		column := slices.Grow(r.Columns[i], points-len(r.Columns[i]))
		for len(column) < points-1 {
			column = append(column, math.NaN())
		}
		r.Columns[i] = append(column, v)
	}
	r.Points = points
}
