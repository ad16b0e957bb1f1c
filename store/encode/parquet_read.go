package encode

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/schema"
	"github.com/apache/thrift/lib/go/thrift"
	shallow "github.com/parquet-go/parquet-go/encoding/thrift"
)

// Limits on the counts in a Parquet file, which may be damaged.
const (
	maxFooter = 64 << 20 // bytes; a row group takes about 3 KB of the footer
	maxPage   = 64 << 20 // bytes
	batchRows = 4096     // rows that are decoded at once
)

// parquetRows reads the files of parquetFile. It decodes a batch of rows at a time,
// column by column.
type parquetRows struct {
	file       *file.Reader
	memory     *recycler
	statistics []string

	group       int   // index of the next row group
	left        int64 // rows of the current row group that are not yet decoded
	rows, taken int   // rows of the batch, and the number of those already returned
	texts       []textBatch
	timestamps  []int64 // milliseconds
	periods     []int32
	values      []valueBatch

	chunks  []file.ColumnChunkReader // of the current row group
	defined []int16                  // buffer for definition levels
}

// textBatch is a text column of a batch. Consecutive rows with the same text share a
// string.
type textBatch struct {
	raw  []parquet.ByteArray
	last string
	rows []string
}

// valueBatch is a statistic column of a batch, with NaN for null.
type valueBatch struct{ rows []float64 }

func openParquet(r io.ReaderAt, size int64) (*parquetRows, error) {
	if err := checkFooter(r, size); err != nil {
		return nil, err
	}
	memory := new(recycler)
	properties := parquet.NewReaderProperties(memory)
	properties.BufferedStreamEnabled = true // otherwise arrow reads a whole column of a row group
	properties.BufferSize = 64 << 10
	properties.MaxCompressedPageSize, properties.MaxUncompressedPageSize = maxPage, maxPage
	f, err := file.NewParquetReader(io.NewSectionReader(r, 0, size), file.WithReadProps(properties))
	if err != nil {
		return nil, err
	}
	statistics, err := checkSchema(f.MetaData().Schema)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	p := &parquetRows{
		file: f, memory: memory, statistics: statistics,
		texts:      make([]textBatch, len(textColumns)),
		timestamps: make([]int64, batchRows),
		periods:    make([]int32, batchRows),
		values:     make([]valueBatch, len(statistics)),
		defined:    make([]int16, batchRows),
	}
	for i := range p.texts {
		p.texts[i].raw, p.texts[i].rows = make([]parquet.ByteArray, batchRows), make([]string, batchRows)
	}
	for i := range p.values {
		p.values[i].rows = make([]float64, batchRows)
	}
	return p, nil
}

// checkFooter checks the footer before arrow reads it. No checksum covers the footer,
// and arrow allocates memory by the counts in it and recurses by the depth of its
// schema.
func checkFooter(r io.ReaderAt, size int64) error {
	end := make([]byte, 8) // length and magic
	if size < 12 {
		return errors.New("too short for a Parquet file")
	}
	if _, err := r.ReadAt(end, size-8); err != nil && err != io.EOF {
		return err
	}
	length := int64(binary.LittleEndian.Uint32(end))
	if string(end[4:]) != "PAR1" || length > size-12 || length > maxFooter {
		return errors.New("no footer at the end: the file is truncated, or not a Parquet file")
	}
	footer := make([]byte, length)
	if _, err := r.ReadAt(footer, size-8-length); err != nil && err != io.EOF {
		return err
	}
	// Skipping the structure reads every element of every list, to a limited depth.
	skimmed := thrift.NewTCompactProtocolConf(&thrift.TMemoryBuffer{Buffer: bytes.NewBuffer(footer)}, nil)
	if err := thrift.SkipDefaultDepth(context.Background(), skimmed, thrift.STRUCT); err != nil {
		return fmt.Errorf("footer: %w", err)
	}
	var meta struct {
		Schema []struct {
			Children shallow.Null[int32] `thrift:"5,optional"`
		} `thrift:"2,required"`
	}
	if err := shallow.Unmarshal(new(shallow.CompactProtocol), footer, &meta); err != nil {
		return fmt.Errorf("footer: %w", err)
	}
	for i, element := range meta.Schema {
		if i == 0 && int(element.Children.V) != len(meta.Schema)-1 || i > 0 && element.Children.V != 0 {
			return errors.New("schema has nested columns")
		}
	}
	return nil
}

