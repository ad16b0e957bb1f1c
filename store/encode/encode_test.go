package encode

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
)

// twoRuns returns two series on one date. One has gaps and a statistic that the other
// lacks; the other has names that formats must quote.
func twoRuns() []Run {
	nan := math.NaN()
	return []Run{
		{Account: "000122223333", Region: "us-east-1", Namespace: "AWS/EC2", Metric: "CPUUtilization", InstanceID: "i-1", Dimensions: "InstanceId=i-1",
			Start: 1_763_942_400, Period: 300, Points: 3, Columns: [][]float64{{1.5, nan, 3}, {nan, nan, 1e300}}},
		{Account: "000122223333", Region: "us-east-1", Namespace: "Shop", Metric: `a "b", c`, InstanceID: "=1+1", Dimensions: "Path==1+1",
			Start: 1_763_942_400, Period: 60, Points: 2, Columns: [][]float64{{-0.25, 0}, nil}},
	}
}

// want lists the rows of twoRuns as text: account, metric, instance, timestamp, period,
// average, p99.
var want = []string{
	"000122223333|CPUUtilization|i-1|2025-11-24T00:00:00Z|300|1.5|",
	"000122223333|CPUUtilization|i-1|2025-11-24T00:10:00Z|300|3|1e+300",
	`000122223333|a "b", c|=1+1|2025-11-24T00:00:00Z|60|-0.25|`,
	`000122223333|a "b", c|=1+1|2025-11-24T00:01:00Z|60|0|`,
}

