package record

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// No bit of a spool value or of its key can change, and no byte can be lost, without
// being noticed.
func TestEachBitOfASpoolValueCounts(t *testing.T) {
	var e SpoolEncoder
	var g Grid
	none := math.NaN()
	columns := [][]float64{{1, 2.5, none, 4}, {7, 7, 7, none}}
	key := SpoolKey(20_000, Target{"111122223333", "us-east-1"}, "AWS/EC2\x00InstanceId\x00InstanceId=i-1", 0, 0)
	value, rows, datapoints := e.Encode(key, Window{3600, 3840, 60}, columns, 0, 4)
	if rows != 4 || datapoints != 6 {
		t.Fatalf("%d rows, %d datapoints", rows, datapoints)
	}
	for _, data := range [][]byte{key, value} {
		for i := range 8 * len(data) {
			data[i/8] ^= 1 << (i % 8)
			if g.Decode(key, value) == nil {
				t.Errorf("bit %d of %x was not missed", i, data)
			}
			data[i/8] ^= 1 << (i % 8)
		}
	}
	for n := range value {
		if g.Decode(key, value[:n]) == nil {
			t.Errorf("%d bytes of %d were read", n, len(value))
		}
	}
	if err := g.Decode(key, value); err != nil || g.Rows() != 4 || g.Start != 3600 || g.Period != 60 || g.Whole {
		t.Errorf("%+v, %v", g, err)
	}
}

// spoolValue returns a value with a correct checksum, whatever is in it.
func spoolValue(header []uint64, body ...byte) []byte {
	value := []byte{spoolVersion}
	for _, v := range header {
		value = binary.AppendUvarint(value, v)
	}
	value = append(value, body...)
	return binary.LittleEndian.AppendUint32(value, spoolSum([]byte("key"), value))
}

