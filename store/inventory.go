package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
	"time"

	"cwharvest/store/encode"

	bolt "go.etcd.io/bbolt"
)

// The inventory is one file a job, with a row for each of its instances and what
// came of it: it answers which instances have no data, and why.

// inventories is where inventories lie, relative to the place of output: beside
// a place called data, inside of any other, so that it never leaves what a person
// has named.
func (s *Plan) inventories() string {
	if path.Base(filepath.ToSlash(s.Out)) == "data" {
		return "../instances"
	}
	return "instances"
}

// InventoryPlace is the place of the inventories of all jobs with this output.
func (s *Plan) InventoryPlace() string {
	if scheme, rest, remote := strings.Cut(s.Out, "://"); remote {
		bucket, prefix, _ := strings.Cut(rest, "/")
		return scheme + "://" + bucket + path.Join("/", prefix, s.inventories())
	}
	return filepath.Join(s.Out, filepath.FromSlash(s.inventories()))
}

func (j *Job) inventoryName() string {
	return fmt.Sprintf("%s/date=%s/%s-%03d%s", j.plan.inventories(), j.plan.Start.UTC().Format(time.DateOnly), j.plan.ID,
		len(j.record.Attempts), j.plan.format().Suffix())
}

// publishInventory puts the inventory, as it is at the end of this attempt, in
// the place of the last one.
func (j *Job) publishInventory(ctx context.Context) error {
	j.mu.Lock()
	part := Part{Name: j.inventoryName(), Date: j.plan.Start.UTC().Format(time.DateOnly), First: j.plan.Start, Last: j.plan.End}
	j.mu.Unlock()
	err := j.db.update(func(tx *bolt.Tx) error { return discard(tx, part.Name) })
	if err != nil {
		return err
	}
	if err := j.place.Remove(ctx, part.Name); err != nil {
		return err // of a try before
	}
	if err := build(j.place, &j.dir.files, &part, func(w io.Writer) error { return j.encodeInventory(ctx, w, &part) }); err != nil {
		return err
	}
	if err := j.place.Publish(ctx, part.Name, part.SHA256); err != nil {
		return fmt.Errorf("%s: %w", part.Name, err)
	}
	if err := j.replaceInventory(&part); err != nil {
		return err
	}
	return j.sweep(ctx)
}

func (j *Job) replaceInventory(part *Part) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.save(func(r *jobRecord, tx *bolt.Tx) error {
		if r.Inventory != nil && r.Inventory.Name != part.Name {
			if err := discard(tx, r.Inventory.Name); err != nil {
				return err
			}
		}
		r.Inventory = part
		return keep(tx, part.Name)
	})
}

func (j *Job) encodeInventory(ctx context.Context, w io.Writer, part *Part) (err error) {
	out, err := j.plan.format().NewInventoryWriter(w, map[string]string{"cwharvest.job": j.plan.ID})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	part.Rows = 0
	for _, t := range j.Targets() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := j.encodeTarget(out, t, part); err != nil {
			return fmt.Errorf("inventory of %s: %w", t.Target, err)
		}
	}
	return nil
}

// encodeTarget writes the instances of a target. One that could not be
// enumerated has a row without an instance, since what it has is unknown.
func (j *Job) encodeTarget(out encode.InventoryWriter, t TargetState, part *Part) error {
	if t.Denied != nil && !t.Enumerated {
		part.Rows++
		row := encode.InventoryRow{Account: t.Account, Region: t.Region, Outcome: "unknown", Class: t.Denied.Class, Reason: t.Denied.Message}
		if err := out.Write(row); err != nil {
			return err
		}
	}
	for from := []byte(nil); ; {
		rows, next, err := j.inventoryPage(t, from)
		if err != nil {
			return err
		}
		for i := range rows {
			if err := out.Write(rows[i]); err != nil {
				return err
			}
		}
		part.Rows += int64(len(rows))
		if next == nil {
			return nil
		}
		from = next
	}
}

// inventoryPageSize is how many instances one read transaction copies.
const inventoryPageSize = 2000

// inventoryPage returns rows of instances from a key on, and the key to go on
// at, nil at the end.
func (j *Job) inventoryPage(t TargetState, from []byte) (rows []encode.InventoryRow, next []byte, err error) {
	err = j.db.view(func(tx *bolt.Tx) error {
		instances := tx.Bucket(bucketInstances).Bucket(targetKey(t.Target))
		if instances == nil {
			return nil
		}
		progress := tx.Bucket(bucketProgress).Bucket(targetKey(t.Target))
		c := instances.Cursor()
		for k, v := c.Seek(from); k != nil; k, v = c.Next() {
			if len(rows) == inventoryPageSize {
				next = bytes.Clone(k)
				return nil
			}
			var in Instance
			if err := json.Unmarshal(v, &in); err != nil {
				return fmt.Errorf("instance %q: %w", k, err)
			}
			var value []byte
			if progress != nil {
				value = progress.Get(k)
			}
			row, err := j.inventoryRow(tx, t, k, in, value)
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return nil
	})
	return rows, next, err
}

func (j *Job) inventoryRow(tx *bolt.Tx, t TargetState, key []byte, in Instance, value []byte) (row encode.InventoryRow, err error) {
	dims := FormatDimensions(in.Dimensions)
	row = encode.InventoryRow{
		Account: t.Account, Region: t.Region, Namespace: in.Namespace, InstanceID: instanceID(dims), Dimensions: dims,
		Type: in.Type, Zone: in.Zone, Platform: in.Platform, State: in.State, LaunchTime: in.Launched,
		Sources: strings.Join(in.Sources, ","),
	}
	if len(in.Tags) > 0 {
		tags, err := json.Marshal(in.Tags)
		if err != nil {
			return row, err
		}
		row.Tags = string(tags)
	}
	sh, err := j.shapeOf(key)
	if err != nil {
		return row, err
	}
	p, err := decodeProgress(value, len(sh.bits))
	if err != nil {
		return row, err
	}
	row.Rows = int64(p.rows)
	var why *Failure
	row.Outcome, why = outcome(&p, t.Denied)
	if row.Outcome == "failed" {
		why = new(Failure)
		err = getJSON(tx.Bucket(bucketFailures), failureKey(t.Target, key), why)
	}
	if why != nil {
		row.Class, row.Reason = why.Class, why.Message
	}
	return row, err
}

// outcome says what came of an instance, and why where its target tells.
func outcome(p *progress, denied *Failure) (string, *Failure) {
	switch {
	case p.complete && p.failed != nil:
		return "failed", nil
	case p.complete && p.rows == 0:
		return "empty", nil
	case p.complete:
		return "done", nil
	case denied != nil:
		return "denied", denied
	}
	return "pending", nil
}
