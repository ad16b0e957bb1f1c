package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"time"

	"cwharvest/store/durable"
	"cwharvest/store/place"

	bolt "go.etcd.io/bbolt"
)

// SpoolLimit bounds the data committed and not yet published, unless Config says
// otherwise: when it is reached, commits wait for the builder, and so does
// fetching.
const SpoolLimit = 2 << 30

// Part is one immutable output file, as the manifest lists it.
type Part struct {
	Name    string    `json:"name"` // relative to Spec.Out
	Segment uint64    `json:"segment"`
	Date    string    `json:"date"` // UTC date of its rows
	Rows    int64     `json:"rows"`
	Bytes   int64     `json:"bytes"`
	First   time.Time `json:"first"` // timestamp of the earliest row
	Last    time.Time `json:"last"`  // and of the latest
	SHA256  string    `json:"sha256"`
}

// intent is what is to be published of a sealed segment. A part's size and
// checksum are recorded before its file gets its name, so that recovery can
// tell a finished part from a foreign file.
type intent struct {
	Segment uint64 `json:"segment"`
	Bytes   int64  `json:"bytes"` // of the segment
	Parts   []Part `json:"parts"`
	Staged  bool   `json:"staged,omitempty"` // built, and without names until a redo ends
}

func partName(plan Plan, day int64, segment uint64) string {
	return fmt.Sprintf("date=%s/%s-%06d%s", dateOf(day), plan.ID, segment, plan.format().Suffix())
}

// builder turns sealed segments into parts, in the background, one at a time.
type builder struct {
	job *Job
	ctx context.Context // ended by stop
	end context.CancelFunc

	mu      sync.Mutex
	change  sync.Cond     // of anything below
	spooled int64         // bytes committed and not yet published
	sealed  int           // segments that wait to be published
	err     error         // the builder has failed and ended
	ended   chan struct{} // nil until started; the builder's goroutine closes it
}

func (b *builder) init(j *Job) {
	b.job = j
	b.change.L = &b.mu
	b.ctx, b.end = context.WithCancel(context.Background())
}

// start counts what an earlier attempt left sealed and starts the goroutine.
func (b *builder) start() error {
	intents, err := b.job.intents()
	if err != nil {
		return err
	}
	b.spooled = b.job.record.Spooled
	for _, in := range intents {
		if !in.Staged {
			b.spooled += in.Bytes
			b.sealed++
		}
	}
	b.ended = make(chan struct{})
	go b.loop()
	return nil
}

func (b *builder) loop() {
	defer close(b.ended)
	for b.next() {
		var bytes int64
		err := b.job.retryTransient(b.ctx, func() (err error) {
			bytes, err = b.job.publishNext(b.ctx)
			return err
		})
		if err == nil {
			err = b.job.retryTransient(b.ctx, b.job.writeManifest)
		}
		b.mu.Lock()
		switch {
		case b.ctx.Err() != nil:
		case err != nil:
			b.err = fmt.Errorf("publish parts: %w", err)
		default:
			b.spooled -= bytes
			b.sealed--
		}
		b.change.Broadcast()
		b.mu.Unlock()
	}
}

// next waits for a sealed segment; false means that the builder is to end.
func (b *builder) next() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.sealed == 0 && b.ctx.Err() == nil && b.err == nil {
		b.change.Wait()
	}
	return b.ctx.Err() == nil && b.err == nil
}

func (b *builder) committed(bytes int64, sealed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spooled += bytes
	if sealed {
		b.sealed++
		b.change.Broadcast()
	}
}

// waitForRoom waits while the spool is full.
func (b *builder) waitForRoom(ctx context.Context) error {
	return b.wait(ctx, func() bool { return b.spooled > b.job.dir.spoolLimit() && b.sealed > 0 })
}

// drain waits until every sealed segment is published.
func (b *builder) drain(ctx context.Context) error {
	return b.wait(ctx, func() bool { return b.sealed > 0 })
}