// A spool value of a wrong form is refused even if its checksum is right.
func TestSpoolValuesOfAWrongForm(t *testing.T) {
	first := make([]byte, 8)
	some := func(kind, bitmap, shape byte, rest ...byte) []byte {
		return slices.Concat([]byte{kind, bitmap, shape}, first, rest)
	}
	whole := slices.Concat([]byte{0, 0x01}, first, []byte{5, 6})
	good := []uint64{3600, 60, 2, 1}
	var g Grid
	for name, value := range map[string][]byte{
		"whole":   spoolValue(good, whole...),
		"some":    spoolValue(good, some(columnSome, 1, 0x01, 5)...),
		"repeats": spoolValue(good, some(columnRepeats, 1, 0x01, 5)...),
		"none":    spoolValue(good, columnNone),
	} {
		if err := g.Decode([]byte("key"), value); err != nil || g.Points != 2 {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, value := range map[string][]byte{
		"no header":         spoolValue(nil),
		"half a header":     spoolValue(good[:3]),
		"no points":         spoolValue([]uint64{3600, 60, 0, 1}, columnNone),
		"no statistics":     spoolValue([]uint64{3600, 60, 2, 0}),
		"no period":         spoolValue([]uint64{3600, 0, 2, 1}, columnNone),
		"too many points":   spoolValue([]uint64{3600, 60, maxSpoolPoints + 1, 1}, columnNone),
		"too many values":   spoolValue([]uint64{3600, 60, maxSpoolPoints, 2}, columnNone, columnNone),
		"after all time":    spoolValue([]uint64{1 << 40, 60, 2, 1}, columnNone),
		"no column":         spoolValue(good),
		"an unknown kind":   spoolValue(good, columnNone+1),
		"a missing column":  spoolValue([]uint64{3600, 60, 2, 2}, columnNone),
		"a byte too many":   spoolValue(good, append(slices.Clone(whole), 0)...),
		"a byte too few":    spoolValue(good, whole[:len(whole)-1]...),
		"no first value":    spoolValue(good, whole[:5]...),
		"no presence":       spoolValue(good, columnSome),
		"no repeats":        spoolValue(good, columnSome|columnRepeats, 3),
		"a value missing":   spoolValue(good, some(columnSome, 3, 0x01, 5)...),
		"beyond eight byte": spoolValue(good, slices.Concat([]byte{0, 0x18}, first, make([]byte, 16))...),
	} {
		if err := g.Decode([]byte("key"), value); !errors.Is(err, errSpoolDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The values of one transaction do not share memory: the database refers to all of
// them until it ends. A part of a window is encoded as a window of its own.
func TestSpoolValuesOfATransaction(t *testing.T) {
	var e SpoolEncoder
	var g Grid
	column := make([]float64, 3000)
	for i := range column {
		column[i] = math.Sqrt(float64(i + 1))
	}
	w := Window{0, 3000 * 60, 60}
	for range 2 {
		e.Begin()
		var values [][]byte
		for i := range 100 { // more than one slab
			value, rows, _ := e.Encode([]byte("key"), w, [][]float64{column}, 10*i, 3000)
			if rows != 3000-10*i {
				t.Fatalf("%d rows from %d", rows, 10*i)
			}
			values = append(values, value)
		}
		for i, value := range values {
			if err := g.Decode([]byte("key"), value); err != nil || g.Start != int64(600*i) || !slices.Equal(g.Column(0), column[10*i:]) {
				t.Fatalf("value %d: %v", i, err)
			}
		}
	}
}

// A manifest may list only files that the job itself could write.
func TestImpossibleManifests(t *testing.T) {
	const id = "night-abcdef"
	good := func() Manifest {
		return Manifest{Job: id, Parts: []Part{{Name: "date=2026-11-20/night-abcdef-000001.csv.gz", Rows: 5}}, Inventory: &Part{Name: "../instances/date=2026-11-20/night-abcdef-001.csv"},
			Replans: []Replan{{Window: Window{0, 3600, 60}, Now: Window{0, 0, 60}}}}
	}
	dir := t.TempDir()
	write := func(data []byte) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "jobs"), 0o777), os.WriteFile(jobFile(dir, id, ".manifest.json"), data, 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	var text []byte
	for name, spoil := range map[string]func(*Manifest){
		"":                     func(*Manifest) {},
		"another job":          func(m *Manifest) { m.Job = "night-abcde0" },
		"another job's part":   func(m *Manifest) { m.Parts[0].Name = "date=2026-11-20/other-abcdef-000001.csv.gz" },
		"not a part":           func(m *Manifest) { m.Parts[0].Name = "date=2026-11-20/night-abcdef-000001.txt" },
		"no date":              func(m *Manifest) { m.Parts[0].Name = "night-abcdef-000001.csv.gz" },
		"outside":              func(m *Manifest) { m.Parts[0].Name = "../date=2026-11-20/night-abcdef-000001.csv.gz" },
		"absolute":             func(m *Manifest) { m.Parts[0].Name = "/date=2026-11-20/night-abcdef-000001.csv.gz" },
		"negative rows":        func(m *Manifest) { m.Parts[0].Rows = -1 },
		"inventory outside":    func(m *Manifest) { m.Inventory.Name = "../../instances/date=2026-11-20/night-abcdef-001.csv" },
		"inventory elsewhere":  func(m *Manifest) { m.Inventory.Name = "date=2026-11-20/night-abcdef-001.csv" },
		"inventory of other":   func(m *Manifest) { m.Inventory.Name = "instances/date=2026-11-20/other-abcdef-001.csv" },
		"an impossible replan": func(m *Manifest) { m.Replans[0].Now.Period = 0 },
		"an impossible window": func(m *Manifest) { m.Replans[0].Window.End = -1 },
	} {
		m := good()
		spoil(&m)
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		write(data)
		if _, err := ReadManifest(dir, id); (err == nil) != (name == "") {
			t.Errorf("%q: %v", name, err)
		}
		if name == "" {
			text = data
		}
	}
	for n := range text { // a write that was interrupted
		write(text[:n])
		if m, err := ReadManifest(dir, id); err == nil {
			t.Fatalf("%d bytes of %d are %+v", n, len(text), m)
		}
	}
}

// Every byte of both meta pages counts: bbolt would fall back to the older one.
func TestEachByteOfAMetaPageCounts(t *testing.T) {
	d, db := withParts(t, 1)
	path := db.path
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(d.JobsPath(), "copy.db")
	for _, page := range []int{0, pageSize} {
		for i := page + 16; i < page+16+64; i++ { // after the header of the page
			data[i] ^= 0x20
			if err := os.WriteFile(copied, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if db, err := OpenForReading(copied); !errors.As(err, new(*DamagedError)) {
				t.Fatalf("byte %d: %v, %v", i, db, err)
			}
			data[i] ^= 0x20
		}
	}
}

// A database that is older than the last status of its job was restored from a copy.
func TestDatabaseOlderThanItsStatus(t *testing.T) {
	d, db := withParts(t, 1)
	n, err := db.Transaction()
	if err != nil {
		t.Fatal(err)
	}
	path := d.JobFile("nullify-1", ".db")
	if err := os.Link(db.path, path); err != nil {
		t.Fatal(err)
	}
	if err := db.bolt.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		job     string
		last    int
		damaged bool
	}{
		{"nullify-1", n, false}, {"nullify-1", n - 1, false}, {"nullify-1", n + 1, true}, {"other-1", n + 1, false},
	} {
		data, err := json.Marshal(Status{Version: StatusVersion, Job: c.job, State: string(Unfinished), Source: "snapshot", Transaction: c.last, Written: time.Now().UTC()})
		if err == nil {
			err = os.WriteFile(StatusPath(d.Path), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		opened, err := OpenForReading(path)
		if errors.As(err, new(*DamagedError)) != c.damaged || (err != nil) != c.damaged {
			t.Errorf("database at %d, status of %s at %d: %v", n, c.job, c.last, err)
		}
		if err == nil {
			if err := opened.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// Each file of the jobs directory counts for one job or for none, and a job without a
// database was pruned, lost or never created.
func TestJobsByTheirFiles(t *testing.T) {
	const plan = `{"id":"%s","format":"csv","start":"2026-11-20T00:00:00Z"}`
	for name, c := range map[string]struct {
		files []string
		want  func(job JobInfo, err error) bool
	}{
		"plan only":    {[]string{".json"}, func(_ JobInfo, err error) bool { return errors.Is(err, ErrNotCreated) }},
		"lost":         {[]string{".json", ".manifest.json"}, func(_ JobInfo, err error) bool { return errors.As(err, new(*RepairError)) }},
		"pruned":       {[]string{".json", ".manifest.json", ".summary.json"}, func(j JobInfo, err error) bool { return err == nil && j.Pruned && j.State == Finished }},
		"without plan": {[]string{".summary.json"}, func(_ JobInfo, err error) bool { return errors.Is(err, fs.ErrNotExist) }},
		"empty":        {[]string{".json", ".db"}, func(_ JobInfo, err error) bool { return errors.As(err, new(*DamagedError)) }},
	} {
		dir, id := t.TempDir(), "night-"+strings.ReplaceAll(name, " ", "")
		if err := os.Mkdir(filepath.Join(dir, "jobs"), 0o777); err != nil {
			t.Fatal(err)
		}
		for _, suffix := range c.files {
			text := map[string]string{".json": fmt.Sprintf(plan, id), ".summary.json": `{"state":"finished"}`, ".manifest.json": "{}"}[suffix]
			if err := os.WriteFile(jobFile(dir, id, suffix), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, other := range []string{"_claim.json", "note.txt", "a.manifest.json"} {
			if err := os.WriteFile(filepath.Join(dir, "jobs", other), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if job, err := ReadJob(dir, id); !c.want(job, err) {
			t.Errorf("%s: %+v, %v", name, job, err)
		}
		ids, err := JobIDs(dir)
		if known := slices.Contains(c.files, ".json"); err != nil || slices.Contains(ids, id) != known || len(ids) > 1 {
			t.Errorf("%s: ids %q, %v", name, ids, err)
		}
	}
}

// Garbage is a set: names are added once, dropped, and listed in order.
func TestGarbage(t *testing.T) {
	_, db := withParts(t, 0)
	err := db.Update(func(tx *bolt.Tx) error {
		return errors.Join(AddGarbage(tx, "b", "a", "c", "b"), DropGarbage(tx, "c", "never there"))
	})
	if names, listErr := db.Garbage(); errors.Join(err, listErr) != nil || !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("%q, %v, %v", names, err, listErr)
	}
	err = db.View(func(tx *bolt.Tx) error {
		if got, err := RedoOf(tx); got != nil || err != nil {
			t.Errorf("redo %+v, %v", got, err)
		}
		return GetJSON(tx.Bucket(BucketMeta), []byte("none"), new(int))
	})
	if err == nil || !strings.Contains(err.Error(), `record "none" is missing`) {
		t.Errorf("a missing record: %v", err)
	}
}
