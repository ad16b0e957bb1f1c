package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"cwharvest/store/encode"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

func (j *Job) inventoryName() string {
	return fmt.Sprintf("%s/date=%s/%s-%03d%s", j.plan.InventoryPath(), j.plan.Start.UTC().Format(time.DateOnly), j.plan.ID,
		len(j.record.Attempts), j.plan.OutputFormat().Suffix())
}

// publishInventory replaces the inventory: one file with a row for each instance and
// its outcome. It lists instances without data, and the reasons.
func (j *Job) publishInventory(ctx context.Context) error {
	j.mu.Lock()
	part := record.Part{Name: j.inventoryName(), Date: j.plan.Start.UTC().Format(time.DateOnly), First: j.plan.Start, Last: j.plan.End}
	j.mu.Unlock()
	err := j.db.Update(func(tx *bolt.Tx) error { return record.AddGarbage(tx, part.Name) })
	if err != nil {
		return err
	}
	if err := j.place.Remove(ctx, part.Name); err != nil {
		return err
	}
	if err := build(j.place, &j.dir.disk.Files, &part, func(w io.Writer) error { return j.encodeInventory(ctx, w, &part) }); err != nil {
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

func (j *Job) replaceInventory(part *record.Part) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.save(func(r *record.JobRecord, tx *bolt.Tx) error {
		if r.Inventory != nil && r.Inventory.Name != part.Name {
			if err := record.AddGarbage(tx, r.Inventory.Name); err != nil {
				return err
			}
		}
		r.Inventory = part
		return record.DropGarbage(tx, part.Name)
	})
}

func (j *Job) encodeInventory(ctx context.Context, w io.Writer, part *record.Part) (err error) {
	out, err := j.plan.OutputFormat().NewInventoryWriter(w, map[string]string{"cwharvest.job": j.plan.ID})
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

// encodeTarget writes the instances of a target. A target that was not enumerated has
// one row without an instance.
func (j *Job) encodeTarget(out encode.InventoryWriter, t TargetState, part *record.Part) error {
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

// inventoryPageSize is the number of instances that one read transaction copies.
const inventoryPageSize = 2000

// inventoryPage returns the rows of instances from a key on, and the key of the next
// page; nil at the end.
func (j *Job) inventoryPage(t TargetState, from []byte) (rows []encode.InventoryRow, next []byte, err error) {
	err = j.db.View(func(tx *bolt.Tx) error {
		instances := tx.Bucket(record.BucketInstances).Bucket(record.TargetKey(t.Target))
		if instances == nil {
			return nil
		}
		progress := tx.Bucket(record.BucketProgress).Bucket(record.TargetKey(t.Target))
		c := instances.Cursor()
		for k, v := c.Seek(from); k != nil; k, v = c.Next() {
			if len(rows) == inventoryPageSize {
				next = bytes.Clone(k)
				return nil
			}
			var in record.Instance
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

func (j *Job) inventoryRow(tx *bolt.Tx, t TargetState, key []byte, in record.Instance, value []byte) (row encode.InventoryRow, err error) {
	dims := record.FormatDimensions(in.Dimensions)
	row = encode.InventoryRow{
		Account: t.Account, Region: t.Region, Namespace: in.Namespace, InstanceID: record.InstanceID(dims), Dimensions: dims,
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
	p, err := record.DecodeProgress(value, len(sh.Bits))
	if err != nil {
		return row, err
	}
	row.Rows = int64(p.Rows)
	var why *record.Failure
	row.Outcome, why = p.Outcome(t.Denied)
	if row.Outcome == "failed" {
		why = new(record.Failure)
		err = record.GetJSON(tx.Bucket(record.BucketFailures), record.FailureKey(t.Target, key), why)
	}
	if why != nil {
		row.Class, row.Reason = why.Class, why.Message
	}
	return row, err
}
