package encode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/bits"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/schema"
)

// rowGroup is the number of rows after which a row group is written: a few MB, so
// that query engines can skip row groups by their bounds.
const rowGroup = 128 << 10

// textColumns lists the columns of text, in file order.
var textColumns = []string{"account", "region", "namespace", "metric", "instance_id", "dimensions"}

// parquetFile gathers the rows of a row group in columns, and encodes their pages. It
// reuses the memory for the next row group. Arrow writes the headers of pages and the
// footer.
type parquetFile struct {
	out        *position
	properties *parquet.WriterProperties
	schema     *schema.Schema
	metadata   *metadata.FileMetaDataBuilder
	groups     int16
	rows       int // of the current row group

	texts            []textColumn
	timestamps       []int64 // milliseconds
	earliest, latest int64   // of timestamps
	periods          numberColumn
	values           []valueColumn

	body, packed, dictionary []byte // buffers for the current page
}

// position counts the bytes that are written to a file.
type position struct {
	w io.Writer
	n int64
}

func (p *position) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	p.n += int64(n)
	return n, err
}

func (p *position) Tell() int64 { return p.n }

// mostText bounds the bytes of a column's words in a row group, because readers hold
// a dictionary in memory; the reader of this package accepts maxPage. Where each
// series has one row a day, the words are most of a file.
const mostText = 16 << 20

// textColumn is a dictionary column of text.
type textColumn struct {
	bytes   int              // of the words
	known   map[string]int32 // index by word
	words   []string         // by index
	indices runs
}

// numberColumn is a dictionary column of a few different numbers.
type numberColumn struct {
	words   []int32 // by index
	indices runs
}

// valueColumn is the column of a statistic.
type valueColumn struct {
	values      []float64
	levels      runs // 1 where the row has a value
	least, most float64
}

var parquetMagic = []byte("PAR1")

func newParquet(w io.Writer, statistics []string, kv map[string]string) (*parquetFile, error) {
	root, err := parquetSchema(statistics)
	if err != nil {
		return nil, fmt.Errorf("parquet schema: %w", err)
	}
	properties := []parquet.WriterProperty{
		parquet.WithCreatedBy("cwharvest"),
		parquet.WithCompression(compress.Codecs.Zstd),
		parquet.WithDictionaryDefault(false),
		parquet.WithEncodingFor("timestamp", parquet.Encodings.DeltaBinaryPacked),
	}
	meta := metadata.NewKeyValueMetadata()
	for _, key := range slices.Sorted(maps.Keys(kv)) {
		if err := meta.Append(key, kv[key]); err != nil {
			return nil, fmt.Errorf("parquet metadata: %w", err)
		}
	}
	p := &parquetFile{
		out: &position{w: w}, properties: parquet.NewWriterProperties(properties...), schema: schema.NewSchema(root),
		texts: make([]textColumn, len(textColumns)), values: make([]valueColumn, len(statistics)),
	}
	p.metadata = metadata.NewFileMetadataBuilder(p.schema, p.properties, meta)
	for i := range p.texts {
		p.texts[i].known = map[string]int32{}
	}
	p.reset()
	_, err = p.out.Write(parquetMagic)
	return p, err
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
	n := p.addRows(r)
	p.periods.add(int32(r.Period), n)
	full := false
	for i, word := range []string{r.Account, r.Region, r.Namespace, r.Metric, r.InstanceID, r.Dimensions} {
		p.texts[i].add(word, n)
		full = full || p.texts[i].bytes >= mostText
	}
	if p.rows += n; p.rows >= rowGroup || full {
		return p.flush()
	}
	return nil
}

// addRows adds the timestamps and values of a run and returns the number of its rows.
// Usually a statistic has a value at every point, and then all points are rows.
func (p *parquetFile) addRows(r *Run) int {
	if !r.Whole && !slices.ContainsFunc(r.Columns, Complete) {
		return p.addSomeRows(r)
	}
	at, step := r.Start*1000, r.Period*1000
	p.earliest, p.latest = min(p.earliest, at), max(p.latest, at+int64(r.Points-1)*step)
	for range r.Points {
		p.timestamps = append(p.timestamps, at)
		at += step
	}
	for s, column := range r.Columns {
		p.values[s].addColumn(column, r.Points, r.Whole)
	}
	return r.Points
}

