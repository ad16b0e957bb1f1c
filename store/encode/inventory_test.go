package encode

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/parquet/file"
)

var inventoryRows = []InventoryRow{
	{Account: "000122223333", Region: "us-east-1", Namespace: "AWS/EC2", InstanceID: "i-1", Dimensions: "InstanceId=i-1",
		Type: "m7g.large", Zone: "us-east-1a", Platform: "Linux/UNIX", State: "running",
		LaunchTime: time.Date(2025, 11, 24, 1, 2, 3, 0, time.UTC), Tags: `{"Name":"a, \"b\""}`, Sources: "ec2,cloudwatch",
		Outcome: "done", Rows: 288},
	{Account: "000122223333", Region: "us-east-1", Namespace: "Shop", InstanceID: "=1+1", Dimensions: "'Path'",
		Outcome: "denied", Class: "AccessDenied", Reason: "two\nlines"},
}

// wantInventory lists the cells of inventoryRows, with null as an empty cell.
var wantInventory = []string{
	`000122223333|us-east-1|AWS/EC2|i-1|InstanceId=i-1|m7g.large|us-east-1a|Linux/UNIX|running|2025-11-24T01:02:03Z|{"Name":"a, \"b\""}|ec2,cloudwatch|done|288||`,
	"000122223333|us-east-1|Shop|=1+1|'Path'|||||||" + "|denied|0|AccessDenied|two\nlines",
}

func writeInventory(t *testing.T, f Format, rows []InventoryRow) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := f.NewInventoryWriter(&b, map[string]string{"k": "v"})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compareInventory(t *testing.T, f Format, header, got []string) {
	t.Helper()
	if h := strings.Join(header, ",") + "\r\n"; h != inventoryHeader {
		t.Errorf("%v: columns %s", f, h)
	}
	if !slices.Equal(got, wantInventory) {
		t.Errorf("%v:\n%s\nwant\n%s", f, strings.Join(got, "\n"), strings.Join(wantInventory, "\n"))
	}
}

func TestInventoryCSVIsReadBack(t *testing.T) {
	for _, compression := range []string{"none", "gzip", "zstd"} {
		f := Format{"csv", compression}
		rows, err := csv.NewReader(bytes.NewReader(unpack(t, compression, writeInventory(t, f, inventoryRows)))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, row := range rows[1:] {
			for i := range row {
				if row[i] != "" && strings.Contains("=+-@", row[i][:1]) {
					t.Errorf("cell %q is a formula", row[i])
				}
				row[i] = plainCell(row[i])
			}
			got = append(got, strings.Join(row, "|"))
		}
		compareInventory(t, f, rows[0], got)
	}
}

func TestInventoryJSONLinesAreReadBack(t *testing.T) {
	for _, compression := range []string{"", "gzip", "zstd"} {
		f := Format{"jsonl", compression}
		var header, got []string
		for line := range strings.Lines(string(unpack(t, compression, writeInventory(t, f, inventoryRows)))) {
			keys, err := keysOf([]byte(line))
			if err != nil {
				t.Fatal(err)
			}
			header = keys
			values := map[string]any{}
			if err := json.Unmarshal([]byte(line), &values); err != nil {
				t.Fatal(err)
			}
			var cells []string
			for _, key := range keys {
				if values[key] == nil {
					values[key] = ""
				}
				cells = append(cells, fmt.Sprint(values[key]))
			}
			got = append(got, strings.Join(cells, "|"))
		}
		compareInventory(t, f, header, got)
	}
}

// TestInventoryParquetIsReadBack reads a file of parquet-go with arrow.
func TestInventoryParquetIsReadBack(t *testing.T) {
	f := Format{Name: "parquet"}
	reader, err := file.NewParquetReader(bytes.NewReader(writeInventory(t, f, inventoryRows)))
	if err != nil {
		t.Fatal(err)
	}
	if v := reader.MetaData().KeyValueMetadata().FindValue("k"); v == nil || *v != "v" {
		t.Errorf("metadata %v", v)
	}
	group := reader.RowGroup(0)
	var header []string
	cells := make([][]string, group.NumRows())
	for i := range group.NumColumns() {
		column, err := group.Column(i)
		if err != nil {
			t.Fatal(err)
		}
		header = append(header, column.Descriptor().Name())
		for n, cell := range columnCells(t, column, len(cells)) {
			cells[n] = append(cells[n], cell)
		}
	}
	var got []string
	for _, row := range cells {
		got = append(got, strings.Join(row, "|"))
	}
	compareInventory(t, f, header, got)
	if logical := reader.MetaData().Schema.Column(9).LogicalType().String(); !strings.Contains(logical, "isAdjustedToUTC=true, timeUnit=milliseconds") {
		t.Errorf("launch_time is %s", logical)
	}
}

func columnCells(t *testing.T, column file.ColumnChunkReader, rows int) []string {
	t.Helper()
	cells := make([]string, rows)
	for i := range cells {
		var err error
		defined := []int16{1}
		switch column := column.(type) {
		case *file.ByteArrayColumnChunkReader:
			cells[i], err = oneCell(defined, column.ReadBatch)
		case *file.Int64ColumnChunkReader:
			cells[i], err = oneCell(defined, column.ReadBatch)
			var ms int64
			if column.Descriptor().Name() == "launch_time" && cells[i] != "" {
				_, err = fmt.Sscan(cells[i], &ms)
				cells[i] = time.UnixMilli(ms).UTC().Format(time.RFC3339)
			}
		default:
			t.Fatalf("column of %T", column)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return cells
}

func oneCell[T any](defined []int16, read func(int64, []T, []int16, []int16) (int64, int, error)) (string, error) {
	value := make([]T, 1)
	_, n, err := read(1, value, defined, nil)
	if n == 0 {
		return "", err
	}
	if b, ok := any(value[0]).(fmt.Stringer); ok {
		return b.String(), err
	}
	return fmt.Sprint(value[0]), err
}

// TestInventoryParquetHasRowGroups checks that the writer holds the rows of one row
// group in memory, and not those of the file.
func TestInventoryParquetHasRowGroups(t *testing.T) {
	data := writeInventory(t, Format{Name: "parquet"}, slices.Repeat(inventoryRows, inventoryRowGroup))
	reader, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if reader.NumRowGroups() != 2 || reader.NumRows() != 2*inventoryRowGroup {
		t.Errorf("%d rows in %d row groups", reader.NumRows(), reader.NumRowGroups())
	}
}
