package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

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

// publishPart brings one part to its place, wherever an earlier try stopped.
func (j *Job) publishPart(ctx context.Context, in *record.Intent, i int) error {
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
	err = build(j.place, &j.dir.disk.Files, part, func(w io.Writer) error { return j.encodeDate(ctx, w, in.Segment, part) })
	if err != nil {
		return err
	}
	err = j.db.Update(func(tx *bolt.Tx) error {
		return record.PutJSON(tx.Bucket(record.BucketIntents), record.SegmentKey(in.Segment), in)
	})
	if err != nil {
		return err
	}
	return j.place.Publish(ctx, part.Name, part.SHA256)
}
