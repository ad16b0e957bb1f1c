package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// Manifest lists the published files of a job.
type Manifest struct {
	Job       string   `json:"job"`
	Parts     []Part   `json:"parts"`
	Lost      []Part   `json:"lost,omitempty"` // to be replaced, after a repair
	Inventory *Part    `json:"inventory,omitempty"`
	Replans   []Replan `json:"replans,omitempty"`
}

// Parts returns the published parts.
func (db *Database) Parts() (parts []Part, err error) {
	err = db.look(func(tx *bolt.Tx) error {
		return tx.Bucket(BucketParts).ForEach(func(_, value []byte) error {
			var p Part
			if err := json.Unmarshal(value, &p); err != nil {
				return fmt.Errorf("manifest: %w", err)
			}
			parts = append(parts, p)
			return nil
		})
	})
	return parts, err
}

// Manifest returns the manifest of the job.
func (db *Database) Manifest() (m Manifest, err error) {
	err = db.look(func(tx *bolt.Tx) error {
		m, err = partless(tx)
		return err
	})
	if err != nil {
		return m, err
	}
	m.Parts, err = db.Parts()
	return m, err
}

// partless returns the manifest without its parts.
func partless(tx *bolt.Tx) (Manifest, error) {
	var plan Plan
	var r JobRecord
	err := errors.Join(GetJSON(tx.Bucket(BucketMeta), KeyPlan, &plan), GetJSON(tx.Bucket(BucketMeta), KeyJob, &r))
	missing, lostErr := lost(tx)
	return Manifest{Job: plan.ID, Lost: missing, Inventory: r.Inventory, Replans: r.Replans}, errors.Join(err, lostErr)
}

// SetLost records parts that a repair no longer counts: missing and altered ones, the
// others of their segments, and files that no manifest lists, without a SHA-256. Files
// that exist stay until all rows in them are published again. Earlier ones are forgotten.
func SetLost(tx *bolt.Tx, parts ...Part) error {
	if tx.Bucket(bucketLost) != nil {
		if err := tx.DeleteBucket(bucketLost); err != nil {
			return err
		}
	}
	b, err := tx.CreateBucket(bucketLost)
	for _, p := range parts {
		err = errors.Join(err, PutJSON(b, []byte(p.Name), p))
	}
	return err
}

// Lost returns the lost parts.
func (db *Database) Lost() (parts []Part, err error) {
	err = db.look(func(tx *bolt.Tx) error {
		parts, err = lost(tx)
		return err
	})
	return parts, err
}

func lost(tx *bolt.Tx) (parts []Part, err error) {
	b := tx.Bucket(bucketLost)
	if b == nil {
		return nil, nil
	}
	err = b.ForEach(func(name, value []byte) error {
		var p Part
		if err := json.Unmarshal(value, &p); err != nil {
			return fmt.Errorf("lost part %s: %w", name, err)
		}
		parts = append(parts, p)
		return nil
	})
	return parts, err
}

// printManifest writes the manifest as JSON, part by part. It is called after every
// part, and a job may have thousands.
func printManifest(w io.Writer, tx *bolt.Tx) error {
	m, err := partless(tx)
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	const key = `"parts": `
	before, after, _ := bytes.Cut(data, []byte(key+"null"))
	var text bytes.Buffer
	text.Write(before)
	text.WriteString(key)
	lead, end := "[\n    ", "null"
	err = tx.Bucket(BucketParts).ForEach(func(_, part []byte) error {
		text.WriteString(lead)
		lead, end = ",\n    ", "\n  ]"
		if err := json.Indent(&text, part, "    ", "  "); err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
		_, err := text.WriteTo(w)
		return err
	})
	if err != nil {
		return err
	}
	text.WriteString(end)
	text.Write(after)
	text.WriteByte('\n')
	_, err = text.WriteTo(w)
	return err
}

// WriteManifest replaces jobs/ID.manifest.json with the manifest of the database. It
// is for people, other tools, export and repair.
func (d *Dir) WriteManifest(db *Database) error {
	info, err := db.Info()
	if err != nil {
		return err
	}
	err = d.Files.WriteBy(d.JobFile(info.Plan.ID, ".manifest.json"), 0o666, func(w io.Writer) error {
		return db.look(func(tx *bolt.Tx) error { return printManifest(w, tx) })
	})
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

// WritePlan writes jobs/ID.json.
func (d *Dir) WritePlan(plan *Plan) error {
	data, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		return fmt.Errorf("encode plan: %w", err)
	}
	if err := d.Files.Write(d.JobFile(plan.ID, ".json"), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	return nil
}

// CheckFiles compares a job's plan and manifest with its database.
func (d *Dir) CheckFiles(db *Database, id string) error {
	want, err := db.Manifest()
	if err != nil {
		return err
	}
	var plan Plan
	var m Manifest
	if err := errors.Join(ReadJSON(d.JobFile(id, ".json"), &plan), ReadJSON(d.JobFile(id, ".manifest.json"), &m)); err != nil {
		return err
	}
	if !reflect.DeepEqual(m, want) || plan.ID != id {
		return fmt.Errorf("%s differs from the database", d.JobFile(id, ".manifest.json"))
	}
	return nil
}

// ReadManifest reads jobs/ID.manifest.json and checks its names.
func ReadManifest(dir, id string) (m Manifest, err error) {
	file := jobFile(dir, id, ".manifest.json")
	if err := ReadJSON(file, &m); err != nil {
		return m, err
	}
	if err := m.check(id); err != nil {
		return m, fmt.Errorf("%s: %w", file, err)
	}
	return m, nil
}

// check accepts only names that the job itself could give. Files that a manifest
// lists are read, and repair removes damaged ones.
func (m *Manifest) check(id string) error {
	if m.Job != id {
		return fmt.Errorf("it is the manifest of job %q", m.Job)
	}
	for _, p := range slices.Concat(m.Parts, m.Lost) {
		if form := PartForm.FindStringSubmatch(path.Base(p.Name)); form == nil || form[1] != id || !dateForm.MatchString(path.Dir(p.Name)) || p.Rows < 0 {
			return fmt.Errorf("it lists %q with %d rows, which is not a part of the job", p.Name, p.Rows)
		}
	}
	if in := m.Inventory; in != nil {
		dir := strings.TrimPrefix(path.Dir(in.Name), "../")
		if date, ok := strings.CutPrefix(dir, "instances/"); !ok || !dateForm.MatchString(date) || !strings.HasPrefix(path.Base(in.Name), id+"-") {
			return fmt.Errorf("it lists %q, which is not an inventory of the job", in.Name)
		}
	}
	for _, r := range m.Replans {
		if !r.Window.possible(1) || !r.Now.possible(1) {
			return errors.New("it lists an impossible window")
		}
	}
	return nil
}

var dateForm = regexp.MustCompile(`^date=\d{4}-\d{2}-\d{2}$`)
