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

// Reader yields the runs of a file in the order of its rows. It holds a page a
// column: a few MB of our files, 16 MB where words are long, 64 MB a page of a
// damaged one. No damage to the file makes it panic.
type Reader interface {
	// Columns are the names of the statistic columns, in file order (average,
	// p99, ...).
	Columns() []string

	// Next reads the next run into r, whose memory it reuses; io.EOF at the end.
	// A run is consecutive rows of one series with one period on one UTC date,
	// on the grid Start + i*Period; a point without a row is NaN in every column.
	// Each column of the file has its Points values, also where all are NaN.
	//
	// Damage is an error that names the row. The runs before it have been given,
	// the last one as far as it could be read; the error stays.
	Next(r *Run) error

	// Close frees what the reader holds; it does not close what it reads.
	Close() error
}

// Limits of what is believed of a file, so that a damaged one cannot make us
// allocate without bound. Files of this package stay far below them.
const (
	maxStatistics = 256
	maxRow        = 1 << 20 // bytes of a row of text
	daySeconds    = 24 * 60 * 60
)

// NewReader reads the header of a file of this format that NewWriter wrote.
func (f Format) NewReader(r io.ReaderAt, size int64) (Reader, error) {
	rows, err := f.openRows(r, size)
	if err != nil {
		return nil, fmt.Errorf("%s file: %w", f.Name, err)
	}
	if n := len(rows.columns()); n > maxStatistics {
		return nil, errors.Join(fmt.Errorf("%s file: %d statistic columns, at most %d are read", f.Name, n, maxStatistics), rows.close())
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
	return nil, fmt.Errorf("unknown format %q: use parquet, csv or jsonl", f.Name)
}

func (f Format) decompress(r io.Reader) (io.ReadCloser, error) {
	switch f.Compression {
	case "", "none":
		return io.NopCloser(r), nil
	case "gzip":
		in, err := gzip.NewReader(r)
		if err == io.EOF { // an empty file is no gzip file
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
	return nil, fmt.Errorf("unknown compression %q: use none, gzip or zstd", f.Compression)
}

// maxWindow is the window of our zstd encoder, and so all that its decoder needs.
const maxWindow = 8 << 20

// recoverTo makes an error of a panic: libraries panic on some damaged files.
func recoverTo(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("damaged: %v", p)
	}
}

// fixedColumns are the columns before those of statistics, in file order.
var fixedColumns = append(slices.Clone(textColumns), "timestamp", "period_s")

// statisticsOf checks a header and returns the names of its statistic columns.
func statisticsOf(header []string) ([]string, error) {
	if len(header) < len(fixedColumns) || !slices.Equal(header[:len(fixedColumns)], fixedColumns) {
		return nil, fmt.Errorf("columns %.200q, they must begin with %s", strings.Join(header, ","), strings.Join(fixedColumns, ","))
	}
	statistics := header[len(fixedColumns):]
	for i, name := range statistics {
		if name == "" || slices.Contains(header[:len(fixedColumns)+i], name) {
			return nil, fmt.Errorf("column %d is named %.200q: names are not empty and differ", len(fixedColumns)+i+1, name)
		}
	}
	return statistics, nil
}

// rowReader yields the rows of a file.
type rowReader interface {
	columns() []string
	next(*row) error // io.EOF at the end
	close() error
}

// row is one line of a table. Its values are NaN where there is none.
type row struct {
	texts  [6]string // as in textColumns
	at     int64     // Unix seconds
	period int64     // seconds
	values []float64
}

func (r *row) check() error {
	switch {
	case r.period < 1:
		return fmt.Errorf("period %d", r.period)
	case r.at < 0:
		return fmt.Errorf("timestamp %d is before 1970", r.at)
	case r.at > LastSecond:
		return fmt.Errorf("timestamp %d is after 9999", r.at)
	}
	some := false
	for _, v := range r.values {
		if math.IsInf(v, 0) {
			return errors.New("a value is infinite")
		}
		some = some || v == v // not NaN
	}
	if !some {
		return errors.New("no value")
	}
	return nil
}

// LastSecond is that of the last year that RFC 3339 can write, and JSON takes.
var LastSecond = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()

// runReader gathers rows into runs. It is one row ahead: the row that ends a
// run begins the next.
type runReader struct {
	rows    rowReader
	row     row
	number  int64 // of row, from 1
	pending bool  // row belongs to the next run
	err     error // after the last row; stays
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

// fetch reads a row, or sets the error that ends the reading.
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

// continues reports whether the row belongs to run r, whose last row is that of
// last.
func (g *runReader) continues(r *Run, last int64) bool {
	t := &g.row.texts
	same := g.row.period == r.Period && t[4] == r.InstanceID && t[5] == r.Dimensions && t[3] == r.Metric &&
		t[2] == r.Namespace && t[1] == r.Region && t[0] == r.Account
	if !same {
		return false
	}
	if g.row.at <= last {
		g.err = fmt.Errorf("row %d: timestamp %d of its series follows %d: they must ascend", g.number, g.row.at, last)
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

// add appends the row to its run, behind the gap that it leaves. A run is of one
// date, so it has 86,400 points at most.
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
