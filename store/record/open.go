package record

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"cwharvest/store/btree"

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

// openDatabase opens an existing file. bbolt trusts what it reads, so the pages are
// checked first: all of them before it may write, otherwise the few that tell the
// state of the job, and the others before they are read. See package btree.
func openDatabase(path string, options *bolt.Options) (_ *Database, err error) {
	db := &Database{path: path}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err // bbolt would create it
	case !info.Mode().IsRegular():
		return nil, db.Damaged("it is not a regular file") // opening a pipe would wait
	case info.Size() == 0:
		return nil, db.Damaged("it is empty") // bbolt would fill it
	}
	if db.file, err = os.Open(path); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	if !options.ReadOnly { // the lock of the directory keeps other writers away
		if err := db.check((*btree.File).Check); err != nil {
			return nil, err
		}
	}
	if err := db.guard(func() error { return db.open(options) }); err != nil {
		return nil, err
	}
	if options.ReadOnly { // the file is locked now, so no writer changes the pages
		if err := db.check(func(f *btree.File) error { return f.CheckBucket(BucketMeta) }); err != nil {
			return nil, err
		}
	}
	return db, db.recognise()
}

// open lets bbolt open the file, and closes what it leaves open when it panics.
func (db *Database) open(options *bolt.Options) (err error) {
	var file *os.File
	options.OpenFile = func(path string, flag int, mode fs.FileMode) (*os.File, error) {
		file, err = os.OpenFile(path, flag, mode)
		return file, err
	}
	defer func() {
		if db.bolt == nil && file != nil {
			file.Close() // a second close, unless bbolt panicked
		}
	}()
	db.bolt, err = bolt.Open(db.path, 0o600, options)
	return err
}

// recognise refuses a file that is not a job's database or has another format.
func (db *Database) recognise() error {
	return db.peek(func(tx *bolt.Tx) error {
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
