package record

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"

	"cwharvest/store/btree"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Database is a job's bbolt file. On a damaged file bbolt panics and the kernel
// raises faults. View and Update turn both into a *DamagedError.
type Database struct {
	path string
	file *os.File // for the check of its pages
	bolt *bolt.DB

	whole, small pageCheck // of all pages, and of all but those of the large buckets
}

// pageCheck is a check of pages before the first transaction that reads them.
type pageCheck struct {
	once    sync.Once
	damaged error
}

// pageSize is the page size of new databases. bbolt writes each page with one
// call, so commits of several MB use less CPU with pages larger than the system's.
const pageSize = 16 << 10

// Close closes the file and releases its lock.
func (db *Database) Close() error {
	err := db.file.Close()
	if db.bolt != nil {
		err = errors.Join(db.bolt.Close(), err)
	}
	return err
}

// View runs do in a read transaction.
func (db *Database) View(do func(*bolt.Tx) error) error {
	return db.viewAfter(&db.whole, (*btree.File).Check, do)
}

// look is View for a transaction that reads no instances, progress and spool, so that
// the status of a large job does not read its whole file.
func (db *Database) look(do func(*bolt.Tx) error) error {
	return db.viewAfter(&db.small, func(f *btree.File) error { return f.CheckWithout(BucketInstances, BucketProgress, BucketSpool) }, do)
}

func (db *Database) viewAfter(c *pageCheck, pages func(*btree.File) error, do func(*bolt.Tx) error) error {
	if db.bolt.IsReadOnly() { // a writer's pages were checked when it was opened
		c.once.Do(func() { c.damaged = db.check(pages) })
	}
	if c.damaged != nil {
		return c.damaged
	}
	return db.peek(do)
}

// peek runs do in a read transaction. It may read the record and the plan of the job,
// which are checked when the database is opened, and nothing else.
func (db *Database) peek(do func(*bolt.Tx) error) error {
	return db.guard(func() error { return db.bolt.View(do) })
}

// check opens the pages of the file, runs do, and returns damage as a
// *DamagedError. Nothing may write to the file meanwhile.
func (db *Database) check(do func(*btree.File) error) error {
	info, err := db.file.Stat()
	if err != nil {
		return err
	}
	pages, err := btree.Open(db.file, info.Size())
	if err == nil {
		err = do(pages)
	}
	switch {
	case err == nil, errors.As(err, new(*fs.PathError)):
		return err
	case errors.Is(err, btree.ErrVersion):
		return fmt.Errorf("%s has a bbolt format that this version does not know; it was not changed", db.path)
	}
	return db.Damaged(err)
}

// Update runs do in a write transaction, which commits if do returns nil.
func (db *Database) Update(do func(*bolt.Tx) error) error {
	return db.guard(func() error { return db.bolt.Update(do) })
}

// Transaction returns the number of the last committed transaction.
func (db *Database) Transaction() (n int, err error) {
	err = db.peek(func(tx *bolt.Tx) error { n = tx.ID(); return nil })
	return n, err
}

// guard runs do and returns a panic of bbolt, or a fault of its memory map, as an
// error.
func (db *Database) guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = db.Damaged(p)
		}
	}()
	err = do()
	switch {
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), isTooSmall(err):
		return db.Damaged(err)
	case errors.Is(err, berrors.ErrVersionMismatch): // or a damaged file
		if err := db.check(func(*btree.File) error { return nil }); err != nil {
			return err
		}
		return db.Damaged(err)
	case errors.Is(err, berrors.ErrTimeout):
		dir := dirOfDatabase(db.path)
		return &LockedError{Dir: dir, Owner: otherOwner(dir)}
	}
	return err
}

// isTooSmall reports bbolt's error for a file of less than two pages, which has no type.
func isTooSmall(err error) bool {
	return err != nil && strings.Contains(err.Error(), "file size too small")
}

// DamagedError reports a database that cannot be read. Repair rebuilds these and
// no others.
type DamagedError struct {
	Path    string
	Problem string
}

func (e *DamagedError) Error() string { return e.Damage() + "; it was not changed" }

// Damage describes the damage alone.
func (e *DamagedError) Damage() string {
	return fmt.Sprintf("%s is damaged or not a job's database (%s)", e.Path, e.Problem)
}

// RepairDir returns the harvest directory of the database.
func (e *DamagedError) RepairDir() string { return dirOfDatabase(e.Path) }

// Damaged returns the *DamagedError of this database.
func (db *Database) Damaged(problem any) error {
	return &DamagedError{Path: db.path, Problem: fmt.Sprint(problem)}
}

// RepairError is any other error that the repair of a harvest directory removes.
type RepairError struct {
	Dir string
	Err error
}

func (e *RepairError) Error() string { return e.Err.Error() }

func (e *RepairError) Unwrap() error { return e.Err }

// RepairDir returns the harvest directory.
func (e *RepairError) RepairDir() string { return e.Dir }

func dirOfDatabase(path string) string { return filepath.Dir(filepath.Dir(path)) }