// wait waits while the builder has something to do before the caller may go on.
func (b *builder) wait(ctx context.Context, busy func() bool) error {
	defer context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.change.Broadcast()
	})()
	b.mu.Lock()
	defer b.mu.Unlock()
	for busy() && b.err == nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b.change.Wait()
	}
	return b.err
}

// stop ends the builder between two steps; what it had begun is recovered by
// the next attempt.
func (b *builder) stop() {
	b.end()
	if b.ended == nil {
		return
	}
	b.mu.Lock()
	b.change.Broadcast()
	b.mu.Unlock()
	<-b.ended
}

func (j *Job) intents() (all []intent, err error) {
	err = j.db.view(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketIntents).ForEach(func(_, value []byte) error {
			var in intent
			if err := json.Unmarshal(value, &in); err != nil {
				return fmt.Errorf("intent: %w", err)
			}
			all = append(all, in)
			return nil
		})
	})
	return all, err
}

// publishNext publishes the oldest sealed segment and returns its bytes.
func (j *Job) publishNext(ctx context.Context) (int64, error) {
	intents, err := j.intents()
	if err != nil {
		return 0, err
	}
	next := slices.IndexFunc(intents, func(in intent) bool { return !in.Staged })
	if next < 0 {
		return 0, errors.New("a sealed segment has no intent")
	}
	in := intents[next]
	j.mu.Lock()
	redoing := j.record.Redo != nil
	j.mu.Unlock()
	if redoing {
		return in.Bytes, j.stage(ctx, &in)
	}
	for i := range in.Parts {
		if err := j.publishPart(ctx, &in, i); err != nil {
			return 0, fmt.Errorf("%s: %w", in.Parts[i].Name, err)
		}
	}
	err = j.db.update(func(tx *bolt.Tx) error {
		for _, p := range in.Parts {
			if err := putJSON(tx.Bucket(bucketParts), []byte(p.Name), p); err != nil {
				return err
			}
		}
		if err := tx.Bucket(bucketIntents).Delete(segmentKey(in.Segment)); err != nil {
			return err
		}
		return tx.Bucket(bucketSpool).DeleteBucket(segmentKey(in.Segment))
	})
	if err != nil {
		return 0, err
	}
	return in.Bytes, nil
}

// publishPart brings one part to its place, wherever an earlier try stopped.
func (j *Job) publishPart(ctx context.Context, in *intent, i int) error {
	part := &in.Parts[i]
	sum, _, err := j.place.Sum(ctx, part.Name, false)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case part.SHA256 != "" && sum == part.SHA256: // done, and reported failed
		return j.place.Publish(ctx, part.Name, part.SHA256)
	default:
		return place.ErrExists
	}
	err = build(j.place, &j.dir.files, part, func(w io.Writer) error { return j.encodeDate(ctx, w, in.Segment, part) })
	if err != nil {
		return err
	}
	err = j.db.update(func(tx *bolt.Tx) error {
		return putJSON(tx.Bucket(bucketIntents), segmentKey(in.Segment), in)
	})
	if err != nil {
		return err
	}
	return j.place.Publish(ctx, part.Name, part.SHA256)
}

// build writes an output file to its temporary file, synced, and fills in its
// size and checksum.
func build(at place.Place, files *durable.Files, part *Part, encode func(io.Writer) error) (err error) {
	path, err := at.Temporary(part.Name)
	if err != nil {
		return err
	}
	file, err := files.Create(path, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	sum := sha256.New()
	size := &countingWriter{w: io.MultiWriter(file, sum)}
	if err := encode(size); err != nil {
		return err
	}
	part.Bytes, part.SHA256 = size.n, hex.EncodeToString(sum.Sum(nil))
	return files.Sync(file)
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

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
	err = j.db.view(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(bucketSpool).Bucket(segmentKey(segment))
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