func (p *parquetFile) addSomeRows(r *Run) (rows int) {
	for i := range r.Points {
		if !r.HasRow(i) {
			continue
		}
		at := (r.Start + int64(i)*r.Period) * 1000
		p.timestamps = append(p.timestamps, at)
		p.earliest, p.latest = min(p.earliest, at), max(p.latest, at)
		for s, column := range r.Columns {
			if column == nil {
				p.values[s].levels.add(0, 1)
			} else {
				p.values[s].add(column[i])
			}
		}
		rows++
	}
	return rows
}

// Complete reports whether a column has at least one point, and a value at every one.
func Complete(column []float64) bool {
	for _, v := range column {
		if v != v { // NaN
			return false
		}
	}
	return len(column) > 0
}

// addColumn adds a row for each point. Whole promises that the column has no NaN.
func (v *valueColumn) addColumn(column []float64, points int, whole bool) {
	switch {
	case column == nil:
		v.levels.add(0, points)
	case whole || Complete(column):
		v.levels.add(1, points)
		v.values = append(v.values, column...)
		v.boundAll(column)
	default:
		for _, value := range column {
			v.add(value)
		}
	}
}

// add adds a row. NaN is null.
func (v *valueColumn) add(value float64) {
	if value != value {
		v.levels.add(0, 1)
		return
	}
	v.levels.add(1, 1)
	v.values = append(v.values, value)
	v.bound(value)
}

func (v *valueColumn) bound(value float64) {
	if value < v.least {
		v.least = value
	}
	if value > v.most {
		v.most = value
	}
}

// boundAll is bound for values without NaN. It does not use min and max, which are
// slower because they check for NaN.
func (v *valueColumn) boundAll(values []float64) {
	least, most := v.least, v.most
	for _, value := range values {
		if value < least {
			least = value
		}
		if value > most {
			most = value
		}
	}
	v.least, v.most = least, most
}

func (c *numberColumn) add(number int32, rows int) {
	index := slices.Index(c.words, number)
	if index < 0 {
		index = len(c.words)
		c.words = append(c.words, number)
	}
	c.indices.add(int32(index), rows)
}

func (t *textColumn) add(word string, rows int) {
	index, known := t.known[word]
	if !known {
		index = int32(len(t.words))
		t.words = append(t.words, word)
		t.known[word] = index
		t.bytes += len(word)
	}
	t.indices.add(index, rows)
}

// Close writes the last row group and the footer.
func (p *parquetFile) Close() error {
	if err := p.flush(); err != nil {
		return err
	}
	all, err := p.metadata.Finish()
	if err != nil {
		return fmt.Errorf("parquet metadata: %w", err)
	}
	n, err := all.WriteTo(p.out, nil)
	if err != nil {
		return fmt.Errorf("parquet metadata: %w", err)
	}
	_, err = p.out.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(n)), parquetMagic...))
	return err
}

// flush writes the gathered rows as one row group, column by column.
func (p *parquetFile) flush() error {
	if p.rows == 0 {
		return nil
	}
	group := p.metadata.AppendRowGroup()
	group.SetNumRows(p.rows)
	err := p.writeColumns(group)
	if err == nil {
		err = group.Finish(0, p.groups)
	}
	if err != nil {
		return fmt.Errorf("parquet row group: %w", err)
	}
	p.groups++
	p.reset()
	return nil
}

func (p *parquetFile) writeColumns(group *metadata.RowGroupMetaDataBuilder) (err error) {
	for i := range p.texts {
		err = errors.Join(err, p.writeText(group.NextColumnChunk(), &p.texts[i]))
	}
	err = errors.Join(err, p.writeTimestamps(group.NextColumnChunk()), p.writePeriods(group.NextColumnChunk()))
	for i := range p.values {
		err = errors.Join(err, p.writeValues(group.NextColumnChunk(), &p.values[i]))
	}
	return err
}

func (p *parquetFile) writeText(chunk *metadata.ColumnChunkMetaDataBuilder, t *textColumn) error {
	p.dictionary = p.dictionary[:0]
	for _, word := range t.words {
		p.dictionary = append(binary.LittleEndian.AppendUint32(p.dictionary, uint32(len(word))), word...)
	}
	least, most := []byte(slices.Min(t.words)), []byte(slices.Max(t.words))
	return p.writeIndices(chunk, len(t.words), t.indices, least, most)
}

