package check_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cwharvest/store/check"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// harvest is a copy of a template, which a test may damage.
type harvest struct {
	testing.TB
	dir string
	id  string // of the first job
}

func newHarvest(t testing.TB, state string) *harvest {
	t.Helper()
	files, err := templates[state]()
	if err != nil {
		t.Fatal(err)
	}
	h := &harvest{TB: t, dir: t.TempDir()}
	for name, content := range files {
		h.write(name, content)
	}
	ids, err := record.JobIDs(h.dir)
	h.must(err)
	h.id = ids[0]
	return h
}

func (h *harvest) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *harvest) path(name string) string { return filepath.Join(h.dir, name) }

func (h *harvest) job(suffix string) string { return "jobs/" + h.id + suffix }

func (h *harvest) write(name, content string) {
	h.Helper()
	h.must(os.MkdirAll(filepath.Dir(h.path(name)), 0o777))
	h.must(os.WriteFile(h.path(name), []byte(content), 0o666))
}

func (h *harvest) read(name string) string {
	h.Helper()
	data, err := os.ReadFile(h.path(name))
	h.must(err)
	return string(data)
}

func (h *harvest) remove(name string) {
	h.Helper()
	h.must(os.Remove(h.path(name)))
}

// edit changes a file, and fails if that leaves it as it is.
func (h *harvest) edit(name string, change func(string) string) {
	h.Helper()
	before := h.read(name)
	after := change(before)
	if before == after {
		h.Fatalf("%s was not changed", name)
	}
	h.write(name, after)
}

func (h *harvest) files() template {
	h.Helper()
	files, err := readFiles(h.dir)
	h.must(err)
	return files
}

// manifest returns the manifest of the first job.
func (h *harvest) manifest() record.Manifest {
	h.Helper()
	m, err := record.ReadManifest(h.dir, h.id)
	h.must(err)
	return m
}

// part returns the path of a published part: numbered by date, then segment.
func (h *harvest) part(i int) string {
	h.Helper()
	return "data/" + h.manifest().Parts[i].Name
}

// change edits the database of the first job.
func (h *harvest) change(do func(tx *bolt.Tx) error) {
	h.Helper()
	db, err := bolt.Open(h.path(h.job(".db")), 0o600, nil)
	h.must(err)
	h.must(errors.Join(db.Update(do), db.Close()))
}

// changeJSON edits one record of a database.
func changeJSON[T any](h *harvest, bucket, key []byte, change func(*T)) {
	h.Helper()
	h.change(func(tx *bolt.Tx) error {
		var value T
		if err := record.GetJSON(tx.Bucket(bucket), key, &value); err != nil {
			return err
		}
		change(&value)
		return record.PutJSON(tx.Bucket(bucket), key, value)
	})
}

// replacePart replaces a part together with its sizes and checksums, as a
// deliberate edit of the rows could.
func (h *harvest) replacePart(i int, change func(rows []string) []string) {
	h.Helper()
	p := h.manifest().Parts[i]
	rows := strings.Split(strings.TrimSpace(h.read("data/"+p.Name)), "\n")
	text := strings.Join(change(rows), "\n") + "\n"
	sum := sha256.Sum256([]byte(text))
	h.write("data/"+p.Name, text)
	changeJSON(h, record.BucketParts, []byte(p.Name), func(p *record.Part) {
		p.Bytes, p.SHA256 = int64(len(text)), hex.EncodeToString(sum[:])
	})
	h.rewriteManifest()
}

// rewriteManifest writes the manifest as the database has it.
func (h *harvest) rewriteManifest() {
	h.Helper()
	d, err := record.OpenDir(h.dir, nil)
	h.must(err)
	db, err := record.OpenForReading(h.path(h.job(".db")))
	h.must(err)
	h.must(errors.Join(d.WriteManifest(db), db.Close()))
}

// verify returns the report of Verify, which must change no file.
func (h *harvest) verify(everyRow bool) *check.Report {
	h.Helper()
	before := h.files()
	report, err := check.Verify(context.Background(), h.dir, nil, everyRow)
	h.must(err)
	h.unchanged(before)
	return report
}

// unchanged compares the files with the earlier ones, except the lock, which names
// the last process that took it.
func (h *harvest) unchanged(before template) {
	h.Helper()
	after := h.files()
	for _, files := range []template{before, after} {
		maps.DeleteFunc(files, func(name, _ string) bool { return strings.HasSuffix(name, "lock") })
	}
	for name := range before {
		if after[name] != before[name] {
			h.Errorf("%s was changed or removed", name)
		}
	}
	for name := range after {
		if _, known := before[name]; !known {
			h.Errorf("%s was created", name)
		}
	}
}

// sound wants a directory without problems in any row.
func (h *harvest) sound() *check.Report {
	h.Helper()
	report := h.verify(true)
	for _, p := range report.Problems {
		h.Errorf("problem: %s", p.Fact)
	}
	return report
}

// repair returns the result of Repair for the first job.
func (h *harvest) repair() check.Repaired {
	h.Helper()
	all, err := check.Repair(context.Background(), h.dir, nil, false)
	h.must(err)
	if len(all) == 0 || all[0].Job != h.id {
		h.Fatalf("repaired %+v, want job %s first", all, h.id)
	}
	return all[0]
}
