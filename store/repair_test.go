package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cwharvest/store/check"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// dbPage is the page size of new databases.
const dbPage = 16 << 10

// database returns the path of the only job's database.
func (f *fixture) database() string {
	f.Helper()
	paths, err := filepath.Glob(filepath.Join(f.path, "jobs", "[^_]*.db"))
	if err != nil || len(paths) != 1 {
		f.Fatalf("jobs %v, %v", paths, err)
	}
	return paths[0]
}

// harms are the kinds of damage to a database.
var harms = map[string]func(path string) error{
	"newest description destroyed": destroyNewestMeta,
	"truncated":                    func(p string) error { return os.Truncate(p, 2*dbPage+800) },
	"emptied":                      func(p string) error { return os.Truncate(p, 0) },
	"filled with zeros":            func(p string) error { return overwrite(p, make([]byte, 1<<20)) },
	"removed":                      os.Remove,
}

func destroyNewestMeta(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	const page, metaHeader = dbPage, 16
	newest := 0
	if binary.NativeEndian.Uint64(data[page+metaHeader+48:]) > binary.NativeEndian.Uint64(data[metaHeader+48:]) {
		newest = page // of the transaction's number
	}
	return scribble(path, int64(newest))
}

// scribble destroys the first bytes of a page.
func scribble(path string, at int64) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteAt([]byte(strings.Repeat("#", 100)), at)
	return err
}

// Whatever befalls the database, it is refused and left as it is; repair
// rebuilds it, and nothing that is published is fetched again.
func TestRepair(t *testing.T) {
	for name, harm := range harms {
		for _, finished := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, finished %v", name, finished), func(t *testing.T) { testRepair(t, harm, finished) })
		}
	}
}

// needsRepair reports whether an error has the repair of a directory as its remedy.
func needsRepair(err error, dir string) bool {
	var repairable interface{ RepairDir() string }
	return errors.As(err, &repairable) && repairable.RepairDir() == dir
}

func testRepair(t *testing.T, harm func(string) error, finished bool) {
	f := newFixture(t, 3)
	for range 3 {
		if err := f.attempt(!finished); err != nil {
			t.Fatal(err)
		}
	}
	db := f.database()
	manifest := f.manifest()
	if err := harm(db); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(db) // there may be none
	err := f.attempt(false)
	if err == nil || !needsRepair(err, f.path) && len(before) > 0 {
		t.Fatalf("the damage was not refused: %v", err)
	}
	if after, _ := os.ReadFile(db); string(after) != string(before) {
		t.Fatal("the database was changed")
	}
	repaired, err := check.Repair(context.Background(), f.path, nil, false)
	if err != nil || len(repaired) != 1 || repaired[0].Sound || len(repaired[0].Dropped) > 0 {
		t.Fatalf("%+v, %v", repaired, err)
	}
	rows := int64(0)
	for _, p := range manifest.Parts {
		rows += p.Rows
	}
	if rows == 0 || repaired[0].Rows != rows {
		t.Fatalf("%d rows kept of %d published", repaired[0].Rows, rows)
	}
	if err := f.attempt(false); err != nil {
		t.Fatal(err)
	}
	f.check()
	if again, err := check.Repair(context.Background(), f.path, nil, false); err != nil || !again[0].Sound {
		t.Fatalf("%+v, %v", again, err)
	}
}

func (f *fixture) manifest() (m record.Manifest) {
	f.Helper()
	if err := record.ReadJSON(strings.TrimSuffix(f.database(), ".db")+".manifest.json", &m); err != nil {
		f.Fatal(err)
	}
	return m
}

// A segment of which a part is damaged is fetched again as a whole.
func TestRepairWithoutAPart(t *testing.T) {
	f := newFixture(t, 4)
	if err := f.attempt(false); err != nil {
		t.Fatal(err)
	}
	bad := f.manifest().Parts[0]
	err := os.Truncate(filepath.Join(f.plan.Out, bad.Name), 100)
	if err == nil {
		err = os.Remove(f.database())
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.attempt(false); err == nil || !strings.Contains(err.Error(), "database is missing") {
		t.Fatalf("a job that has parts began anew: %v", err)
	}
	repaired, err := check.Repair(context.Background(), f.path, nil, false)
	if err != nil || len(repaired[0].Dropped) < 2 {
		t.Fatalf("%+v, %v", repaired, err)
	}
	if err := f.attempt(false); err != nil {
		t.Fatal(err)
	}
	f.check()
}

// setVersion makes a database one of another schema, its record of another form.
func setVersion(path string, version int) error {
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		return record.PutJSON(tx.Bucket(record.BucketMeta), record.KeyJob, map[string]any{"version": version, "state": 7, "segment": "seven"})
	})
	return errors.Join(err, db.Close())
}

