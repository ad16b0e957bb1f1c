package btree

import (
	"bytes"
	"fmt"
)

// page is a page of a tree, with those that it overflows into.
type page struct {
	file  *File
	id    uint64
	kind  uint16
	count uint64
	size  uint64 // in bytes
	start []byte // its first bytes, or all of an inline page
}

// bytes returns n bytes of the page.
func (p *page) bytes(at, n uint64) ([]byte, error) {
	if at > p.size || n > p.size-at {
		return nil, fmt.Errorf("page %d refers to bytes beyond its end", p.id)
	}
	if at+n <= uint64(len(p.start)) {
		return p.start[at : at+n], nil
	}
	b := make([]byte, n)
	_, err := p.file.data.ReadAt(b, int64(p.id*p.file.pageSize+at))
	return b, err
}

// elements calls do with each element of the page.
func (p *page) elements(do func(at uint64, e []byte) error) error {
	all, err := p.bytes(pageHeader, p.count*element)
	if err != nil {
		return err
	}
	for at := uint64(pageHeader); len(all) > 0; all, at = all[element:], at+element {
		if err := do(at, all[:element]); err != nil {
			return err
		}
	}
	return nil
}

// key returns the key at an offset, which must follow the elements of the page, the
// previous key, and the limits.
func (p *page) key(at, n uint64, previous []byte, keys limits) ([]byte, error) {
	if n == 0 || n > largestKey || at < pageHeader+p.count*element {
		return nil, fmt.Errorf("page %d has a key of %d bytes at %d", p.id, n, at)
	}
	key, err := p.bytes(at, n)
	switch {
	case err != nil:
		return nil, err
	case previous != nil && bytes.Compare(previous, key) >= 0,
		bytes.Compare(keys.from, key) > 0,
		keys.before != nil && bytes.Compare(key, keys.before) >= 0:
		return nil, fmt.Errorf("page %d has keys in a wrong order", p.id)
	}
	return key, nil
}

// branch checks a page that refers to others by the first key of each.
func (p *page) branch(level int, keys limits, wanted func([]byte) bool) error {
	if p.count == 0 {
		return fmt.Errorf("page %d refers to no page", p.id)
	}
	var child uint64
	var first []byte
	err := p.elements(func(at uint64, e []byte) error {
		key, err := p.key(at+uint64(order.Uint32(e)), uint64(order.Uint32(e[4:])), first, keys)
		if err != nil {
			return err
		}
		if first != nil {
			if err := p.file.tree(child, level+1, limits{first, key}, wanted); err != nil {
				return err
			}
		}
		child, first = order.Uint64(e[8:]), key
		return nil
	})
	if err != nil {
		return err
	}
	return p.file.tree(child, level+1, limits{first, keys.before}, wanted)
}

// leaf checks a page of keys and values. Some values are buckets.
func (p *page) leaf(level int, keys limits, wanted func([]byte) bool) error {
	if level > deepest { // buckets within buckets of one page
		return tooDeep(p.id)
	}
	var previous []byte
	return p.elements(func(at uint64, e []byte) error {
		at, n := at+uint64(order.Uint32(e[4:])), uint64(order.Uint32(e[8:]))
		key, err := p.key(at, n, previous, keys)
		if err != nil {
			return err
		}
		previous = key
		at, n = at+n, uint64(order.Uint32(e[12:]))
		if at > p.size || n > p.size-at {
			return fmt.Errorf("page %d refers to a value beyond its end", p.id)
		}
		switch flags := order.Uint32(e); {
		case flags > 1:
			return fmt.Errorf("page %d has a value of the type %#x", p.id, flags)
		case flags == 0 || !wanted(key):
			return nil
		}
		if n < bucketHeader || n > p.file.pageSize {
			return fmt.Errorf("page %d has a bucket of %d bytes", p.id, n)
		}
		value, err := p.bytes(at, n)
		if err != nil {
			return err
		}
		return p.bucket(value, level+1)
	})
}

// bucket checks a bucket. It is a tree of its own, or one leaf inside the value.
func (p *page) bucket(value []byte, level int) error {
	if root := order.Uint64(value); root != 0 {
		return p.file.tree(root, level, limits{}, everyBucket)
	}
	value = value[bucketHeader:]
	if len(value) < pageHeader {
		return fmt.Errorf("page %d has an inline bucket without a page", p.id)
	}
	inline := &page{file: p.file, id: p.id, kind: order.Uint16(value[8:]), count: uint64(order.Uint16(value[10:])), size: uint64(len(value)), start: value}
	if inline.kind != leafPage || order.Uint32(value[12:]) != 0 {
		return fmt.Errorf("page %d has an inline bucket of the type %#x", p.id, inline.kind)
	}
	return inline.leaf(level, limits{}, everyBucket)
}
