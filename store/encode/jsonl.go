package encode

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// jsonLines writes one JSON object for each row. It encodes the text columns once for
// each run.
type jsonLines struct {
	out   io.WriteCloser
	buf   *bufio.Writer
	names []string // `,"average":` for each statistic
	head  []byte   // the row up to its timestamp
	line  []byte
}

func newJSONLines(out io.WriteCloser, statistics []string) *jsonLines {
	j := &jsonLines{out: out, buf: bufio.NewWriterSize(out, 64<<10)}
	for _, s := range statistics {
		j.names = append(j.names, `,"`+Column(s)+`":`)
	}
	return j
}

func (j *jsonLines) WriteRun(r *Run) error {
	if err := j.encodeHead(r); err != nil {
		return err
	}
	for i := range r.Points {
		if !r.HasRow(i) {
			continue
		}
		at := time.Unix(r.Start+int64(i)*r.Period, 0).UTC()
		j.line = append(j.line[:0], j.head...)
		j.line = at.AppendFormat(j.line, time.RFC3339)
		j.line = append(j.line, `","period_s":`...)
		j.line = strconv.AppendInt(j.line, r.Period, 10)
		for s, column := range r.Columns {
			j.line = append(j.line, j.names[s]...)
			if column == nil || column[i] != column[i] {
				j.line = append(j.line, "null"...)
			} else {
				j.line = strconv.AppendFloat(j.line, column[i], 'g', -1, 64)
			}
		}
		j.line = append(j.line, '}', '\n')
		if _, err := j.buf.Write(j.line); err != nil {
			return err
		}
	}
	return nil
}

// encodeHead sets head.
func (j *jsonLines) encodeHead(r *Run) error {
	head, err := json.Marshal(struct {
		Account    string `json:"account"`
		Region     string `json:"region"`
		Namespace  string `json:"namespace"`
		Metric     string `json:"metric"`
		InstanceID string `json:"instance_id"`
		Dimensions string `json:"dimensions"`
	}{r.Account, r.Region, r.Namespace, r.Metric, r.InstanceID, r.Dimensions})
	if err != nil {
		return fmt.Errorf("encode row: %w", err)
	}
	j.head = append(append(j.head[:0], head[:len(head)-1]...), `,"timestamp":"`...)
	return nil
}

func (j *jsonLines) Close() error { return errors.Join(j.buf.Flush(), j.out.Close()) }
