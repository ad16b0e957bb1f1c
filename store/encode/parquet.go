package encode

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/schema"
)

// rowGroup is the number of rows gathered before a row group is written: a
// few MB, so that engines can skip by its statistics.
const rowGroup = 128 << 10

// textColumns are the dictionary columns, in file order.
var textColumns = []string{"account", "region", "namespace", "metric", "instance_id", "dimensions"}

// parquetFile gathers rows in columns that it reuses from row group to row
// group. Text is kept as runs of indices into a dictionary of the row group: no
// string is hashed or copied for a row.
type parquetFile struct {
	file *file.Writer
	rows int

	texts      []textColumn
	timestamps []int64 // milliseconds
	periods    runs    // seconds
	values     []valueColumn
	expanded   []int32 // one column's runs, row by row
}

// runs is a column of equal numbers in a row.
type runs []struct{ value, rows int32 }

func (r *runs) add(value int32, rows int) {
	if last := len(*r) - 1; last >= 0 && (*r)[last].value == value {
		(*r)[last].rows += int32(rows)
		return
	}
	*r = append(*r, struct{ value, rows int32 }{value, int32(rows)})
}

// appendTo appends the column row by row.
func (r runs) appendTo(rows []int32) []int32 {
	for _, run := range r {
		for range run.rows {
			rows = append(rows, run.value)
		}
	}
	return rows
}

// textColumn is one dictionary column of the row group in the making.
type textColumn struct {
	known   map[string]int32
	words   []string // by index
	indices runs
}

// valueColumn is one statistic: def is 1 where the row has a value.
type valueColumn struct {
	values []float64
	def    []int16
}

func newParquet(w io.Writer, statistics []string, kv map[string]string) (*parquetFile, error) {
	root, err := parquetSchema(statistics)
	if err != nil {
		return nil, fmt.Errorf("parquet schema: %w", err)
	}
	properties := []parquet.WriterProperty{
		parquet.WithCreatedBy("cwharvest"),
		parquet.WithAllocator(new(recycler)),
		parquet.WithCompression(compress.Codecs.Zstd),
		parquet.WithDictionaryDefault(false),
		parquet.WithEncodingFor("timestamp", parquet.Encodings.DeltaBinaryPacked),
		parquet.WithDictionaryFor("period_s", true),
		parquet.WithStats(true),
	}
	for _, name := range textColumns {
		properties = append(properties, parquet.WithDictionaryFor(name, true))
	}
	meta := metadata.NewKeyValueMetadata()
	for _, key := range slices.Sorted(maps.Keys(kv)) {
		if err := meta.Append(key, kv[key]); err != nil {
			return nil, fmt.Errorf("parquet metadata: %w", err)
		}
	}
	p := &parquetFile{
		file: file.NewParquetWriter(w, root,
			file.WithWriterProps(parquet.NewWriterProperties(properties...)), file.WithWriteMetadata(meta)),
		texts:  make([]textColumn, len(textColumns)),
		values: make([]valueColumn, len(statistics)),
	}
	for i := range p.texts {
		p.texts[i].known = map[string]int32{}
	}
	return p, nil
}

func parquetSchema(statistics []string) (*schema.GroupNode, error) {
	var fields schema.FieldList
	var errs error
	add := func(n schema.Node, err error) {
		fields, errs = append(fields, n), errors.Join(errs, err)
	}
	for _, name := range textColumns {
		add(schema.NewPrimitiveNodeLogical(name, parquet.Repetitions.Required, schema.StringLogicalType{},
			parquet.Types.ByteArray, -1, -1))
	}
	add(schema.NewPrimitiveNodeLogical("timestamp", parquet.Repetitions.Required,
		schema.NewTimestampLogicalType(true, schema.TimeUnitMillis), parquet.Types.Int64, -1, -1))
	add(schema.NewInt32Node("period_s", parquet.Repetitions.Required, -1), nil)
	for _, s := range statistics {
		add(schema.NewFloat64Node(Column(s), parquet.Repetitions.Optional, -1), nil)
	}
	if errs != nil {
		return nil, errs
	}
	return schema.NewGroupNode("rows", parquet.Repetitions.Required, fields, -1)
}

