package encode

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
)

var allFormats = []Format{
	{"parquet", ""},
	{"csv", "none"}, {"csv", "gzip"}, {"csv", "zstd"},
	{"jsonl", "none"}, {"jsonl", "gzip"}, {"jsonl", "zstd"},
}

var someStatistics = []string{"Average", "Sum", "p99", "TM(10%:90%)"}

// oddTexts lists difficult names and dimensions.
var oddTexts = []string{"", "plain", "a,b", `say "x"`, "=1+1", "-2", "+3", "@at", "\ttab", "\rcr", "\nlf", "two\nlines",
	"'quoted'", "''", "'", "'=1", "ünïcödé 日本 🙂", `back\slash`, "<&>", " leading", "trailing ", "#", "\u2028", `{"json":1}`, "\uFEFF"}

// randomRuns returns runs for a file: each of another series, which lacks some
// statistics.
func randomRuns(random *rand.Rand, runs int) []Run {
	text := func() string { return oddTexts[random.IntN(len(oddTexts))] }
	out := make([]Run, runs)
	for i := range out {
		period := []int64{1, 60, 300, 3600}[random.IntN(4)]
		points := 1 + random.IntN(min(int(daySeconds/period), 1500))
		first := random.Int64N(daySeconds/period - int64(points) + 1)
		out[i] = Run{Account: text(), Region: text(), Namespace: text(), Metric: text() + fmt.Sprint(i), InstanceID: text(), Dimensions: text(),
			Start: 20_000*daySeconds + first*period, Period: period, Points: points, Columns: make([][]float64, len(someStatistics))}
		for c := range out[i].Columns {
			if c == i%len(someStatistics) || random.IntN(3) > 0 {
				out[i].Columns[c] = randomColumn(random, points)
			}
		}
	}
	return out
}

func randomColumn(random *rand.Rand, points int) []float64 {
	column := make([]float64, points)
	for i := range column {
		switch random.IntN(5) {
		case 0:
			column[i] = math.NaN()
		case 1:
			column[i] = float64(random.IntN(100))
		case 2:
			column[i] = math.Copysign(0, -1)
		default:
			v := math.Float64frombits(random.Uint64())
			if math.IsInf(v, 0) {
				v = math.MaxFloat64
			}
			column[i] = v
		}
	}
	return column
}

func writeRuns(t testing.TB, f Format, runs []Run) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := f.NewWriter(&b, someStatistics, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range runs {
		if err := w.WriteRun(&runs[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// lines returns the rows of a run as text, with the bits of their values.
func lines(r *Run, columns int) (out []string) {
	for i := range r.Points {
		if !r.HasRow(i) {
			continue
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%q %d %d", []string{r.Account, r.Region, r.Namespace, r.Metric, r.InstanceID, r.Dimensions},
			r.Start+int64(i)*r.Period, r.Period)
		for c := range columns {
			if c < len(r.Columns) && r.Columns[c] != nil && r.Columns[c][i] == r.Columns[c][i] {
				fmt.Fprintf(&b, " %x", math.Float64bits(r.Columns[c][i]))
			} else {
				b.WriteString(" null")
			}
		}
		out = append(out, b.String())
	}
	return out
}

// readLines reads a file to its end or to the error that ends it.
func readLines(f Format, data []byte) (out []string, err error) {
	reader, err := f.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	var r Run
	for {
		err = reader.Next(&r)
		if err != nil {
			break
		}
		if r.Points < 1 || r.Points > daySeconds || len(r.Columns) != len(reader.Columns()) {
			return nil, fmt.Errorf("run of %d points and %d columns", r.Points, len(r.Columns))
		}
		out = append(out, lines(&r, len(r.Columns))...)
	}
	if err == io.EOF {
		err = nil
	}
	return out, errors.Join(err, reader.Close())
}

func TestFilesAreReadBack(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			runs := randomRuns(rand.New(rand.NewPCG(seed, 1)), 1+int(seed)*7)
			var want []string
			for i := range runs {
				want = append(want, lines(&runs[i], len(someStatistics))...)
			}
			for _, f := range allFormats {
				got, err := readLines(f, writeRuns(t, f, runs))
				if err != nil {
					t.Fatalf("%v: %v", f, err)
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%v: %d rows read, %d written, or they differ", f, len(got), len(want))
				}
			}
		})
	}
}

// TestParquetRowGroupsAreReadBack reads a file with two row groups and with runs that
// are longer than a batch.
func TestParquetRowGroupsAreReadBack(t *testing.T) {
	f := Format{Name: "parquet"}
	runs := make([]Run, 4)
	var want []string
	for i := range runs {
		column := make([]float64, 60_000)
		for j := range column {
			column[j] = float64(j * i)
		}
		runs[i] = Run{Metric: fmt.Sprint(i), Start: 20_000 * daySeconds, Period: 1, Points: len(column),
			Columns: [][]float64{column, nil, column, nil}}
		want = append(want, lines(&runs[i], len(someStatistics))...)
	}
	got, err := readLines(f, writeRuns(t, f, runs))
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%d rows read, %d written: %v", len(got), len(want), err)
	}
}