// checkSchema returns the statistic columns of a schema. It returns an error for a
// schema that parquetFile does not write.
func checkSchema(s *schema.Schema) ([]string, error) {
	names := make([]string, s.NumColumns())
	for i := range names {
		names[i] = s.Column(i).Name()
	}
	statistics, err := statisticsOf(names)
	if err != nil {
		return nil, err
	}
	want, err := parquetSchema(statistics)
	if err != nil {
		return nil, err
	}
	for i := range names {
		if got, want := s.Column(i).SchemaNode(), want.Field(i); !got.Equals(want) {
			return nil, fmt.Errorf("column %s has an unexpected type", names[i])
		}
	}
	return statistics, nil
}

func (p *parquetRows) columns() []string { return p.statistics }

func (p *parquetRows) close() error { return errors.Join(p.closeGroup(), p.file.Close()) }

func (p *parquetRows) next(r *row) error {
	for p.taken == p.rows {
		if err := p.batch(); err != nil {
			return err
		}
	}
	i := p.taken
	p.taken++
	for c := range p.texts {
		r.texts[c] = p.texts[c].rows[i]
	}
	if p.timestamps[i]%1000 != 0 {
		return fmt.Errorf("timestamp %d ms is not a whole second", p.timestamps[i])
	}
	r.at, r.period = p.timestamps[i]/1000, int64(p.periods[i])
	for c := range p.values {
		r.values[c] = p.values[c].rows[i]
	}
	return nil
}

// batch decodes the next rows of the current row group, or opens the next row group.
func (p *parquetRows) batch() error {
	p.rows, p.taken = 0, 0
	if p.left == 0 {
		return p.nextGroup()
	}
	n := int(min(p.left, batchRows))
	for i, chunk := range p.chunks {
		if err := p.readColumn(chunk, i, n); err != nil {
			return fmt.Errorf("column %s: %w", chunk.Descriptor().Name(), err)
		}
	}
	p.left -= int64(n)
	p.rows = n
	if p.left == 0 {
		return p.checkEnd()
	}
	return nil
}

func (p *parquetRows) nextGroup() error {
	if err := p.closeGroup(); err != nil {
		return err
	}
	if p.group == p.file.NumRowGroups() {
		return io.EOF
	}
	group := p.file.RowGroup(p.group)
	p.group++
	if group.NumRows() < 0 || group.NumColumns() != len(fixedColumns)+len(p.statistics) {
		return fmt.Errorf("row group %d has %d columns and %d rows", p.group, group.NumColumns(), group.NumRows())
	}
	for i := range group.NumColumns() {
		chunk, err := p.openChunk(group, i)
		if err != nil {
			return fmt.Errorf("row group %d: column %d: %w", p.group, i+1, err)
		}
		p.chunks = append(p.chunks, chunk)
	}
	p.left = group.NumRows()
	return nil
}

func (p *parquetRows) openChunk(group *file.RowGroupReader, i int) (file.ColumnChunkReader, error) {
	meta, err := group.MetaData().ColumnChunk(i)
	if err != nil {
		return nil, err
	}
	if meta.NumValues() != group.NumRows() || meta.Compression() != compress.Codecs.Zstd {
		return nil, fmt.Errorf("%d values for %d rows, compression %s", meta.NumValues(), group.NumRows(), meta.Compression())
	}
	pages, err := group.GetColumnPageReader(i)
	if err != nil {
		return nil, err
	}
	//lint:ignore SA1019 the alternative gives no access to pages
	return file.NewColumnReader(p.file.MetaData().Schema.Column(i), &checkedPages{PageReader: pages}, p.memory, p.file.BufferPool()), nil
}

// checkEnd returns an error if a column has more values than the row group has rows.
func (p *parquetRows) checkEnd() error {
	for _, chunk := range p.chunks {
		if chunk.HasNext() {
			return fmt.Errorf("column %s has more values than the row group has rows", chunk.Descriptor().Name())
		}
	}
	return nil
}

func (p *parquetRows) closeGroup() (err error) {
	for _, chunk := range p.chunks {
		err = errors.Join(err, chunk.Close())
	}
	p.chunks = p.chunks[:0]
	return err
}

