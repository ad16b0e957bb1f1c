package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// A bbolt file begins with two pages that each hold a whole description of it,
// the newer one of the last transaction. When one is damaged, bbolt takes the
// other without a word, and the last transaction is gone: data that status has
// shown as done, and pages that the older description still believes in. A
// commit that a power cut tore leaves the same trace; it is rare, since what
// counts of the page lies in one disk sector, and it is refused as well.
const (
	metaHeader = 16         // of the page
	metaSize   = 64         // of what follows; the last 8 bytes are its checksum
	metaMagic  = 0xED0CDAED // bbolt, internal/common/types.go
)

// checkMetas refuses a file of which one description is damaged.
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
		return errors.New("neither of its two descriptions is whole")
	case first != nil || second != nil:
		return errors.New("one of its two descriptions is destroyed, and the last transaction may be gone with it")
	}
	return nil
}

// readMeta checks the description at an offset and returns the page size that it
// tells.
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

// checkAge refuses a database that is older than the status that was published
// of it: one restored from a copy, or one that lost its last transactions.
func (db *Database) checkAge(transaction int) error {
	dir := filepath.Dir(filepath.Dir(db.path))
	s, err := ReadSnapshot(dir)
	if err != nil {
		return nil // status is for people; without one there is nothing to compare
	}
	if s.Job == strings.TrimSuffix(filepath.Base(db.path), ".db") && s.Transaction > transaction {
		return db.Damaged(fmt.Sprintf("it is at transaction %d, but %s tells of %d", transaction, StatusPath(dir), s.Transaction))
	}
	return nil
}
