package record

import (
	"errors"
	"fmt"
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

// pageSize is that of a new database. bbolt writes a page a call: with fewer and
// larger ones than the system's, commits of some MB take less of the processor.
const pageSize = 16 << 10

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

// damagedError says that a database cannot be read: only such a one is rebuilt.
type DamagedError struct{ text string }

func (e *DamagedError) Error() string { return e.text }

func (db *Database) Damaged(what any) error {
	return &DamagedError{fmt.Sprintf("%s is damaged or not a job's database (%v); it was not changed: rebuild it with "+
		"`cwharvest repair %s`", db.path, what, filepath.Dir(filepath.Dir(db.path)))}
}
