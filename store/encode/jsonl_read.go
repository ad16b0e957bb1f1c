package encode

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
)

// jsonRows reads the files of jsonLines. It requires the keys in the order in which
// jsonLines writes them, and decodes a text only if it differs from the row before.
type jsonRows struct {
	in         io.Closer
	buf        *bufio.Reader
	keys       []string // for each column the text before its value, such as {"account":
	statistics []string
	first      []byte // the first line, which was read for the names of columns
	texts      [6]struct {
		raw  []byte
		text string
	}
}

func openJSONLines(in io.ReadCloser) (*jsonRows, error) {
	j := &jsonRows{in: in, buf: bufio.NewReaderSize(in, maxRow)}
	line, err := j.line()
	if err == io.EOF {
		return j, nil
	}
	if err != nil {
		return nil, err
	}
	names, err := keysOf(line)
	if err != nil {
		return nil, err
	}
	if j.statistics, err = statisticsOf(names); err != nil {
		return nil, err
	}
	separator := "{"
	for _, name := range names {
		j.keys = append(j.keys, separator+strconv.Quote(name)+":")
		separator = ","
	}
	j.first = bytes.Clone(line)
	return j, nil
}

// keysOf returns the keys of an object in order. An object or a list in it is an
// error.
func keysOf(line []byte) (keys []string, err error) {
	d := json.NewDecoder(bytes.NewReader(line))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("line %.40q is not an object", line)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		if _, err := d.Token(); err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok || len(keys) > maxStatistics+len(fixedColumns) {
			return nil, errors.New("object is nested or has too many keys")
		}
		keys = append(keys, name)
	}
	return keys, nil
}

func (j *jsonRows) columns() []string { return j.statistics }

func (j *jsonRows) close() error { return j.in.Close() }

// line returns the next line without its end. The line is valid until the next call.
func (j *jsonRows) line() ([]byte, error) {
	line, err := j.buf.ReadSlice('\n')
	switch {
	case err == bufio.ErrBufferFull:
		return nil, errTooLong
	case err == io.EOF && len(line) > 0:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	}
	return line[:len(line)-1], nil
}

func (j *jsonRows) next(r *row) (err error) {
	line := j.first
	if j.first = nil; line == nil {
		if line, err = j.line(); err != nil {
			return err
		}
	}
	s := scanner{rest: line}
	for i := range r.texts {
		if r.texts[i], err = j.text(i, s.text(j.keys[i])); err != nil {
			return errors.Join(s.err, err)
		}
	}
	keys := j.keys[len(r.texts):]
	at, period := s.text(keys[0]), s.number(keys[1])
	for i, key := range keys[2:] {
		if r.values[i], err = jsonValue(s.number(key)); err != nil && s.err == nil {
			return err
		}
	}
	s.skip("}")
	s.end()
	if s.err != nil {
		return s.err
	}
	if r.at, err = parseTime(string(bytes.Trim(at, `"`))); err != nil {
		return err
	}
	if r.period, err = strconv.ParseInt(string(period), 10, 32); err != nil {
		return fmt.Errorf("period: %w", err)
	}
	return nil
}

// text decodes a text of a column.
func (j *jsonRows) text(column int, raw []byte) (string, error) {
	known := &j.texts[column]
	if bytes.Equal(raw, known.raw) && len(raw) > 0 {
		return known.text, nil
	}
	if err := json.Unmarshal(raw, &known.text); err != nil {
		return "", fmt.Errorf("%s: %w", textColumns[column], err)
	}
	known.raw = append(known.raw[:0], raw...)
	return known.text, nil
}

func jsonValue(raw []byte) (float64, error) {
	if string(raw) == "null" {
		return math.NaN(), nil
	}
	return parseValue(string(raw))
}

// scanner splits a line into values. After an error its methods return nil.
type scanner struct {
	rest []byte
	err  error
}

func (s *scanner) skip(key string) {
	rest, ok := bytes.CutPrefix(s.rest, []byte(key))
	if !ok && s.err == nil {
		s.err = fmt.Errorf("found %.40q, expected %.40s", s.rest, key)
	}
	s.rest = rest
}

func (s *scanner) end() {
	if len(s.rest) > 0 && s.err == nil {
		s.err = fmt.Errorf("found %.40q after the object", s.rest)
	}
}

func (s *scanner) take(n int) []byte {
	if s.err != nil {
		return nil
	}
	taken := s.rest[:n]
	s.rest = s.rest[n:]
	return taken
}

// text returns the JSON string behind a key, with its quotes.
func (s *scanner) text(key string) []byte {
	s.skip(key)
	for i, escaped := 1, false; i < len(s.rest); i++ {
		switch {
		case escaped:
			escaped = false
		case s.rest[i] == '\\':
			escaped = true
		case s.rest[i] == '"':
			return s.take(i + 1)
		}
	}
	s.skip("a string")
	return nil
}

// number returns the JSON number or null behind a key.
func (s *scanner) number(key string) []byte {
	s.skip(key)
	if bytes.HasPrefix(s.rest, []byte("null")) {
		return s.take(4)
	}
	n := bytes.IndexFunc(s.rest, func(c rune) bool { return !bytes.ContainsRune([]byte("0123456789+-.eE"), c) })
	return s.take(max(n, 0))
}
