// Package btree checks the pages of a bbolt file before bbolt reads them.
//
// bbolt trusts its pages. A reference to a page above makes it recurse until the
// runtime kills the process, a wrong length allocates memory without limit, and its
// own Check runs in a goroutine, and a fault there cannot be recovered. This package reads
// the file with plain reads instead: it needs memory for one page a level and one bit a
// page, and reads no page twice. After a check without error bbolt may read and write the file.
//
// The layout of pages is that of bbolt 1.5 (internal/common/page.go, meta.go and
// bucket.go).
package btree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
)

// Sizes of headers and of the elements of pages.
const (
	pageHeader   = 16
	element      = 16 // of a leaf or a branch
	bucketHeader = 16
	metaSize     = 64 // its last 8 bytes are the checksum
	idSize       = 8
)

// Types of pages. A page has exactly one.
const (
	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10
)

const (
	magic       = 0xED0CDAED
	version     = 2
	noFreelist  = 1<<64 - 1
	largestKey  = 32 << 10 // bbolt's MaxKeySize
	largestPage = 1 << 20  // bbolt uses the system's page size by default: at most 64 KiB
	deepest     = 64       // levels of pages, buckets within buckets included
)

// ErrVersion reports an intact file of another version of bbolt.
var ErrVersion = errors.New("it has another version of bbolt's format")

var order = binary.NativeEndian

// File is a bbolt file that nothing writes to.
type File struct {
	data     io.ReaderAt
	pageSize uint64
	root     uint64 // page of the root bucket
	freelist uint64
	end      uint64 // the first page that was never used
	seen     []uint64
}

// Open reads the meta pages of a file of a size. Both must be intact: bbolt would
// replace a damaged one by the other, which is a transaction older, without reporting
// it.
func Open(data io.ReaderAt, size int64) (*File, error) {
	first, firstErr := readMeta(data, 0)
	if errors.Is(firstErr, ErrVersion) {
		return nil, firstErr
	}
	at := uint64(first.pageSize)
	if firstErr != nil {
		at = 16 << 10 // the size of the pages of new databases
	}
	second, secondErr := readMeta(data, int64(at))
	switch {
	case firstErr != nil && secondErr != nil:
		return nil, errors.New("both of its meta pages are damaged")
	case firstErr != nil || secondErr != nil:
		return nil, errors.New("one of its meta pages is damaged, and the last transaction may be lost with it")
	case first.pageSize != second.pageSize:
		return nil, errors.New("its meta pages differ in the size of pages")
	}
	if first.transaction < second.transaction {
		first = second
	}
	f := &File{data: data, pageSize: uint64(first.pageSize), root: first.root, freelist: first.freelist, end: first.end}
	if f.end > uint64(size)/f.pageSize {
		return nil, fmt.Errorf("it has %d bytes, but %d pages of %d", size, f.end, f.pageSize)
	}
	return f, nil
}

type meta struct {
	pageSize                         uint32
	root, freelist, end, transaction uint64
}

func readMeta(data io.ReaderAt, at int64) (m meta, err error) {
	var page [pageHeader + metaSize]byte
	if _, err := data.ReadAt(page[:], at); err != nil {
		return m, err
	}
	b := page[pageHeader:]
	sum := fnv.New64a()
	sum.Write(b[:metaSize-8])
	if order.Uint32(b) != magic || order.Uint64(b[56:]) != sum.Sum64() {
		return m, errors.New("the meta page is damaged")
	}
	if order.Uint32(b[4:]) != version {
		return m, ErrVersion
	}
	m = meta{order.Uint32(b[8:]), order.Uint64(b[16:]), order.Uint64(b[32:]), order.Uint64(b[40:]), order.Uint64(b[48:])}
	if size := m.pageSize; size < 1<<10 || size > largestPage || size&(size-1) != 0 {
		return m, fmt.Errorf("the meta page names pages of %d bytes", size)
	}
	return m, nil
}

