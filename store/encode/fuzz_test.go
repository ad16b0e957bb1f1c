package encode

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func FuzzReadParquet(f *testing.F) { fuzz(f, Format{Name: "parquet"}) }

func FuzzReadText(f *testing.F) {
	f.Add([]byte(csvOf("2026-01-01T00:00:00Z,60,1", "2026-01-01T23:59:00Z,1,2")))
	fuzz(f, allFormats[1:]...)
}

func fuzz(f *testing.F, formats ...Format) {
	for seed := range uint64(2) {
		runs := randomRuns(rand.New(rand.NewPCG(seed, 2)), 2)
		for i := range runs {
			runs[i].Points = min(runs[i].Points, 5)
		}
		for _, format := range formats {
			f.Add(writeRuns(f, format, runs))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, format := range formats {
			checkMemory(t, format, data)
			checkRoundTrip(t, format, data)
		}
	})
}

// checkRoundTrip checks that the rows before the first damage in any bytes can be
// written, and are then read as the same rows.
func checkRoundTrip(t *testing.T, f Format, data []byte) {
	t.Helper()
	reader, err := f.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return
	}
	names := make([]string, len(reader.Columns()))
	for i := range names {
		names[i] = fmt.Sprint("s", i)
	}
	var file bytes.Buffer
	w, err := f.NewWriter(&file, names, nil)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	var r Run
	for reader.Next(&r) == nil {
		want = append(want, lines(&r, len(names))...)
		if slices.ContainsFunc(slices.Concat(r.Columns...), func(v float64) bool { return math.IsInf(v, 0) }) {
			t.Errorf("%v: an infinite value", f)
		}
		if err := w.WriteRun(&r); err != nil {
			t.Fatalf("%v: the rows that were read cannot be written: %v", f, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_ = reader.Close() // may report the damage again
	got, err := readLines(f, file.Bytes())
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v: %d rows were read, and %d after writing them: %v\n%s\n%s", f, len(want), len(got), err, strings.Join(want, "\n"), strings.Join(got, "\n"))
	}
}