// A database that is newer, in use or out of reach is not damaged: repair leaves
// it as it is.
func TestRepairRebuildsOnlyTheDamaged(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(path string) (undo func() error, err error)
		want string
	}{
		"newer": {func(p string) (func() error, error) { return nil, setVersion(p, record.SchemaVersion+1) },
			fmt.Sprintf("has the newer database format %d, and this version reads only format %d; it was not changed", record.SchemaVersion+1, record.SchemaVersion)},
		"in use": {func(p string) (func() error, error) {
			db, err := bolt.Open(p, 0o600, nil)
			return db.Close, err
		}, "is in use by another process"},
		"out of reach": {func(p string) (func() error, error) {
			return nil, errors.Join(os.Rename(p, p+".moved"), os.Symlink(filepath.Base(p), p)) // ELOOP, for every user
		}, "too many levels of symbolic links"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 3)
			if err := f.attempt(false); err != nil {
				t.Fatal(err)
			}
			db := f.database()
			undo, err := c.harm(db)
			if err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(db) // it may be out of reach
			repaired, err := check.Repair(context.Background(), f.path, nil, false)
			if err == nil || !strings.Contains(err.Error(), c.want) || len(repaired) > 0 {
				t.Errorf("%+v, %v", repaired, err)
			}
			if undo != nil {
				if err := undo(); err != nil {
					t.Error(err)
				}
			}
			if after, _ := os.ReadFile(db); !bytes.Equal(before, after) {
				t.Error("the database was changed")
			}
			if kept, err := filepath.Glob(db + ".damaged-*"); err != nil || len(kept) > 0 {
				t.Errorf("%v, %v", kept, err)
			}
		})
	}
}

// If files beside the database are lost, no row is published twice, and the files
// that can be restored are.
func TestRepairOfFiles(t *testing.T) {
	for lost, refused := range map[string]bool{
		".db .manifest.json":       true,
		".db .manifest.json .json": true,
		".manifest.json":           false,
		".json":                    false,
	} {
		t.Run(lost, func(t *testing.T) {
			f := newFixture(t, 10)
			if err := f.attempt(false); err != nil {
				t.Fatal(err)
			}
			job := strings.TrimSuffix(f.database(), ".db")
			for suffix := range strings.FieldsSeq(lost) {
				if err := os.Remove(job + suffix); err != nil {
					t.Fatal(err)
				}
			}
			if refused {
				if err := f.attempt(false); !errors.As(err, new(*UnknownPartError)) {
					t.Fatalf("a job began beside the lost one's parts: %v", err)
				}
			}
			repaired, err := check.Repair(context.Background(), f.path, nil, false)
			if strings.Contains(lost, ".manifest.json .json") {
				if !errors.Is(err, record.ErrNoJob) {
					t.Fatalf("%+v, %v", repaired, err)
				}
				return
			}
			if err != nil || repaired[0].Sound == refused || !refused && repaired[0].Files == "" {
				t.Fatalf("%+v, %v", repaired, err)
			}
			if err := f.attempt(false); err != nil && refused {
				t.Fatal(err)
			}
			f.check()
		})
	}
}

// Beside a sound database a part that is lost is fetched again, with its segment,
// and so is one that a redo would have copied.
func TestRepairOfParts(t *testing.T) {
	for name, harm := range map[string]func(string) error{"lost": os.Remove, "altered": flip, "cut": func(p string) error { return os.Truncate(p, 300) }} {
		for _, redone := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, in mid-redo %v", name, redone), func(t *testing.T) {
				f := newFixture(t, 11)
				if err := f.attempt(false); err != nil {
					t.Fatal(err)
				}
				if err := harm(filepath.Join(f.plan.Out, f.manifest().Parts[1].Name)); err != nil {
					t.Fatal(err)
				}
				if redone {
					if err := f.beginRedo(testTargets[0]); err != nil {
						t.Fatal(err)
					}
					if err := f.attempt(false); !needsRepair(err, f.path) {
						t.Fatalf("the redo took a damaged part: %v", err)
					}
				}
				repaired, err := check.Repair(context.Background(), f.path, nil, false)
				if err != nil || repaired[0].Sound || len(repaired[0].Dropped) == 0 || repaired[0].Rows == 0 {
					t.Fatalf("%+v, %v", repaired, err)
				}
				if err := f.attempt(false); err != nil {
					t.Fatal(err)
				}
				f.check()
			})
		}
	}
}

// The next run writes a lost inventory again.
func TestRepairOfTheInventory(t *testing.T) {
	f := newFixture(t, 12)
	if err := f.attempt(false); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(f.plan.Out, f.manifest().Inventory.Name)); err != nil {
		t.Fatal(err)
	}
	repaired, err := check.Repair(context.Background(), f.path, nil, false)
	if err != nil || !repaired[0].Sound || repaired[0].Files == "" {
		t.Fatalf("%+v, %v", repaired, err)
	}
	if err := f.attempt(false); err != nil {
		t.Fatal(err)
	}
	f.check()
}
