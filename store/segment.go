package store

import (
	"bytes"
	"fmt"

	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// readBatch is how much of a segment one read transaction copies: a long
// transaction would hold back the pages that the writer could reuse.
const readBatch = 1 << 20

// spooledValue is a copy of one entry of a segment.
type spooledValue struct{ key, value []byte }

// segmentBatch is what one read transaction has copied, in memory that the next
// one reuses.
type segmentBatch struct {
	values []spooledValue
	slab   []byte
}

func (b *segmentBatch) add(key, value []byte) {
	at := len(b.slab)
	b.slab = append(append(b.slab, key...), value...) // when it moves, the values before keep the old one
	end := at + len(key)
	b.values = append(b.values, spooledValue{b.slab[at:end:end], b.slab[end:]})
}

// readSegment yields the entries of a segment whose keys begin with prefix. What
// it yields is void afterwards.
func (j *Job) readSegment(segment uint64, prefix []byte, yield func(spooledValue) error) error {
	var batch segmentBatch
	for next := prefix; next != nil; {
		after, err := j.copySegment(segment, prefix, next, &batch)
		if err != nil {
			return err
		}
		for _, v := range batch.values {
			if err := yield(v); err != nil {
				return err
			}
		}
		next = after
	}
	return nil
}

// copySegment copies entries from a key on, and returns the key to go on at,
// nil at the end.
func (j *Job) copySegment(segment uint64, prefix, from []byte, into *segmentBatch) (next []byte, err error) {
	into.values, into.slab = into.values[:0], into.slab[:0]
	err = j.db.View(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(record.BucketSpool).Bucket(record.SegmentKey(segment))
		if bucket == nil {
			return fmt.Errorf("spool segment %d is missing", segment)
		}
		c := bucket.Cursor()
		for k, v := c.Seek(from); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
			if len(into.slab) > readBatch {
				next = bytes.Clone(k)
				return nil
			}
			into.add(k, v)
		}
		return nil
	})
	return next, err
}
