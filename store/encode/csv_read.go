package encode

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// csvRows reads the files of csvLines. encoding/csv changes CR LF inside a cell to LF;
// everything else is read as it was written.
type csvRows struct {
	in         io.Closer
	lines      *lineReader
	csv        *csv.Reader
	statistics []string
}

func openCSV(in io.ReadCloser) (*csvRows, error) {
	lines := &lineReader{in: in}
	c := &csvRows{in: in, lines: lines, csv: csv.NewReader(lines)}
	c.csv.ReuseRecord = true
	header, err := c.record()
	if err == io.EOF {
		return nil, errors.New("no header")
	}
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	names := make([]string, len(header)) // the next record reuses header
	copy(names, header)
	c.statistics, err = statisticsOf(names)
	return c, err
}

func (c *csvRows) columns() []string { return c.statistics }

func (c *csvRows) close() error { return c.in.Close() }

func (c *csvRows) record() ([]string, error) {
	c.lines.left = maxRow
	return c.csv.Read()
}

func (c *csvRows) next(r *row) error {
	cells, err := c.record()
	if err != nil {
		return err
	}
	for i := range r.texts {
		r.texts[i] = plainCell(cells[i])
	}
	cells = cells[len(r.texts):]
	if r.at, err = parseTime(cells[0]); err != nil {
		return err
	}
	if r.period, err = strconv.ParseInt(cells[1], 10, 32); err != nil {
		return fmt.Errorf("period: %w", err)
	}
	for i, cell := range cells[2:] {
		r.values[i] = math.NaN()
		if cell == "" {
			continue
		}
		if r.values[i], err = parseValue(cell); err != nil {
			return err
		}
	}
	return nil
}

// plainCell removes the apostrophe that appendCell puts before some cells.
func plainCell(cell string) string { return strings.TrimPrefix(cell, "'") }

// parseTime parses a timestamp as the writers format it: whole seconds in UTC.
func parseTime(s string) (int64, error) {
	at, err := time.Parse("2006-01-02T15:04:05Z", s)
	if err != nil || at.Nanosecond() != 0 { // Parse accepts a fraction that the layout lacks
		return 0, fmt.Errorf("timestamp %.40q does not have the form 2026-01-31T23:59:00Z", s)
	}
	return at.Unix(), nil
}

func parseValue(s string) (float64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || v != v {
		return 0, fmt.Errorf("value %.40q is not a number", s)
	}
	return v, nil
}

// lineReader bounds the text that is read for one row, and returns
// io.ErrUnexpectedEOF for a text that ends within a line, as a truncated file does.
type lineReader struct {
	in   io.Reader
	left int // bytes that the current row may still take; set for each row
	last byte
}

func (l *lineReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLong
	}
	n, err := l.in.Read(p[:min(len(p), l.left)])
	l.left -= n
	if n > 0 {
		l.last = p[n-1]
	}
	if err == io.EOF && l.last != 0 && l.last != '\n' {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

var errTooLong = fmt.Errorf("longer than %d bytes", maxRow)