// Check reads every page in use. Each page must be in one tree once or be free, keys
// must be in order, and everything must lie within its page.
func (f *File) Check() error {
	f.clear()
	if err := f.tree(f.root, 0, limits{}, everyBucket); err != nil {
		return err
	}
	if f.freelist == noFreelist {
		return nil // bbolt finds free pages itself
	}
	if err := f.free(); err != nil {
		return err
	}
	for id := uint64(2); id < f.end; id++ {
		if f.seen[id/64]&(1<<(id%64)) == 0 {
			return fmt.Errorf("page %d is neither used nor free", id)
		}
	}
	return nil
}

// CheckWithout reads all pages but those of some buckets of the root.
func (f *File) CheckWithout(names ...[]byte) error {
	f.clear()
	return f.tree(f.root, 0, limits{}, func(key []byte) bool {
		return !slices.ContainsFunc(names, func(name []byte) bool { return bytes.Equal(key, name) })
	})
}

// CheckBucket reads only the pages that lead to one bucket of the root, and its own.
func (f *File) CheckBucket(name []byte) error {
	f.clear()
	return f.tree(f.root, 0, limits{}, func(key []byte) bool { return bytes.Equal(key, name) })
}

func (f *File) clear() { f.seen = make([]uint64, f.end/64+1) }

func everyBucket([]byte) bool { return true }

// mark counts pages as used. No page is used twice.
func (f *File) mark(id, n uint64) error {
	if id < 2 || id >= f.end || n > f.end-id {
		return fmt.Errorf("page %d is outside the file", id)
	}
	for ; n > 0; id, n = id+1, n-1 {
		if f.seen[id/64]&(1<<(id%64)) != 0 {
			return fmt.Errorf("page %d is used twice", id)
		}
		f.seen[id/64] |= 1 << (id % 64)
	}
	return nil
}

// page reads the header of a page and its first bytes, and marks all its pages.
func (f *File) page(id uint64) (*page, error) {
	if id < 2 || id >= f.end {
		return nil, fmt.Errorf("page %d is outside the file", id)
	}
	p := &page{file: f, id: id, start: make([]byte, f.pageSize)}
	if _, err := f.data.ReadAt(p.start, int64(id*f.pageSize)); err != nil {
		return nil, err
	}
	if got := order.Uint64(p.start); got != id {
		return nil, fmt.Errorf("page %d has the number %d", id, got)
	}
	p.kind, p.count = order.Uint16(p.start[8:]), uint64(order.Uint16(p.start[10:]))
	pages := 1 + uint64(order.Uint32(p.start[12:]))
	p.size = pages * f.pageSize
	return p, f.mark(id, pages)
}

// limits are those of the keys of a page: from the first on, before the second. nil
// sets no limit.
type limits struct{ from, before []byte }

// tree checks a page of a bucket and all pages below it. It follows the buckets that
// wanted accepts.
func (f *File) tree(id uint64, level int, keys limits, wanted func([]byte) bool) error {
	if level > deepest {
		return tooDeep(id)
	}
	p, err := f.page(id)
	if err != nil {
		return err
	}
	switch p.kind {
	case leafPage:
		return p.leaf(level, keys, wanted)
	case branchPage:
		return p.branch(level, keys, wanted)
	}
	return fmt.Errorf("page %d has the type %#x", id, p.kind)
}

func tooDeep(id uint64) error {
	return fmt.Errorf("page %d is more than %d levels deep", id, deepest)
}

// free marks the pages in the list of free ones.
func (f *File) free() error {
	p, err := f.page(f.freelist)
	if err != nil {
		return err
	}
	if p.kind != freelistPage {
		return fmt.Errorf("page %d is not a list of free pages", p.id)
	}
	at, n := uint64(pageHeader), p.count
	if n == 0xFFFF { // more ids than the header can count: the first one is their number
		b, err := p.bytes(at, idSize)
		if err != nil {
			return err
		}
		at, n = at+idSize, order.Uint64(b)
	}
	if n > f.end {
		return fmt.Errorf("page %d lists %d free pages", p.id, n)
	}
	ids, err := p.bytes(at, n*idSize)
	if err != nil {
		return err
	}
	for ; len(ids) > 0; ids = ids[idSize:] {
		if err := f.mark(order.Uint64(ids), 1); err != nil {
			return err
		}
	}
	return nil
}