func (p *parquetFile) writePeriods(chunk *metadata.ColumnChunkMetaDataBuilder) error {
	number := func(n int32) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }
	c := &p.periods
	p.dictionary = p.dictionary[:0]
	for _, n := range c.words {
		p.dictionary = append(p.dictionary, number(n)...)
	}
	return p.writeIndices(chunk, len(c.words), c.indices, number(slices.Min(c.words)), number(slices.Max(c.words)))
}

// writeIndices writes a column of indices into the words of p.dictionary.
func (p *parquetFile) writeIndices(chunk *metadata.ColumnChunkMetaDataBuilder, words int, indices runs, least, most []byte) error {
	width := max(bits.Len(uint(words-1)), 1)
	p.body = indices.appendHybrid(append(p.body[:0], byte(width)), width)
	p.packed = parquetCodec.Encode(p.packed, p.body)
	return p.writeChunk(chunk, words, parquet.Encodings.RLEDict, 0, least, most)
}

func (p *parquetFile) writeTimestamps(chunk *metadata.ColumnChunkMetaDataBuilder) error {
	number := func(n int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }
	p.body = appendDelta(p.body[:0], p.timestamps)
	p.packed = parquetCodec.Encode(p.packed, p.body)
	return p.writeChunk(chunk, 0, parquet.Encodings.DeltaBinaryPacked, 0, number(p.earliest), number(p.latest))
}

func (p *parquetFile) writeValues(chunk *metadata.ColumnChunkMetaDataBuilder, v *valueColumn) error {
	p.body = v.levels.appendHybrid(append(p.body[:0], 0, 0, 0, 0), 1)
	head := len(p.body)
	binary.LittleEndian.PutUint32(p.body, uint32(head-4))
	p.body = append(p.body, arrow.Float64Traits.CastToBytes(v.values)...)
	p.packed = parquetCodec.encoder.AppendDoubles(p.packed[:0], p.body, head)
	var least, most []byte
	if len(v.values) > 0 {
		least, most = encodeBound(v.least, -1), encodeBound(v.most, 1)
	}
	return p.writeChunk(chunk, 0, parquet.Encodings.Plain, p.rows-len(v.values), least, most)
}

// encodeBound encodes a bound of values. A zero gets the sign that includes both zeros
// (parquet.thrift, TypeDefinedOrder).
func encodeBound(v, sign float64) []byte {
	if v == 0 {
		v = math.Copysign(0, sign)
	}
	return binary.LittleEndian.AppendUint64(nil, math.Float64bits(v))
}

// writeChunk writes a column chunk: p.dictionary if there are words, and then the data
// page whose compressed form of p.body is p.packed.
func (p *parquetFile) writeChunk(chunk *metadata.ColumnChunkMetaDataBuilder, words int, encoding parquet.Encoding, nulls int, least, most []byte) error {
	var stats metadata.EncodedStatistics
	stats.SetNullCount(int64(nulls))
	if least != nil {
		stats.SetMin(least).SetMax(most).ApplyStatSizeLimits(longestBound)
	}
	chunk.SetStats(stats)
	pages, err := file.NewPageWriter(p.out, compress.Codecs.Zstd, 0, chunk, p.groups, int16(0), memory.DefaultAllocator, false, nil, nil)
	if err != nil {
		return err
	}
	if words > 0 {
		page := file.NewDictionaryPage(memory.NewBufferBytes(p.dictionary), int32(words), parquet.Encodings.Plain)
		if _, err := pages.WriteDictionaryPage(page); err != nil {
			return err
		}
	}
	page := file.NewDataPageV1(memory.NewBufferBytes(p.packed), int32(p.rows), encoding, parquet.Encodings.RLE, parquet.Encodings.RLE, int32(len(p.body)))
	if _, err := pages.WriteDataPage(page); err != nil {
		return err
	}
	return pages.Close(words > 0, false)
}

// longestBound is the length in bytes up to which a text is written as a bound.
const longestBound = 4 << 10

// reset empties the columns and keeps their memory for the next row group.
func (p *parquetFile) reset() {
	p.rows = 0
	for i := range p.texts {
		t := &p.texts[i]
		clear(t.known)
		t.words, t.indices, t.bytes = t.words[:0], t.indices[:0], 0
	}
	p.timestamps, p.earliest, p.latest = p.timestamps[:0], math.MaxInt64, math.MinInt64
	p.periods.words, p.periods.indices = p.periods.words[:0], p.periods.indices[:0]
	for i := range p.values {
		v := &p.values[i]
		v.values, v.levels = v.values[:0], v.levels[:0]
		v.least, v.most = math.Inf(1), math.Inf(-1)
	}
}
