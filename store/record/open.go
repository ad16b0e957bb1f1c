package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// OpenForWriting opens the database for the one writer, which must hold the
// directory's lock. It waits for readers that opened the database before.
func OpenForWriting(path string) (*Database, error) {
	return openDatabase(path, &bolt.Options{
		FreelistType: bolt.FreelistMapType, Timeout: drainWait, InitialMmapSize: spoolMap,
	})
}

// OpenForReading opens the database beside other readers. If a writer holds it, the
// error is a *LockedError.
func OpenForReading(path string) (*Database, error) {
	return openDatabase(path, &bolt.Options{ReadOnly: true, Timeout: lockWait})
}

func openDatabase(path string, options *bolt.Options) (*Database, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err // bbolt would create it
	}
	db := &Database{path: path}
	if info.Size() == 0 {
		return nil, db.Damaged("it is empty") // bbolt would fill it
	}
	err = db.guard(func() (err error) {
		db.bolt, err = bolt.Open(path, 0o600, options)
		return err
	})
	if err != nil {
		return nil, err
	}
	// The file is locked now, so no writer changes the pages.
	if err := checkMetas(path); err != nil {
		if !errors.As(err, new(*fs.PathError)) {
			err = db.Damaged(err)
		}
		return nil, errors.Join(err, db.Close())
	}
	if err := db.recognise(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// recognise refuses a file that is not a job's database or has another format.
func (db *Database) recognise() error {
	return db.View(func(tx *bolt.Tx) error {
		meta := tx.Bucket(BucketMeta)
		if meta == nil {
			return db.Damaged("it is a bbolt file, but has no job record")
		}
		var only struct{ Version int } // the record of another format may have other fields
		if err := GetJSON(meta, KeyJob, &only); err != nil {
			return db.Damaged(err)
		}
		if only.Version != SchemaVersion {
			return &FormatError{Path: db.path, Format: only.Version}
		}
		if err := GetJSON(meta, KeyJob, new(JobRecord)); err != nil {
			return db.Damaged(err)
		}
		return db.checkAge(tx.ID())
	})
}

// spoolMap is the initial size of the memory map. It has room for the spool, so a
// growing database is not mapped again under its readers. It costs only address
// space.
const spoolMap = 4 << 30

// checkAge refuses a database that is older than the last status that a run
// published: it was restored from a copy, or it lost its last transactions.
func (db *Database) checkAge(transaction int) error {
	dir := dirOfDatabase(db.path)
	s, err := ReadSnapshot(dir)
	if err != nil {
		return nil // without a status there is nothing to compare
	}
	if s.Job == strings.TrimSuffix(filepath.Base(db.path), ".db") && s.Transaction > transaction {
		return db.Damaged(fmt.Sprintf("it is at transaction %d, but %s has transaction %d", transaction, StatusPath(dir), s.Transaction))
	}
	return nil
}

// FormatError reports a database that an older or a newer version has written.
// Nothing reads or changes it.
type FormatError struct {
	Path   string
	Format int
}

func (e *FormatError) Error() string {
	age := "newer"
	if e.Format < SchemaVersion {
		age = "older"
	}
	return fmt.Sprintf("%s has the %s database format %d, and this version reads only format %d; it was not changed", e.Path, age, e.Format, SchemaVersion)
}

// Hint returns what to do next.
func (e *FormatError) Hint() string {
	if e.Format < SchemaVersion {
		return "finish it with the version that wrote it, or use another directory"
	}
	return "use the version that wrote it, or another directory"
}

// Sizes of a meta page of bbolt, and its magic number (internal/common/types.go).
const (
	metaHeader = 16 // of the page
	metaSize   = 64 // of the content; its last 8 bytes are the checksum
	metaMagic  = 0xED0CDAED
)

// checkMetas refuses a file with a damaged meta page. bbolt would fall back to the
// other one, which is a transaction older, without reporting it: see doc.go.
func checkMetas(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	size, first := readMeta(file, 0)
	if first != nil {
		size = pageSize
	}
	_, second := readMeta(file, size)
	switch {
	case first != nil && second != nil:
		return errors.New("both of its meta pages are damaged")
	case first != nil || second != nil:
		return errors.New("one of its meta pages is damaged, and the last transaction may be lost with it")
	}
	return nil
}

// readMeta checks the meta page at an offset and returns the page size in it.
func readMeta(file io.ReaderAt, at int64) (pageSize int64, problem error) {
	var page [metaHeader + metaSize]byte
	if _, err := file.ReadAt(page[:], at); err != nil {
		return 0, err
	}
	meta := page[metaHeader:]
	sum := fnv.New64a()
	sum.Write(meta[:metaSize-8])
	if binary.NativeEndian.Uint32(meta) != metaMagic || binary.NativeEndian.Uint64(meta[metaSize-8:]) != sum.Sum64() {
		return 0, errors.New("damaged")
	}
	return int64(binary.NativeEndian.Uint32(meta[8:])), nil
}
