package encode

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/parquet-go/parquet-go"
)

// InventoryRow is an instance of a job and its outcome. An empty text is unknown, and
// written as null or as an empty cell.
type InventoryRow struct {
	Account, Region, Namespace, InstanceID, Dimensions string
	Type, Zone, Platform, State                        string
	LaunchTime                                         time.Time // zero if unknown; text formats have whole seconds
	Tags                                               string    // a JSON object, written as text in every format
	Sources                                            string    // separated by commas
	Outcome                                            string    // done, empty, failed, denied, pending or unknown
	Rows                                               int64
	Class, Reason                                      string // of the failure or denial
}

// InventoryWriter writes the rows of an inventory in order.
type InventoryWriter interface {
	Write(InventoryRow) error
	// Close completes the file. It does not close the underlying io.Writer.
	Close() error
}

// NewInventoryWriter begins an inventory file. Only Parquet stores the metadata.
func (f Format) NewInventoryWriter(w io.Writer, metadata map[string]string) (InventoryWriter, error) {
	switch f.Name {
	case "parquet":
		return newInventoryParquet(w, metadata), nil
	case "csv", "jsonl":
		out, err := f.compress(w)
		if err != nil {
			return nil, err
		}
		buf := bufio.NewWriterSize(out, 64<<10)
		if f.Name == "csv" {
			_, err = buf.WriteString(inventoryHeader)
			return &inventoryCSV{out: out, buf: buf}, err
		}
		return &inventoryJSON{out: out, buf: buf, json: json.NewEncoder(buf)}, nil
	}
	return nil, f.unknownName()
}

// inventoryRecord is a row of Parquet and JSON Lines files. Its tags name the columns
// in file order, and nil is null.
type inventoryRecord struct {
	Account    *string `json:"account" parquet:"account,optional,dict"`
	Region     *string `json:"region" parquet:"region,optional,dict"`
	Namespace  *string `json:"namespace" parquet:"namespace,optional,dict"`
	InstanceID *string `json:"instance_id" parquet:"instance_id,optional,dict"`
	Dimensions *string `json:"dimensions" parquet:"dimensions,optional,dict"`
	Type       *string `json:"type" parquet:"type,optional,dict"`
	Zone       *string `json:"zone" parquet:"zone,optional,dict"`
	Platform   *string `json:"platform" parquet:"platform,optional,dict"`
	State      *string `json:"state" parquet:"state,optional,dict"`
	LaunchTime *moment `json:"launch_time" parquet:"launch_time,optional,timestamp(millisecond)"`
	Tags       *string `json:"tags" parquet:"tags,optional,dict"`
	Sources    *string `json:"sources" parquet:"sources,optional,dict"`
	Outcome    *string `json:"outcome" parquet:"outcome,optional,dict"`
	Rows       int64   `json:"rows" parquet:"rows"`
	Class      *string `json:"class" parquet:"class,optional,dict"`
	Reason     *string `json:"reason" parquet:"reason,optional,dict"`
}

// moment is a time in Unix milliseconds. Text formats write it by RFC 3339.
type moment int64

func (m moment) text() string { return time.UnixMilli(int64(m)).UTC().Format(time.RFC3339) }

func (m moment) MarshalJSON() ([]byte, error) { return json.Marshal(m.text()) }

func (r *InventoryRow) record() inventoryRecord {
	return inventoryRecord{
		Account: known(r.Account), Region: known(r.Region), Namespace: known(r.Namespace),
		InstanceID: known(r.InstanceID), Dimensions: known(r.Dimensions),
		Type: known(r.Type), Zone: known(r.Zone), Platform: known(r.Platform), State: known(r.State),
		LaunchTime: r.launched(), Tags: known(r.Tags), Sources: known(r.Sources),
		Outcome: known(r.Outcome), Rows: r.Rows, Class: known(r.Class), Reason: known(r.Reason),
	}
}

func known(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (r *InventoryRow) launched() *moment {
	if r.LaunchTime.IsZero() {
		return nil
	}
	m := moment(r.LaunchTime.UnixMilli())
	return &m
}

// inventoryRowGroup is the number of rows that a Parquet writer holds in memory.
const inventoryRowGroup = 50_000

type inventoryParquet struct {
	rows *parquet.GenericWriter[inventoryRecord]
}

func newInventoryParquet(w io.Writer, metadata map[string]string) *inventoryParquet {
	options := []parquet.WriterOption{
		parquet.Compression(&parquet.Zstd),
		parquet.MaxRowsPerRowGroup(inventoryRowGroup),
		parquet.CreatedBy("cwharvest", "", ""),
	}
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		options = append(options, parquet.KeyValueMetadata(key, metadata[key]))
	}
	return &inventoryParquet{parquet.NewGenericWriter[inventoryRecord](w, options...)}
}

func (p *inventoryParquet) Write(r InventoryRow) error {
	_, err := p.rows.Write([]inventoryRecord{r.record()})
	return err
}

func (p *inventoryParquet) Close() error { return p.rows.Close() }

const inventoryHeader = "account,region,namespace,instance_id,dimensions,type,zone,platform,state,launch_time," +
	"tags,sources,outcome,rows,class,reason\r\n"

type inventoryCSV struct {
	out  io.WriteCloser
	buf  *bufio.Writer
	line []byte
}

func (c *inventoryCSV) Write(r InventoryRow) error {
	launched := ""
	if m := r.launched(); m != nil {
		launched = m.text()
	}
	c.line = c.line[:0]
	for _, cell := range []string{r.Account, r.Region, r.Namespace, r.InstanceID, r.Dimensions, r.Type, r.Zone, r.Platform, r.State,
		launched, r.Tags, r.Sources, r.Outcome, strconv.FormatInt(r.Rows, 10), r.Class, r.Reason} {
		c.line = append(appendCell(c.line, cell), ',')
	}
	c.line = append(c.line[:len(c.line)-1], '\r', '\n')
	_, err := c.buf.Write(c.line)
	return err
}

func (c *inventoryCSV) Close() error { return errors.Join(c.buf.Flush(), c.out.Close()) }

type inventoryJSON struct {
	out  io.WriteCloser
	buf  *bufio.Writer
	json *json.Encoder
}

func (j *inventoryJSON) Write(r InventoryRow) error { return j.json.Encode(r.record()) }

func (j *inventoryJSON) Close() error { return errors.Join(j.buf.Flush(), j.out.Close()) }
