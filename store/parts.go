package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"strings"
	"time"

	"cwharvest/store/encode"

	bolt "go.etcd.io/bbolt"
)

// format is the encoder that the specification asks for.
func (s *Plan) format() encode.Format {
	return encode.Format{Name: s.Format, Compression: s.Compression}
}

// Statistics returns the union of all series' statistics in column order.
func (s *Plan) Statistics() []string {
	all := map[string]bool{}
	for i := range s.Series {
		for _, statistic := range s.Series[i].Statistics {
			all[statistic] = true
		}
	}
	return encode.SortStatistics(maps.Keys(all))
}

// encodeDate writes the rows of one date of a segment in the job's format.
func (j *Job) encodeDate(ctx context.Context, w io.Writer, segment uint64, part *Part) (err error) {
	rows, err := j.newPartWriter(w)
	if err != nil {
		return err
	}
	statistics := j.plan.Statistics()
	e := dateEncoder{job: j, out: rows, part: part, place: columnPlaces(j.plan.Series, statistics)}
	e.run.Columns = make([][]float64, len(statistics))
	part.clear()
	day, err := time.Parse(time.DateOnly, part.Date)
	if err != nil {
		return errors.Join(err, rows.Close())
	}
	prefix := binary.BigEndian.AppendUint32(nil, uint32(day.Unix()/secondsPerDay))
	err = j.readSegment(segment, prefix, func(v spooledValue) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return e.write(v)
	})
	return errors.Join(err, rows.Close())
}

func (j *Job) newPartWriter(w io.Writer) (encode.Writer, error) {
	return j.plan.format().NewWriter(w, j.plan.Statistics(), map[string]string{
		"cwharvest.job":  j.plan.ID,
		"cwharvest.plan": string(j.plan.Settings),
	})
}

// columnPlaces returns, for each series, where its statistics stand among all.
func columnPlaces(series []Series, statistics []string) [][]int {
	index := map[string]int{}
	for i, s := range statistics {
		index[s] = i
	}
	places := make([][]int, len(series))
	for i := range series {
		for _, s := range series[i].Statistics {
			places[i] = append(places[i], index[s])
		}
	}
	return places
}

// dateEncoder turns spool values into runs; its buffers are reused.
type dateEncoder struct {
	job   *Job
	out   encode.Writer
	part  *Part
	place [][]int

	run     encode.Run
	columns [][]float64
	grid    grid
}

func (e *dateEncoder) write(v spooledValue) error {
	name, err := parseSpoolKey(v.key)
	if err != nil {
		return err
	}
	if name.series >= len(e.place) {
		return fmt.Errorf("spool key %x names series %d of %d", v.key, name.series, len(e.place))
	}
	if err := e.grid.decode(v.key, v.value); err != nil {
		return fmt.Errorf("%s %s/%s: %w", name.dims, name.account, name.region, err)
	}
	places := e.place[name.series]
	if e.grid.statistics != len(places) {
		return fmt.Errorf("spool value of %s has %d statistics, want %d", name.dims, e.grid.statistics, len(places))
	}
	e.name(name)
	clear(e.run.Columns)
	for i, place := range places {
		e.run.Columns[place] = e.grid.column(i)
	}
	e.run.Start, e.run.Period, e.run.Points, e.run.Whole = e.grid.start, e.grid.period, e.grid.points, e.grid.whole
	e.describe()
	return e.out.WriteRun(&e.run)
}

func (e *dateEncoder) name(n spoolName) {
	e.run.Account, e.run.Region, e.run.Namespace, e.run.Dimensions = n.account, n.region, n.ns, n.dims
	e.run.Metric = e.job.plan.Series[n.series].Metric
	e.run.InstanceID = instanceID(n.dims)
}

// describe counts the run for the manifest.
func (e *dateEncoder) describe() {
	if g := &e.grid; g.whole {
		e.part.count(g.start, g.period, 0, g.points, g.points)
		return
	}
	e.columns = e.columns[:0]
	for i := range e.grid.statistics {
		e.columns = append(e.columns, e.grid.column(i))
	}
	e.part.describe(e.columns, e.grid.start, e.grid.period, e.grid.points)
}