func (p *parquetFile) WriteRun(r *Run) error {
	before := p.rows
	for i := range r.Points {
		if !r.HasRow(i) {
			continue
		}
		p.timestamps = append(p.timestamps, (r.Start+int64(i)*r.Period)*1000)
		p.rows++
		for s, column := range r.Columns {
			p.values[s].add(column, i)
		}
	}
	n := p.rows - before
	p.periods.add(int32(r.Period), n)
	for i, word := range []string{r.Account, r.Region, r.Namespace, r.Metric, r.InstanceID, r.Dimensions} {
		p.texts[i].add(word, n)
	}
	if p.rows >= rowGroup {
		return p.flush()
	}
	return nil
}

func (v *valueColumn) add(column []float64, i int) {
	if column == nil || column[i] != column[i] {
		v.def = append(v.def, 0)
		return
	}
	v.def = append(v.def, 1)
	v.values = append(v.values, column[i])
}

func (t *textColumn) add(word string, rows int) {
	index, known := t.known[word]
	if !known {
		index = int32(len(t.words))
		t.words = append(t.words, word)
		t.known[word] = index
	}
	t.indices.add(index, rows)
}

func (p *parquetFile) Close() error {
	return errors.Join(p.flush(), p.file.Close())
}

// flush writes the gathered rows as one row group, column by column.
func (p *parquetFile) flush() error {
	if p.rows == 0 {
		return nil
	}
	group, err := p.file.AppendRowGroupChecked()
	if err != nil {
		return fmt.Errorf("parquet row group: %w", err)
	}
	if err := p.writeColumns(group); err != nil {
		return fmt.Errorf("parquet row group: %w", err)
	}
	p.reset()
	return group.Close()
}

func (p *parquetFile) writeColumns(group file.SerialRowGroupWriter) error {
	column := 0
	for range group.NumColumns() {
		w, err := group.NextColumn()
		if err != nil {
			return err
		}
		if err := errors.Join(p.writeColumn(w, column), w.Close()); err != nil {
			return err
		}
		column++
	}
	return nil
}

func (p *parquetFile) writeColumn(w file.ColumnChunkWriter, column int) (err error) {
	texts := len(p.texts)
	switch {
	case column < texts:
		p.expanded = p.texts[column].indices.appendTo(p.expanded[:0])
		err = p.texts[column].write(w, p.expanded)
	case column == texts:
		_, err = w.(*file.Int64ColumnChunkWriter).WriteBatch(p.timestamps, nil, nil)
	case column == texts+1:
		p.expanded = p.periods.appendTo(p.expanded[:0])
		_, err = w.(*file.Int32ColumnChunkWriter).WriteBatch(p.expanded, nil, nil)
	default:
		v := &p.values[column-texts-2]
		_, err = w.(*file.Float64ColumnChunkWriter).WriteBatch(v.values, v.def, nil)
	}
	return err
}

// dictionaryWriter is what arrow's dictionary encoders can do beyond their
// general interface.
type dictionaryWriter interface {
	NormalizeDict(arrow.Array) (arrow.Array, error)
	PutDictionary(arrow.Array) error
}

// write hands the dictionary and the indices over as they are.
func (t *textColumn) write(w file.ColumnChunkWriter, indices []int32) error {
	encoder, ok := w.CurrentEncoder().(dictionaryWriter)
	if !ok {
		return fmt.Errorf("column %s has no dictionary", w.Descr().Name())
	}
	builder := array.NewStringBuilder(memory.DefaultAllocator)
	builder.AppendValues(t.words, nil)
	words := builder.NewArray()
	normal, err := encoder.NormalizeDict(words)
	if err != nil {
		return err
	}
	if err := encoder.PutDictionary(normal); err != nil {
		return err
	}
	if stats := w.PageStatistics(); stats != nil {
		stats.IncNumValues(int64(len(indices)))
		if err := stats.UpdateFromArrow(normal, false); err != nil {
			return err
		}
	}
	data := array.NewData(arrow.PrimitiveTypes.Int32, len(indices),
		[]*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(indices))}, nil, 0, 0)
	return w.WriteDictIndices(array.NewInt32Data(data), nil, nil)
}

// reset empties the columns and keeps their memory.
func (p *parquetFile) reset() {
	p.rows = 0
	for i := range p.texts {
		t := &p.texts[i]
		clear(t.known)
		t.words, t.indices = t.words[:0], t.indices[:0]
	}
	p.timestamps, p.periods = p.timestamps[:0], p.periods[:0]
	for i := range p.values {
		p.values[i].values, p.values[i].def = p.values[i].values[:0], p.values[i].def[:0]
	}
}