// TestParquetLongWordsAreReadBack writes more words than a page of the reader may hold:
// long dimensions, and one row for each series.
func TestParquetLongWordsAreReadBack(t *testing.T) {
	f := Format{Name: "parquet"}
	long := strings.Repeat("x", 30<<10)
	runs := make([]Run, 2250)
	for i := range runs {
		runs[i] = Run{Metric: "m", InstanceID: fmt.Sprint(i), Dimensions: fmt.Sprint("d=", long, i), Start: 20_000 * daySeconds,
			Period: daySeconds, Points: 1, Columns: [][]float64{{float64(i)}, nil, nil, nil}}
	}
	if got, err := readLines(f, writeRuns(t, f, runs)); err != nil || len(got) != len(runs) {
		t.Errorf("%d rows read, %d written: %v", len(got), len(runs), err)
	}
}

func TestFileWithoutRowsIsReadBack(t *testing.T) {
	for _, f := range allFormats {
		data := writeRuns(t, f, nil)
		reader, err := f.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Errorf("%v: %v", f, err)
			continue
		}
		want := []string{"average", "sum", "p99", "tm_10_90"}
		if f.Name == "jsonl" {
			want = nil
		}
		if got := reader.Columns(); !slices.Equal(got, want) {
			t.Errorf("%v: columns %q", f, got)
		}
		var r Run
		if err := reader.Next(&r); err != io.EOF {
			t.Errorf("%v: %v", f, err)
		}
	}
}

// csvOf returns a CSV file with rows of one series, each "timestamp,period,value".
func csvOf(rows ...string) string {
	text := strings.Join(fixedColumns, ",") + ",sum\r\n"
	for _, row := range rows {
		text += "a,r,n,m,i,d," + row + "\r\n"
	}
	return text
}

