package demo

import (
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
)

// Row is one row of a published file. Readers reuse it.
type Row struct {
	Account, Region, Namespace, Metric, InstanceID, Dimensions string

	At     time.Time
	Period int64
	Values []float64 // by statistic column; NaN for null
}

// ReadRows reads a published file of any format with libraries that the
// product does not write with.
func ReadRows(file *os.File, columns []string, yield func(*Row)) error {
	if strings.HasSuffix(file.Name(), ".parquet") {
		return readParquet(file, columns, yield)
	}
	text, err := uncompressed(file)
	if err != nil {
		return err
	}
	if strings.Contains(file.Name(), ".csv") {
		return readCSV(text, columns, yield)
	}
	return readJSONLines(text, columns, yield)
}

func uncompressed(file *os.File) (io.Reader, error) {
	switch {
	case strings.HasSuffix(file.Name(), ".gz"):
		return gzip.NewReader(file)
	case strings.HasSuffix(file.Name(), ".zst"):
		return zstd.NewReader(file)
	}
	return file, nil
}

func readParquet(file *os.File, columns []string, yield func(*Row)) error {
	reader := parquet.NewReader(file)
	defer reader.Close()
	index := map[string]int{}
	for i, name := range reader.Schema().Columns() {
		index[name[0]] = i
	}
	r := Row{Values: make([]float64, len(columns))}
	rows := make([]parquet.Row, 1024)
	for {
		n, err := reader.ReadRows(rows)
		for _, row := range rows[:n] {
			text := func(name string) string { return string(row[index[name]].ByteArray()) }
			r.Account, r.Region, r.Namespace, r.Metric = text("account"), text("region"), text("namespace"), text("metric")
			r.InstanceID, r.Dimensions = text("instance_id"), text("dimensions")
			r.At, r.Period = time.UnixMilli(row[index["timestamp"]].Int64()).UTC(), row[index["period_s"]].Int64()
			for i, column := range columns {
				at, known := index[column]
				if !known {
					return fmt.Errorf("no column %q", column)
				}
				r.Values[i] = math.NaN()
				if !row[at].IsNull() {
					r.Values[i] = row[at].Double()
				}
			}
			yield(&r)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func readCSV(text io.Reader, columns []string, yield func(*Row)) error {
	lines := csv.NewReader(text)
	header, err := lines.Read()
	if err != nil {
		return err
	}
	for {
		line, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		cells := map[string]string{}
		for i, name := range header {
			cells[name] = line[i]
		}
		if err := yieldCells(cells, columns, yield); err != nil {
			return err
		}
	}
}

func readJSONLines(text io.Reader, columns []string, yield func(*Row)) error {
	lines := json.NewDecoder(text)
	lines.UseNumber()
	for {
		var row map[string]any
		err := lines.Decode(&row)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		cells := map[string]string{}
		for name, value := range row {
			if cells[name] = fmt.Sprint(value); value == nil {
				cells[name] = ""
			}
		}
		if err := yieldCells(cells, columns, yield); err != nil {
			return err
		}
	}
}

// yieldCells parses the cells of a text format and yields the row.
func yieldCells(cells map[string]string, columns []string, yield func(*Row)) (err error) {
	r := Row{
		Account: cells["account"], Region: cells["region"], Namespace: cells["namespace"], Metric: cells["metric"],
		InstanceID: cells["instance_id"], Dimensions: cells["dimensions"], Values: make([]float64, len(columns)),
	}
	if r.At, err = time.Parse(time.RFC3339, cells["timestamp"]); err != nil {
		return err
	}
	if r.Period, err = strconv.ParseInt(cells["period_s"], 10, 64); err != nil {
		return err
	}
	for i, column := range columns {
		cell, known := cells[column]
		if !known {
			return fmt.Errorf("no column %q", column)
		}
		r.Values[i] = math.NaN()
		if cell == "" {
			continue
		}
		if r.Values[i], err = strconv.ParseFloat(cell, 64); err != nil {
			return err
		}
	}
	yield(&r)
	return nil
}
