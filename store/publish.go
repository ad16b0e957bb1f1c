package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"cwharvest/store/claim"
	"cwharvest/store/durable"
	"cwharvest/store/place"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

func (j *Job) intents() (all []record.Intent, err error) {
	err = j.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(record.BucketIntents).ForEach(func(_, value []byte) error {
			var in record.Intent
			if err := json.Unmarshal(value, &in); err != nil {
				return fmt.Errorf("intent: %w", err)
			}
			all = append(all, in)
			return nil
		})
	})
	return all, err
}

// unpublished returns the bytes of the spool and the number of sealed segments
// that are not published yet.
func (j *Job) unpublished() (spooled int64, sealed int, err error) {
	intents, err := j.intents()
	spooled = j.record.Spooled
	for _, in := range intents {
		if !in.Staged {
			spooled += in.Bytes
			sealed++
		}
	}
	return spooled, sealed, err
}

// publishOldest publishes the oldest sealed segment, writes the manifest and
// returns the bytes of the segment.
func (j *Job) publishOldest(ctx context.Context) (bytes int64, err error) {
	err = j.retryTransient(ctx, func() (err error) {
		bytes, err = j.publishNext(ctx)
		return err
	})
	if err == nil {
		err = j.retryTransient(ctx, j.writeManifest)
	}
	return bytes, err
}

// publishNext publishes the oldest sealed segment and returns its bytes.
func (j *Job) publishNext(ctx context.Context) (int64, error) {
	intents, err := j.intents()
	if err != nil {
		return 0, err
	}
	next := slices.IndexFunc(intents, func(in record.Intent) bool { return !in.Staged })
	if next < 0 {
		return 0, errors.New("a sealed segment has no intent")
	}
	in := intents[next]
	if err := j.checkOut(ctx); err != nil {
		return 0, err
	}
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
	err = j.db.Update(func(tx *bolt.Tx) error {
		for _, p := range in.Parts {
			if err := record.PutJSON(tx.Bucket(record.BucketParts), []byte(p.Name), p); err != nil {
				return err
			}
		}
		if err := tx.Bucket(record.BucketIntents).Delete(record.SegmentKey(in.Segment)); err != nil {
			return err
		}
		return tx.Bucket(record.BucketSpool).DeleteBucket(record.SegmentKey(in.Segment))
	})
	if err != nil {
		return 0, err
	}
	return in.Bytes, nil
}

// checkOut returns an error if the place of output has gone since the job was opened: a
// part must not be published into an empty mount point.
func (j *Job) checkOut(ctx context.Context) error {
	return claim.CheckPresent(ctx, &j.dir.disk, j.plan.Out, j.plan.Shard)
}

// publishPart publishes one part, and continues where an earlier attempt stopped. The
// SHA-256 in an intent is never overwritten, since a process that was replaced may still
// publish that file: a program of another version, which encodes the rows differently,
// uses another name.
func (j *Job) publishPart(ctx context.Context, in *record.Intent, i int) error {
	part := &in.Parts[i]
	logged := part.SHA256
	sum, _, err := j.place.Sum(ctx, part.Name, false)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case logged != "" && sum == logged: // published, but reported as failed
		return j.place.Publish(ctx, part.Name, logged)
	default:
		return place.ErrExists
	}
	err = build(j.place, &j.dir.disk.Files, part, func(w io.Writer) error { return j.encodeDate(ctx, w, in.Segment, part) })
	if err != nil {
		return err
	}
	if logged != "" && part.SHA256 != logged {
		return j.publishRenamed(ctx, in, i)
	}
	if err := j.db.Update(func(tx *bolt.Tx) error { return logIntent(tx, in) }); err != nil {
		return err
	}
	return j.place.Publish(ctx, part.Name, part.SHA256)
}

// publishRenamed publishes a part under another name. The old name is garbage.
func (j *Job) publishRenamed(ctx context.Context, in *record.Intent, i int) error {
	old := in.Parts[i].Name
	in.Parts[i] = record.Part{Name: nextName(old), Segment: in.Parts[i].Segment, Date: in.Parts[i].Date}
	err := j.db.Update(func(tx *bolt.Tx) error { return errors.Join(logIntent(tx, in), record.AddGarbage(tx, old)) })
	if err != nil {
		return err
	}
	return j.publishPart(ctx, in, i)
}

// nextName returns another name for a part: the first one ends with -r000000 before its
// suffix, and the following ones count on. Names of a redo have higher numbers.
func nextName(name string) string {
	m := record.PartForm.FindStringSubmatchIndex(name)
	end, next := m[6]-1, 0 // of the number; before the dot of the suffix
	if m[4] >= 0 {
		end = m[4]
		fmt.Sscanf(name[m[4]:m[5]], "-r%d", &next) // matched by the form
		next++
	}
	return fmt.Sprintf("%s-r%06d%s", name[:end], next, name[m[6]-1:])
}

func logIntent(tx *bolt.Tx, in *record.Intent) error {
	return record.PutJSON(tx.Bucket(record.BucketIntents), record.SegmentKey(in.Segment), in)
}

// stage builds the parts of a sealed segment under their temporary names.
func (j *Job) stage(ctx context.Context, in *record.Intent) error {
	for i := range in.Parts {
		part := &in.Parts[i]
		if err := j.stagePart(part, func(w io.Writer) error { return j.encodeDate(ctx, w, in.Segment, part) }); err != nil {
			return fmt.Errorf("%s: %w", part.Name, err)
		}
	}
	in.Staged = true
	return j.db.Update(func(tx *bolt.Tx) error {
		if err := logIntent(tx, in); err != nil {
			return err
		}
		return tx.Bucket(record.BucketSpool).DeleteBucket(record.SegmentKey(in.Segment))
	})
}

// stagePart builds a temporary file that survives a power cut.
func (j *Job) stagePart(part *record.Part, encode func(io.Writer) error) error {
	if err := build(j.place, &j.dir.disk.Files, part, encode); err != nil {
		return err
	}
	path, err := j.place.Temporary(part.Name)
	if err != nil {
		return err
	}
	return j.dir.disk.Files.SyncDir(filepath.Dir(path))
}

// build writes and syncs the temporary file of an output file, and sets its size and
// checksum in part.
func build(at place.Place, files *durable.Files, part *record.Part, encode func(io.Writer) error) (err error) {
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
