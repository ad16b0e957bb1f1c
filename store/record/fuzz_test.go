package record

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A damaged spool value or progress is an error, and any other is encoded as the same
// bytes again.
func FuzzStored(f *testing.F) {
	var e SpoolEncoder
	for _, columns := range [][][]float64{
		{{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}, {{math.NaN(), 1, math.NaN()}, {math.NaN(), math.NaN(), -2}}, {{0}, {math.MaxFloat64}, {math.Copysign(0, -1)}},
	} {
		value, _, _ := e.Encode([]byte("k"), Window{1_790_000_100, 1_790_000_100 + 300*int64(len(columns[0])), 300}, columns, 0, len(columns[0]))
		f.Add(value[1:len(value)-4], uint16(8))
	}
	for _, p := range []Progress{{Complete: true, Rows: 288}, {Rows: 5, Done: []byte{0x0f}}, {Complete: true, Rows: 1 << 40, Done: []byte{1, 2}, Failed: []byte{0xfe, 0xfd}}} {
		f.Add(p.Encode(), uint16(8*max(len(p.Done), 1)))
	}
	f.Fuzz(func(t *testing.T, data []byte, bits uint16) {
		checkSpooled(t, spoolVersion, data)
		checkProgress(t, data, int(bits%1000))
	})
}

func checkSpooled(t *testing.T, version byte, data []byte) {
	var g, again Grid
	key := []byte("k")
	// With the right checksum, so that the decoder is reached.
	body := append([]byte{version}, data...)
	sum := spoolSum(key, body)
	body = append(body, byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24))
	if err := g.Decode(key, body); err != nil {
		return
	}
	if len(g.values) != g.Points*g.Statistics || len(g.values) > maxSpoolPoints {
		t.Fatalf("%d values for %d x %d", len(g.values), g.Points, g.Statistics)
	}
	columns := make([][]float64, g.Statistics)
	for i := range columns {
		columns[i] = g.Column(i)
	}
	first, end, rows := trim(columns, 0, g.Points)
	var e SpoolEncoder
	value, n, _ := e.Encode(key, Window{Start: g.Start, Period: g.Period}, columns, 0, g.Points)
	if n != rows {
		t.Errorf("%d rows are written of %d", n, rows)
	}
	if rows == 0 {
		return
	}
	if err := again.Decode(key, value); err != nil {
		t.Fatalf("what was read is written as what cannot be read: %v", err)
	}
	if again.Start != g.Start+int64(first)*g.Period || again.Period != g.Period || again.Points != end-first {
		t.Errorf("%+v became %+v", g, again)
	}
	for i := range columns {
		for n, v := range again.Column(i) {
			if was := columns[i][first+n]; math.Float64bits(v) != math.Float64bits(was) && (v == v || was == was) {
				t.Errorf("value %v became %v", columns[i][first+n], v)
			}
		}
	}
}

func checkProgress(t *testing.T, data []byte, bits int) {
	p, err := DecodeProgress(data, bits)
	if err != nil || data == nil {
		return
	}
	rows, err := ProgressRows(data)
	if err != nil || rows != p.Rows {
		t.Errorf("%d rows, and %d of the whole progress: %v", rows, p.Rows, err)
	}
	again, err := DecodeProgress(p.Encode(), bits)
	if err != nil || !reflect.DeepEqual(p, again) {
		t.Errorf("%+v became %+v: %v", p, again, err)
	}
	for i := range bits {
		if p.Marked(i) != again.Marked(i) {
			t.Errorf("bit %d is %v", i, p.Marked(i))
		}
	}
	if bits > 0 {
		p.Mark(bits-1, bits, true)
	}
}

// A status that can be read can be written as the same again.
func FuzzSnapshot(f *testing.F) {
	exit := 3
	full := Status{
		Version: StatusVersion, Job: "night-1", State: string(Unfinished), Source: "snapshot", Written: time.Date(2026, 11, 25, 1, 2, 3, 0, time.UTC), Transaction: 7,
		TargetDetails: []TargetDetail{{Account: "111122223333", Region: "us-east-1", State: "waiting", Instances: &InstanceCounts{Planned: 2, Pending: 2}}},
		Attempts:      []Attempt{{Exit: &exit, Reason: "r"}}, Trouble: &Trouble{},
	}
	data, err := json.Marshal(full)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)/2])
	f.Add([]byte(`{"state":"open","written":"9999-01-01T00:00:00Z","eta_seconds":1e308,"targets":{"waiting":1}}`))
	f.Add([]byte("null"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(StatusPath(dir), data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := ReadSnapshot(dir)
		if err != nil {
			return
		}
		s.judge(time.Now())
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		var again Status
		if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(*s, again) {
			t.Errorf("%+v became %+v: %v", *s, again, err)
		}
	})
}