func (p *parquetRows) readColumn(chunk file.ColumnChunkReader, column, n int) (err error) {
	switch chunk := chunk.(type) {
	case *file.ByteArrayColumnChunkReader:
		return p.texts[column].read(chunk, n)
	case *file.Int64ColumnChunkReader:
		_, err = fill(chunk, chunk.ReadBatchInPage, p.timestamps[:n], p.defined)
	case *file.Int32ColumnChunkReader:
		_, err = fill(chunk, chunk.ReadBatchInPage, p.periods[:n], p.defined)
	case *file.Float64ColumnChunkReader:
		err = p.values[column-len(fixedColumns)].read(chunk, n, p.defined)
	}
	return err
}

// fill reads the values of len(into) rows and returns the number of values. It reads
// page by page, because arrow's ReadBatch loops forever when a damaged page has fewer
// rows than its header says.
func fill[T any](chunk file.ColumnChunkReader, read func(int64, []T, []int16, []int16) (int64, int, error), into []T, defined []int16) (values int, err error) {
	for done := 0; done < len(into); {
		got, n, err := read(int64(len(into)-done), into[values:], defined[done:], nil)
		if err := progress(got, errors.Join(err, chunk.Err())); err != nil {
			return 0, err
		}
		done += int(got)
		values += n
	}
	return values, nil
}

// progress returns err, or io.ErrUnexpectedEOF for a column that ends too early.
func progress(got int64, err error) error {
	if err == nil && got == 0 {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// read reads page by page, because the raw texts are slices of the page.
func (t *textBatch) read(chunk *file.ByteArrayColumnChunkReader, n int) error {
	for done := 0; done < n; {
		got, _, err := chunk.ReadBatchInPage(int64(n-done), t.raw, nil, nil)
		if err := progress(got, errors.Join(err, chunk.Err())); err != nil {
			return err
		}
		for _, raw := range t.raw[:got] {
			if string(raw) != t.last {
				t.last = string(raw)
			}
			t.rows[done] = t.last
			done++
		}
	}
	return nil
}

// read reads the values, which are stored without gaps, and moves each to its row.
func (v *valueBatch) read(chunk *file.Float64ColumnChunkReader, n int, defined []int16) error {
	values, err := fill(chunk, chunk.ReadBatchInPage, v.rows[:n], defined)
	if err != nil {
		return err
	}
	for i := n - 1; i >= 0; i-- {
		if defined[i] == 0 {
			v.rows[i] = math.NaN()
			continue
		}
		values--
		v.rows[i] = v.rows[values]
	}
	return nil
}

// checkedPages ends with an error at a page for which arrow would allocate memory
// without bound, or with an encoding that parquetFile does not write.
type checkedPages struct {
	file.PageReader
	err error
}

func (c *checkedPages) Next() bool {
	if c.err != nil || !c.PageReader.Next() {
		return false
	}
	c.err = checkPage(c.Page())
	return c.err == nil
}

func (c *checkedPages) Err() error { return errors.Join(c.err, c.PageReader.Err()) }

func (c *checkedPages) GetDictionaryPage() (*file.DictionaryPage, error) {
	page, err := c.PageReader.GetDictionaryPage()
	if err == nil && page != nil {
		err = checkPage(page)
	}
	return page, err
}

func checkPage(page file.Page) error {
	data := page.Data()
	if page.Type() == file.PageTypeDictionaryPage {
		if int(page.NumValues()) > len(data)/4 { // each word takes at least 4 bytes
			return fmt.Errorf("dictionary has %d words in %d bytes", page.NumValues(), len(data))
		}
		return nil
	}
	switch encoding := parquet.Encoding(page.Encoding()); encoding {
	case parquet.Encodings.Plain, parquet.Encodings.PlainDict, parquet.Encodings.RLEDict:
		return nil
	case parquet.Encodings.DeltaBinaryPacked:
		if block, n := binary.Uvarint(data); n <= 0 || block > 1<<16 { // 128 is usual
			return fmt.Errorf("delta encoding has blocks of %d values", block)
		}
		return nil
	default:
		return fmt.Errorf("unexpected encoding %s", encoding)
	}
}