func TestRunsAreSplit(t *testing.T) {
	file := csvOf(
		"2026-01-01T00:00:00Z,60,1", "2026-01-01T00:03:00Z,60,2", // a gap of two
		"2026-01-01T00:03:30Z,60,3",                                // off the grid
		"2026-01-01T00:05:00Z,300,4", "2026-01-01T00:10:00Z,300,5", // another period
		"2026-01-02T00:00:00Z,300,6", // another date
	)
	reader, err := Format{Name: "csv"}.NewReader(strings.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	var r Run
	for err = reader.Next(&r); err == nil; err = reader.Next(&r) {
		got = append(got, fmt.Sprint(r.Period, r.Columns))
	}
	want := []string{"60 [[1 NaN NaN 2]]", "60 [[3]]", "300 [[4 5]]", "300 [[6]]"}
	if err != io.EOF || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestErrorsNameTheRow(t *testing.T) {
	good := "2026-01-01T00:05:00Z,60,1"
	header := csvOf()
	for name, c := range map[string]struct{ format, file, want string }{
		"no header":    {"csv", "", "no header"},
		"other header": {"csv", "a,b\r\n", "columns"},
		"same column":  {"csv", strings.Replace(header, "sum", "sum,sum", 1), "used twice"},
		"descending":   {"csv", csvOf(good, "2026-01-01T00:04:00Z,60,1"), "row 2: timestamp"},
		"twice":        {"csv", csvOf(good, good), "row 2: timestamp"},
		"no value":     {"csv", csvOf(good, "2026-01-01T00:06:00Z,60,"), "row 2: no value"},
		"value":        {"csv", csvOf(good, "2026-01-01T00:06:00Z,60,NaN"), "row 2: value"},
		"period":       {"csv", csvOf("2026-01-01T00:06:00Z,0,1"), "row 1: period 0"},
		"fraction":     {"csv", csvOf("2026-01-01T00:06:00.5Z,60,1"), "row 1: timestamp"},
		"before 1970":  {"csv", csvOf("1969-01-01T00:06:00Z,60,1"), "row 1: timestamp"},
		"cells":        {"csv", csvOf(good, good+",1"), "row 2: "},
		"quote":        {"csv", header + `"` + strings.Repeat("a", 2*maxRow), "row 1: "},
		"cut":          {"csv", strings.TrimSuffix(csvOf(good), "\r\n"), io.ErrUnexpectedEOF.Error()},
		"long line":    {"jsonl", strings.Repeat(" ", 2*maxRow), "longer than"},
		"nested":       {"jsonl", `{"account":{}}` + "\n", "file: "},
		"no object":    {"jsonl", "[1]\n", "not an object"},
	} {
		_, err := readLines(Format{Name: c.format}, []byte(c.file))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestJSONLinesKeepTheirKeys checks that every line must have the keys of the first.
func TestJSONLinesKeepTheirKeys(t *testing.T) {
	f := Format{Name: "jsonl"}
	good := string(writeRuns(t, f, []Run{{Metric: "m", Start: 60, Period: 60, Points: 1, Columns: [][]float64{{1}, nil, nil, nil}}}))
	for _, bad := range []string{
		strings.Replace(good, `"sum":null`, `"total":null`, 1),
		strings.Replace(good, `"account":""`, `"account":1`, 1),
		strings.Replace(good, "}", "}}", 1),
		strings.Replace(good, "}", `,"more":1}`, 1),
		strings.Replace(good, `"average":1`, `"average":1x`, 1),
		strings.Replace(good, `"average":1`, `"average":Inf`, 1),
		strings.Replace(good, "1970-01-01T00:01:00Z", "yesterday", 1),
		"\n", "null\n", "{}\n",
	} {
		if got, err := readLines(f, []byte(good+bad)); err == nil || len(got) != 1 || !strings.Contains(err.Error(), "row 2: ") {
			t.Errorf("%q: %d rows, %v", bad, len(got), err)
		}
	}
}

// TestTruncatedFilesAreErrors truncates files at many offsets, except an uncompressed
// text file at the end of a line, which is a complete file.
func TestTruncatedFilesAreErrors(t *testing.T) {
	runs := randomRuns(rand.New(rand.NewPCG(3, 3)), 3)
	for i := range runs {
		runs[i].Points = min(runs[i].Points, 40)
	}
	for _, f := range allFormats {
		data := writeRuns(t, f, runs)
		for end := len(data) - 1; end > 0; end -= 1 + len(data)/400 {
			plain := f.Compression == "none"
			if plain && (data[end-1] == '\n' || data[end] == '\n') {
				continue
			}
			if _, err := readLines(f, data[:end]); err == nil {
				t.Errorf("%v: the first %d of %d bytes are read without an error", f, end, len(data))
			}
		}
	}
}

// TestDamagedParquetTakesLittleMemory damages one byte after the other, and more of them
// in the footer, which no checksum covers.
func TestDamagedParquetTakesLittleMemory(t *testing.T) {
	f := Format{Name: "parquet"}
	data := writeRuns(t, f, randomRuns(rand.New(rand.NewPCG(5, 5)), 2))
	footer := len(data) - 3000
	for at, step := 0, 0; at < len(data); at += step {
		step = 101
		if at > footer {
			step = 5
		}
		for _, mask := range []byte{0x01, 0x80, 0xff} {
			damaged := bytes.Clone(data)
			damaged[at] ^= mask
			checkMemory(t, f, damaged)
		}
	}
}

// checkMemory checks that reading any bytes allocates a bounded amount of memory.
func checkMemory(t *testing.T, f Format, data []byte) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _ = readLines(f, data) // rows or an error
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 400<<20 {
		t.Errorf("%v: reading %d bytes allocated %d MB", f, len(data), used>>20)
	}
}

// BenchmarkRead reports rows per second.
func BenchmarkRead(b *testing.B) {
	runs := make([]Run, 700)
	for i := range runs {
		columns := make([][]float64, len(someStatistics))
		for c := range columns {
			columns[c] = make([]float64, 1440)
			for j := range columns[c] {
				columns[c][j] = math.Round(rand.Float64()*1e4) / 100
			}
		}
		runs[i] = Run{Account: "000122223333", Region: "us-east-1", Namespace: "AWS/EC2", Metric: "CPUUtilization",
			InstanceID: fmt.Sprint("i-", i), Dimensions: fmt.Sprint("InstanceId=i-", i),
			Start: 20_000 * daySeconds, Period: 60, Points: 1440, Columns: columns}
	}
	for _, f := range allFormats {
		data := writeRuns(b, f, runs)
		b.Run(f.Name+f.Compression, func(b *testing.B) {
			rows := 0
			b.ReportAllocs()
			for b.Loop() {
				reader, err := f.NewReader(bytes.NewReader(data), int64(len(data)))
				if err != nil {
					b.Fatal(err)
				}
				var r Run
				for err = reader.Next(&r); err == nil; err = reader.Next(&r) {
					rows += r.Points
				}
				if err != io.EOF {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