// clear forgets what was counted.
func (p *Part) clear() { p.Rows, p.First, p.Last = 0, time.Time{}, time.Time{} }

// describe counts a run for the manifest.
func (p *Part) describe(columns [][]float64, start, period int64, points int) {
	if first, end, rows := trim(columns, 0, points); rows > 0 {
		p.count(start, period, first, end, rows)
	}
}

// count counts the rows from a point of a grid up to another.
func (p *Part) count(start, period int64, first, end, rows int) {
	from := time.Unix(start+int64(first)*period, 0).UTC()
	to := time.Unix(start+int64(end-1)*period, 0).UTC()
	if p.First.IsZero() || from.Before(p.First) {
		p.First = from
	}
	if to.After(p.Last) {
		p.Last = to
	}
	p.Rows += int64(rows)
}

// instanceID is the value of the InstanceId dimension, or of the only one, or
// all values joined by commas.
func instanceID(dims string) string {
	var values []string
	for pair := range strings.SplitSeq(dims, ",") {
		name, value, _ := strings.Cut(pair, "=")
		if name == "InstanceId" {
			return value
		}
		values = append(values, value)
	}
	return strings.Join(values, ",")
}

// Manifest lists what a job has published.
type Manifest struct {
	Job       string   `json:"job"`
	Parts     []Part   `json:"parts"`
	Inventory *Part    `json:"inventory,omitempty"`
	Replans   []Replan `json:"replans,omitempty"`
}

func (db *database) parts() (parts []Part, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketParts).ForEach(func(_, value []byte) error {
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

// manifest returns what the job has published.
func (db *database) manifest() (m Manifest, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		m, err = partless(tx)
		return err
	})
	if err != nil {
		return m, err
	}
	m.Parts, err = db.parts()
	return m, err
}

// partless is the manifest but for its parts.
func partless(tx *bolt.Tx) (Manifest, error) {
	var plan Plan
	var r jobRecord
	err := errors.Join(getJSON(tx.Bucket(bucketMeta), keyPlan, &plan), getJSON(tx.Bucket(bucketMeta), keyJob, &r))
	return Manifest{Job: plan.ID, Inventory: r.Inventory, Replans: r.Replans}, err
}

// printManifest writes the manifest as JSON, part by part: it is written anew with
// every part, and a job may have thousands.
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
	err = tx.Bucket(bucketParts).ForEach(func(_, part []byte) error {
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

// writeManifest writes jobs/ID.manifest.json anew from the database, for
// people and other tools.
func (j *Job) writeManifest() error { return j.dir.writeManifest(j.db) }

func (d *Dir) writeManifest(db *database) error {
	info, err := db.info()
	if err != nil {
		return err
	}
	err = d.files.WriteBy(d.jobFile(info.Plan.ID, ".manifest.json"), 0o666, func(w io.Writer) error {
		return db.view(func(tx *bolt.Tx) error { return printManifest(w, tx) })
	})
	if err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

// writePlan writes jobs/ID.json.
func (d *Dir) writePlan(plan *Plan) error {
	data, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		return fmt.Errorf("encode specification: %w", err)
	}
	if err := d.files.Write(d.jobFile(plan.ID, ".json"), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write specification: %w", err)
	}
	return nil
}

// checkFiles says what is wrong with a job's specification and manifest, which
// its database has, too.
func (d *Dir) checkFiles(db *database, id string) error {
	want, err := db.manifest()
	if err != nil {
		return err
	}
	var plan Plan
	var m Manifest
	if err := errors.Join(readJSON(d.jobFile(id, ".json"), &plan), readJSON(d.jobFile(id, ".manifest.json"), &m)); err != nil {
		return err
	}
	if !reflect.DeepEqual(m, want) || plan.ID != id {
		return fmt.Errorf("%s is not what the database has", d.jobFile(id, ".manifest.json"))
	}
	return nil
}
