package encode

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// csvLines writes rows by RFC 4180 below a header. It encodes the cells before the
// timestamp once for each run.
type csvLines struct {
	out    io.WriteCloser
	buf    *bufio.Writer
	header string // empty once it is written
	head   []byte // the cells before the timestamp
	line   []byte
}

func newCSV(out io.WriteCloser, statistics []string) *csvLines {
	names := []string{"account", "region", "namespace", "metric", "instance_id", "dimensions", "timestamp", "period_s"}
	for _, s := range statistics {
		names = append(names, Column(s))
	}
	return &csvLines{out: out, buf: bufio.NewWriterSize(out, 64<<10), header: strings.Join(names, ",") + "\r\n"}
}

func (c *csvLines) WriteRun(r *Run) error {
	if err := c.begin(); err != nil {
		return err
	}
	c.head = c.head[:0]
	for _, cell := range []string{r.Account, r.Region, r.Namespace, r.Metric, r.InstanceID, r.Dimensions} {
		c.head = append(appendCell(c.head, cell), ',')
	}
	for i := range r.Points {
		if !r.HasRow(i) {
			continue
		}
		at := time.Unix(r.Start+int64(i)*r.Period, 0).UTC()
		c.line = at.AppendFormat(append(c.line[:0], c.head...), time.RFC3339)
		c.line = strconv.AppendInt(append(c.line, ','), r.Period, 10)
		for _, column := range r.Columns {
			c.line = append(c.line, ',')
			if column != nil && column[i] == column[i] { // an empty cell is null
				c.line = strconv.AppendFloat(c.line, column[i], 'g', -1, 64)
			}
		}
		c.line = append(c.line, '\r', '\n')
		if _, err := c.buf.Write(c.line); err != nil {
			return err
		}
	}
	return nil
}

// begin writes the header once.
func (c *csvLines) begin() error {
	_, err := c.buf.WriteString(c.header)
	c.header = ""
	return err
}

func (c *csvLines) Close() error {
	return errors.Join(c.begin(), c.buf.Flush(), c.out.Close())
}

// formulas lists the characters with which a formula begins, and the apostrophe.
// Spreadsheets accept the full-width forms, too.
const formulas = "=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20"

func isFormula(cell string) bool {
	if cell != "" && cell[0] < utf8.RuneSelf { // nearly always
		return strings.IndexByte(formulas, cell[0]) >= 0
	}
	first, _ := utf8.DecodeRuneInString(cell)
	return cell != "" && strings.ContainsRune(formulas, first)
}

// appendCell appends a cell, in quotes if necessary. It puts an apostrophe before a
// text that a spreadsheet would run as a formula (OWASP, CSV injection), because
// anyone who publishes metrics chooses the names and values of dimensions. A cell
// that begins with an apostrophe gets another one, so that removing one gives back
// every cell.
func appendCell(b []byte, cell string) []byte {
	if isFormula(cell) {
		cell = "'" + cell
	}
	if !strings.ContainsAny(cell, "\",\r\n") {
		return append(b, cell...)
	}
	b = append(b, '"')
	b = append(b, strings.ReplaceAll(cell, `"`, `""`)...)
	return append(b, '"')
}