// Whatever the files beside a database contain, no name in them leaves the job's place
// of output, and no length in them exceeds that of a job.
func FuzzJobFiles(f *testing.F) {
	const id = "night-11b41e"
	const plan = `{"id":"night-11b41e","name":"n","start":"2026-11-19T22:00:00Z","end":"2026-11-20T04:00:00Z","out":"data","format":"csv","compression":"gzip","part_size":65536,` +
		`"series":[{"namespace":"AWS/EC2","metric":"CPUUtilization","dimensions":["InstanceId"],"statistics":["Average","p99"],"windows":[{"start":1700000100,"end":1700001600,"period":300}]}],"plan":{}}`
	const manifest = `{"job":"night-11b41e","parts":[{"name":"date=2026-11-20/night-11b41e-000001.csv.gz","segment":1,"date":"2026-11-20","rows":5,"bytes":100,"sha256":"00"}],` +
		`"inventory":{"name":"../instances/date=2026-11-20/night-11b41e-001.csv.gz"},"replans":[{"window":{"start":1700000100,"end":1700001600,"period":300},"now":{"start":1700000100,"end":1700000100,"period":300}}]}`
	f.Add([]byte(plan), []byte(manifest))
	f.Add([]byte(plan), []byte(`{"job":"night-11b41e","replans":[{"now":{"period":-1}}]}`))
	f.Add([]byte(plan), []byte(`{"state":"finished","id":"0123","directory":"/d","pid":1,"host":"h","started":"2026-11-25T01:00:00Z"}`))
	dir := f.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "jobs"), 0o700); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, specJSON, manifestJSON []byte) {
		for name, data := range map[string][]byte{
			id + ".json": specJSON, id + ".manifest.json": manifestJSON, id + ".summary.json": manifestJSON, "../lock": manifestJSON,
		} {
			if err := os.WriteFile(filepath.Join(dir, "jobs", name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		checkOthers(t, dir)
		m, err := ReadManifest(dir, id)
		if err == nil {
			checkNames(t, &m, id)
		}
		s, specErr := readPlanFile(dir, id)
		if specErr != nil {
			return
		}
		if err == nil {
			s.ApplyReplans(m.Replans)
		}
		checkSpec(t, &s)
	})
}

// checkOthers reads the directory as commands do: a summary of a job without its
// database, and the owner of the lock.
func checkOthers(t *testing.T, dir string) {
	t.Helper()
	jobs, err := ReadJobs(dir)
	for _, job := range jobs {
		if err != nil || !job.Pruned || job.State == Unfinished {
			t.Errorf("job %+v, error %v", job, err)
		}
	}
	if text := (&LockedError{Dir: dir, Owner: ReadOwner(dir)}).Error(); text == "" {
		t.Error("nothing is said of a lock")
	}
}

func checkNames(t *testing.T, m *Manifest, id string) {
	out := filepath.FromSlash("/a/b/data")
	for _, p := range m.Parts {
		if name := filepath.Join(out, filepath.FromSlash(p.Name)); filepath.Dir(filepath.Dir(name)) != out || !strings.HasPrefix(path.Base(name), id) {
			t.Errorf("part %q is at %q", p.Name, name)
		}
	}
	if m.Inventory != nil {
		name := filepath.Join(out, filepath.FromSlash(m.Inventory.Name))
		if !strings.HasPrefix(name, filepath.Dir(out)) || !strings.HasPrefix(path.Base(name), id) || !strings.Contains(name, "/instances/date=") {
			t.Errorf("inventory %q is at %q", m.Inventory.Name, name)
		}
	}
}

func checkSpec(t *testing.T, s *Plan) {
	bits := 0
	for _, sh := range NewShapes(s.Series) {
		if bits += len(sh.Bits); sh.Points < 0 {
			t.Errorf("%d datapoints", sh.Points)
		}
		for bit, sw := range sh.Bits {
			w := s.Series[sw.Series].Windows[sw.Window]
			if sh.Index[sw] != bit || w.Points() < 0 || w.Points() > maxSpoolPoints || time.Unix(w.Start, 0).UTC().Year() > 10_000 {
				t.Errorf("window %+v of bit %d", w, bit)
			}
		}
	}
	windows := 0
	for i := range s.Series {
		windows += len(s.Series[i].Windows)
	}
	if bits != windows {
		t.Errorf("%d bits for %d windows", bits, windows)
	}
	out, err := s.OutputFormat().NewWriter(new(bytes.Buffer), s.Statistics(), nil)
	if err == nil {
		err = out.Close()
	}
	if _, bad := s.OutputFormat().NewReader(bytes.NewReader(nil), 0); err != nil || bad == nil && s.Format != "jsonl" {
		t.Errorf("format %q %q: %v, %v", s.Format, s.Compression, err, bad)
	}
	if _, err := json.Marshal(s); err != nil {
		t.Errorf("what was read cannot be written: %v", err)
	}
}