func write(t *testing.T, f Format) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := f.NewWriter(&b, []string{"Average", "p99"}, map[string]string{"k": "v"})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range twoRuns() {
		if err := w.WriteRun(&r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unpack(t *testing.T, compression string, data []byte) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(data)
	var err error
	switch compression {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "zstd":
		r, err = zstd.NewReader(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func compare(t *testing.T, f Format, got []string) {
	t.Helper()
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("%+v:\n%s\nwant\n%s", f, a, b)
	}
}

func TestCSVIsReadBack(t *testing.T) {
	for _, compression := range []string{"none", "gzip", "zstd"} {
		f := Format{"csv", compression}
		rows, err := csv.NewReader(bytes.NewReader(unpack(t, compression, write(t, f)))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if h := strings.Join(rows[0], ","); h != "account,region,namespace,metric,instance_id,dimensions,timestamp,period_s,average,p99" {
			t.Errorf("header %s", h)
		}
		var got []string
		for _, r := range rows[1:] {
			got = append(got, strings.Join([]string{r[0], r[3], strings.TrimPrefix(r[4], "'"), r[6], r[7], r[8], r[9]}, "|"))
			if strings.ContainsAny(r[4][:1], "=+-@") {
				t.Errorf("cell %q is a formula", r[4])
			}
		}
		compare(t, f, got)
	}
}

func TestJSONLinesAreReadBack(t *testing.T) {
	for _, compression := range []string{"", "gzip", "zstd"} {
		f := Format{"jsonl", compression}
		var got []string
		for line := range strings.Lines(string(unpack(t, compression, write(t, f)))) {
			var r struct {
				Account, Metric, Timestamp string
				InstanceID                 string `json:"instance_id"`
				Period                     int    `json:"period_s"`
				Average, P99               *float64
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s|%s|%s|%s|%d|%s|%s", r.Account, r.Metric, r.InstanceID, r.Timestamp, r.Period, number(r.Average), number(r.P99)))
		}
		compare(t, f, got)
	}
}

func number(v *float64) string {
	if v == nil {
		return ""
	}
	return fmt.Sprintf("%g", *v)
}

// TestParquetIsReadBack reads a Parquet file with parquet-go.
func TestParquetIsReadBack(t *testing.T) {
	data := write(t, Format{Name: "parquet"})
	type row struct {
		Account    string   `parquet:"account"`
		Metric     string   `parquet:"metric"`
		InstanceID string   `parquet:"instance_id"`
		Timestamp  int64    `parquet:"timestamp,timestamp(millisecond)"`
		Period     int32    `parquet:"period_s"`
		Average    *float64 `parquet:"average,optional"`
		P99        *float64 `parquet:"p99,optional"`
	}
	rows, err := parquet.Read[row](bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rows {
		at := map[int64]string{0: "2025-11-24T00:00:00Z", 600_000: "2025-11-24T00:10:00Z", 60_000: "2025-11-24T00:01:00Z"}[r.Timestamp-1_763_942_400_000]
		got = append(got, fmt.Sprintf("%s|%s|%s|%s|%d|%s|%s", r.Account, r.Metric, r.InstanceID, at, r.Period, number(r.Average), number(r.P99)))
	}
	compare(t, Format{Name: "parquet"}, got)
}

// TestEmptyCSVHasAHeader checks that a CSV file without rows has its header.
func TestEmptyCSVHasAHeader(t *testing.T) {
	var b bytes.Buffer
	w, err := Format{Name: "csv"}.NewWriter(&b, []string{"Sum"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil || !strings.HasSuffix(b.String(), ",period_s,sum\r\n") {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// TestCSVHoldsNoFormulas checks that no cell begins like a formula, that every cell is
// read back unchanged, and that negative numbers stay numbers.
func TestCSVHoldsNoFormulas(t *testing.T) {
	var cells []string
	for _, first := range []string{"=", "+", "-", "@", "\t", "\r", "\n", "'", "''", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\"=", ",=", "a", "\xff", ""} {
		for _, rest := range []string{"", "1+1", "cmd|' /C calc'!A0", "a,b", "say \"x\"", "a\nb"} {
			cells = append(cells, first+rest)
		}
	}
	for _, cell := range cells {
		for name, read := range map[string]func() []string{
			"rows": func() []string { return csvOfRun(t, cell) }, "inventory": func() []string { return csvOfInventory(t, cell) },
		} {
			got := read()
			for _, text := range got {
				first, _ := utf8.DecodeRuneInString(text)
				if text != "" && strings.ContainsRune("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20", first) && text != "-1.5" {
					t.Errorf("%s of %q: cell %q is a formula", name, cell, text)
				}
			}
			if want := strings.ReplaceAll(cell, "\r\n", "\n"); plainCell(got[0]) != want {
				t.Errorf("%s: %q is read back as %q", name, cell, plainCell(got[0]))
			}
			if name == "rows" && got[len(got)-1] != "-1.5" {
				t.Errorf("a value is %q", got[len(got)-1])
			}
		}
	}
}

func csvOfRun(t *testing.T, cell string) []string {
	return lastRecord(t, func(w io.Writer) error {
		out, err := Format{Name: "csv"}.NewWriter(w, []string{"Average"}, nil)
		if err != nil {
			return err
		}
		r := Run{
			Account: cell, Region: cell, Namespace: cell, Metric: cell, InstanceID: cell, Dimensions: cell,
			Start: 0, Period: 60, Points: 1, Columns: [][]float64{{-1.5}},
		}
		return errors.Join(out.WriteRun(&r), out.Close())
	})
}

func csvOfInventory(t *testing.T, cell string) []string {
	return lastRecord(t, func(w io.Writer) error {
		out, err := Format{Name: "csv"}.NewInventoryWriter(w, nil)
		if err != nil {
			return err
		}
		r := InventoryRow{
			Account: cell, Region: cell, Namespace: cell, InstanceID: cell, Dimensions: cell, Type: cell, Zone: cell, Platform: cell,
			State: cell, Tags: cell, Sources: cell, Outcome: cell, Class: cell, Reason: cell,
		}
		return errors.Join(out.Write(r), out.Close())
	})
}

func lastRecord(t *testing.T, write func(io.Writer) error) []string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(records) != 2 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	return records[1]
}
