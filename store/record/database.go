package record

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// database is one job's bbolt file. bbolt panics, and the kernel faults, on a
// damaged file: every access goes through view and update, which turn both
// into an error that names the file.
type Database struct {
	path string
	bolt *bolt.DB
}

// spoolMap is the initial size of the memory map: room for the spool, so that
// a growing database need not remap under its readers (address space only).
const spoolMap = 4 << 30

// pageSize is that of a new database. bbolt writes a page a call: with fewer and
// larger ones than the system's, commits of some MB take less of the processor.
const pageSize = 16 << 10

func OpenForWriting(path string) (*Database, error) {
	return openDatabase(path, &bolt.Options{
		FreelistType: bolt.FreelistMapType, Timeout: drainWait, InitialMmapSize: spoolMap,
	})
}

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
	// Now that nobody writes to it.
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

// recognise refuses a database that is not ours or has another format.
func (db *Database) recognise() error {
	return db.View(func(tx *bolt.Tx) error {
		meta := tx.Bucket(BucketMeta)
		if meta == nil {
			return &DamagedError{fmt.Sprintf("%s is a bbolt file, but not of cwharvest; it was not changed", db.path)}
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

func (db *Database) Close() error { return db.bolt.Close() }

func (db *Database) View(do func(*bolt.Tx) error) error {
	return db.guard(func() error { return db.bolt.View(do) })
}

func (db *Database) Update(do func(*bolt.Tx) error) error {
	return db.guard(func() error { return db.bolt.Update(do) })
}

// transaction returns the number of the last one.
func (db *Database) Transaction() (n int, err error) {
	err = db.View(func(tx *bolt.Tx) error { n = tx.ID(); return nil })
	return n, err
}

// guard runs do and returns what bbolt or a fault of its memory map panics
// with as an error.
func (db *Database) guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = db.Damaged(p)
		}
	}()
	err = do()
	switch {
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum):
		return db.Damaged(err)
	case errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("%s is in a format of bbolt that this cwharvest does not know; it was not changed", db.path)
	case errors.Is(err, berrors.ErrTimeout):
		dir := filepath.Dir(filepath.Dir(db.path))
		return &LockedError{Dir: dir, Owner: otherOwner(dir)}
	}
	return err
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

// damagedError says that a database cannot be read: only such a one is rebuilt.
type DamagedError struct{ text string }

func (e *DamagedError) Error() string { return e.text }

func (db *Database) Damaged(what any) error {
	return &DamagedError{fmt.Sprintf("%s is damaged or not a job's database (%v); it was not changed: rebuild it with "+
		"`cwharvest repair %s`", db.path, what, filepath.Dir(filepath.Dir(db.path)))}
}
