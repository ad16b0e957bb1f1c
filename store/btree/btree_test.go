package btree

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// database writes a database with buckets of every kind: empty, inline, a tree of
// several levels, values of several pages, and buckets within buckets. Then it
// removes some, so that pages are free.
func database(t testing.TB, seed uint64, pageSize int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{PageSize: pageSize, NoSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 0))
	key := func() []byte { return fmt.Appendf(nil, "%d", r.IntN(2000)) }
	for range 6 {
		err = errors.Join(err, db.Update(func(tx *bolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists([]byte("empty"))
			for _, name := range []string{"inline", "tree", "large", "nested"} {
				b, bucketErr := tx.CreateBucketIfNotExists([]byte(name))
				err = errors.Join(err, bucketErr)
				for range map[string]int{"inline": 1, "tree": 500, "large": 3, "nested": 10}[name] {
					switch {
					case name == "nested":
						inner, innerErr := b.CreateBucketIfNotExists(key())
						err = errors.Join(err, innerErr, inner.Put(key(), make([]byte, r.IntN(3*pageSize))))
					case name == "large":
						err = errors.Join(err, b.Put(key(), make([]byte, r.IntN(10*pageSize))))
					case r.IntN(3) == 0:
						err = errors.Join(err, b.Delete(key()))
					default:
						err = errors.Join(err, b.Put(key(), make([]byte, r.IntN(60))))
					}
				}
			}
			return err
		}))
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func check(data []byte) error {
	f, err := Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	return errors.Join(f.Check(), f.CheckBucket([]byte("nested")))
}

// Files that bbolt writes pass the check.
func TestSoundFiles(t *testing.T) {
	for seed := range uint64(20) {
		pageSize := 1024 << (seed % 6)
		if err := check(database(t, seed, pageSize)); err != nil {
			t.Errorf("seed %d, pages of %d: %v", seed, pageSize, err)
		}
	}
}

// Each kind of damage is reported as such.
func TestDamagedFiles(t *testing.T) {
	const pageSize = 4096
	sound := database(t, 1, pageSize)
	f, err := Open(bytes.NewReader(sound), int64(len(sound)))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.CheckBucket([]byte("tree")); err != nil {
		t.Fatal(err)
	}
	branch := 0
	for id := 2; id < int(f.end) && branch == 0; id++ {
		if used := f.seen[id/64]&(1<<(id%64)) != 0; used && order.Uint16(sound[id*pageSize+8:]) == branchPage {
			branch = id * pageSize
		}
	}
	metas := func(b []byte, change func(meta []byte)) {
		for _, at := range []int{pageHeader, pageSize + pageHeader} {
			change(b[at:])
			sum := fnv.New64a()
			sum.Write(b[at : at+metaSize-8])
			order.PutUint64(b[at+metaSize-8:], sum.Sum64())
		}
	}
	free, root := int(f.freelist)*pageSize, int(f.root)*pageSize
	second := root + pageHeader + element
	for want, spoil := range map[string]func(b []byte) []byte{
		"both of its meta pages": func(b []byte) []byte { clear(b[:2*pageSize]); return b },
		"one of its meta pages":  func(b []byte) []byte { clear(b[pageSize : 2*pageSize]); return b },
		"pages of 4096":          func(b []byte) []byte { return b[:int(f.end-1)*pageSize] },
		"another version":        func(b []byte) []byte { metas(b, func(m []byte) { m[4]++ }); return b },
		"meta pages are damaged": func(b []byte) []byte { metas(b, func(m []byte) { order.PutUint32(m[8:], 1<<30) }); return b },
		"outside the file":       func(b []byte) []byte { metas(b, func(m []byte) { order.PutUint64(m[16:], 1<<60) }); return b },
		"is used twice":          func(b []byte) []byte { order.PutUint64(b[branch+pageHeader+8:], uint64(branch/pageSize)); return b },
		"has the number":         func(b []byte) []byte { order.PutUint64(b[root:], 1); return b },
		"has the type":           func(b []byte) []byte { b[root+8] = 3; return b },
		"is not a list":          func(b []byte) []byte { b[free+8] = leafPage; return b },
		"free pages": func(b []byte) []byte {
			order.PutUint16(b[free+10:], 0xFFFF)
			order.PutUint64(b[free+16:], 1<<62)
			return b
		},
		"neither used nor free":  func(b []byte) []byte { order.PutUint16(b[free+10:], 1); return b },
		"refers to no page":      func(b []byte) []byte { order.PutUint16(b[branch+10:], 0); return b },
		"keys in a wrong order":  func(b []byte) []byte { b[second+int(order.Uint32(b[second+4:]))] = 'a'; return b },
		"has a key of 0 bytes":   func(b []byte) []byte { order.PutUint32(b[root+pageHeader+8:], 0); return b },
		"bytes beyond its end":   func(b []byte) []byte { order.PutUint32(b[root+pageHeader+4:], 1<<31); return b },
		"a value beyond its end": func(b []byte) []byte { order.PutUint32(b[root+pageHeader+12:], 1<<31); return b },
		"a bucket of 8 bytes":    func(b []byte) []byte { order.PutUint32(b[root+pageHeader+12:], 8); return b },
		"a value of the type":    func(b []byte) []byte { b[root+pageHeader] = 4; return b },
		"an inline bucket of": func(b []byte) []byte {
			b[root+pageHeader+int(order.Uint32(b[root+pageHeader+4:]))+len("empty")+24] = 1
			return b
		},
		"inline bucket without": func(b []byte) []byte { order.PutUint32(b[root+pageHeader+12:], 20); return b },
	} {
		err := check(spoil(bytes.Clone(sound)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

// FuzzCheck proves that bbolt reads every file that passes the check.
func FuzzCheck(f *testing.F) {
	sound := database(f, 1, 1024)
	f.Add(uint64(1), uint16(1))
	f.Fuzz(func(t *testing.T, seed uint64, changes uint16) {
		data := bytes.Clone(sound)
		r := rand.New(rand.NewPCG(seed, 1))
		for range changes % 8 {
			data[2048+r.IntN(len(data)-2048)] = byte(r.Uint32())
		}
		if check(data) != nil {
			return
		}
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		err = db.View(func(tx *bolt.Tx) error {
			for err := range tx.Check() {
				return err
			}
			return nil
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	})
}
