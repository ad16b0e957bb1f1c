package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"cwharvest/store/durable"
	"cwharvest/store/encode"
	"cwharvest/store/place"

	bolt "go.etcd.io/bbolt"
)

// rebuild makes a job's database anew; its rename is the one step that counts.
func (d *Dir) rebuild(ctx context.Context, id string, r *Repaired) error {
	plan, err := d.readPlan(id)
	if err != nil {
		return err
	}
	at, err := d.place(plan.Out)
	if err != nil {
		return err
	}
	b := rebuilding{dir: d, place: at, plan: plan, report: r, targets: map[Target]targetRecord{}}
	if err := b.readManifest(ctx); err != nil {
		return err
	}
	for i := range b.plan.Series {
		b.frozen = append(b.frozen, slices.Clone(b.plan.Series[i].Windows))
	}
	b.plan.replan(b.manifest.Replans)
	b.shapes = newShapes(b.plan.Series)
	temporary := durable.Temporary(d.jobFile(plan.ID, ".db"))
	if err := initialise(temporary, d.onDisk(plan), plan.Targets, nil); err != nil {
		return err
	}
	if b.db, err = openForWriting(temporary); err != nil {
		return err
	}
	if err := errors.Join(b.fill(ctx), b.db.close()); err != nil {
		return err
	}
	return b.replace(temporary)
}

// onDisk is the specification as the database has it.
func (d *Dir) onDisk(plan Plan) Plan {
	plan.Out = relativeOut(d.path, plan.Out)
	return plan
}

// rebuilding is one job's database in the making.
type rebuilding struct {
	dir      *Dir
	place    place.Place
	plan     Plan
	shapes   map[string]*shape
	frozen   [][]Window // of each series, before windows were replanned
	manifest Manifest
	report   *Repaired
	db       *database

	record  jobRecord
	targets map[Target]targetRecord
	found   map[instanceName]*foundInstance // since the last transaction
	garbage []string                        // names of files that go
}

type instanceName struct {
	target   Target
	instance string // its key
}

// foundInstance is what parts tell of an instance.
type foundInstance struct {
	instance Instance
	shape    *shape
	progress progress
}

// readManifest keeps the parts of whole segments: of one that lost a part
// nothing can be kept, since a series-window may have rows in several of them.
func (b *rebuilding) readManifest(ctx context.Context) error {
	var err error
	if b.manifest, err = readManifest(b.dir.path, b.plan.ID); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	bad := map[uint64]bool{}
	known := map[string]bool{}
	for i := range b.manifest.Parts {
		p := &b.manifest.Parts[i]
		known[p.Name] = true
		b.record.Segment = max(b.record.Segment, p.Segment)
		sum, _, err := b.place.Sum(ctx, p.Name, true)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if sum != p.SHA256 {
			bad[p.Segment] = true
		}
	}
	b.manifest.Parts = slices.DeleteFunc(b.manifest.Parts, func(p Part) bool {
		if bad[p.Segment] {
			b.report.Dropped, b.garbage = append(b.report.Dropped, p.Name), append(b.garbage, p.Name)
		}
		return bad[p.Segment]
	})
	return b.findStrays(ctx, known)
}

// findStrays drops what was published, but is in no manifest: whether its
// segment is whole nobody knows.
func (b *rebuilding) findStrays(ctx context.Context, known map[string]bool) error {
	for _, pattern := range []string{"date=*/", b.plan.inventories() + "/date=*/"} {
		names, err := b.place.List(ctx, pattern+b.plan.ID+"-*")
		if err != nil {
			return err
		}
		for _, name := range names {
			if known[name] {
				continue
			}
			b.garbage = append(b.garbage, name)
			if pattern != "date=*/" {
				continue // an inventory, which the next one replaces
			}
			b.report.Dropped = append(b.report.Dropped, name)
			var segment uint64
			if _, err := fmt.Sscanf(strings.TrimPrefix(path.Base(name), b.plan.ID+"-"), "%d", &segment); err == nil {
				b.record.Segment = max(b.record.Segment, segment)
			}
		}
	}
	return nil
}

// fill writes what the parts tell.
func (b *rebuilding) fill(ctx context.Context) error {
	b.record = jobRecord{Version: schemaVersion, State: Unfinished, Segment: b.record.Segment + 1, SeriesRows: make([]int64, len(b.plan.Series)), Replans: b.manifest.Replans}
	b.recall()
	b.found = map[instanceName]*foundInstance{}
	for _, t := range b.plan.Targets {
		b.targets[t] = targetRecord{}
	}
	for _, p := range b.manifest.Parts {
		if err := b.readPart(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return b.flush(true)
}

// recall takes what the last status tells of attempts and spending.
func (b *rebuilding) recall() {
	s, err := parseSnapshot(b.dir.path)
	if err != nil || s.Job != b.plan.ID {
		return // it is for people; the job goes on without
	}
	b.record.Attempts = s.Attempts
	b.record.Counters = Counters{
		RequestsSent: s.Requests.Sent, RequestsRepeated: s.Requests.Repeated, Throttled: s.Requests.Throttled,
		SessionsAssumed: s.Sessions.Assumed, RefusedExpired: s.Sessions.RefusedExpired, SessionWaits: s.Sessions.Waits,
		FallbackSwitches: s.Sessions.Switches, CostUSD: s.CostUSD.Spent, CostWorstUSD: s.CostUSD.WorstCase,
	}
	for _, t := range s.TargetDetails {
		b.targets[Target{t.Account, t.Region}] = targetRecord{}
	}
}

func (b *rebuilding) readPart(ctx context.Context, p Part) error {
	return readRuns(ctx, b.place, b.plan.format(), p.Name, func(run *encode.Run, _ []string) error {
		if err := b.count(run); err != nil {
			return err
		}
		if len(b.found) >= inventoryPageSize {
			return b.flush(false)
		}
		return nil
	})
}

// readRuns yields the runs of an output file.
func readRuns(ctx context.Context, at place.Place, format encode.Format, name string, yield func(run *encode.Run, columns []string) error) error {
	object, err := at.Open(ctx, name)
	if err != nil {
		return err
	}
	rows, err := format.NewReader(object, object.Size())
	if err != nil {
		return errors.Join(err, object.Close())
	}
	var run encode.Run
	for err == nil {
		if err = rows.Next(&run); err == nil {
			err = yield(&run, rows.Columns())
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, rows.Close(), object.Close())
}

// count notes the series-windows of a run as done.
func (b *rebuilding) count(run *encode.Run) error {
	f, series, err := b.find(run)
	if err != nil {
		return err
	}
	windows := b.frozen[series]
	for i := range run.Points {
		if !run.HasRow(i) {
			continue
		}
		at := run.Start + int64(i)*run.Period
		w := sort.Search(len(windows), func(n int) bool { return windows[n].End > at })
		if w == len(windows) || at < windows[w].Start || windows[w].Period != run.Period && len(b.manifest.Replans) == 0 {
			return fmt.Errorf("row of %s at %d with period %d is not in the plan", run.Dimensions, at, run.Period)
		}
		setBit(f.progress.done, f.shape.index[SeriesWindow{series, w}])
		f.progress.rows++
		b.record.SeriesRows[series]++
		b.record.Rows++
		b.report.Rows++
	}
	for _, c := range run.Columns {
		b.record.Datapoints += countValues([][]float64{c})
	}
	return nil
}

// find returns the instance and the series of a run.
func (b *rebuilding) find(run *encode.Run) (*foundInstance, int, error) {
	series := slices.IndexFunc(b.plan.Series, func(s Series) bool {
		return s.Namespace == run.Namespace && s.Metric == run.Metric && namesAre(run.Dimensions, s.Dimensions)
	})
	if series < 0 {
		return nil, 0, fmt.Errorf("metric %s %s of %s is not in the plan", run.Namespace, run.Metric, run.Dimensions)
	}
	in := Instance{Namespace: run.Namespace, Dimensions: parseDimensions(run.Dimensions, b.plan.Series[series].Dimensions), Sources: []string{"parts"}}
	name := instanceName{Target{run.Account, run.Region}, in.Key()}
	if f := b.found[name]; f != nil {
		return f, series, nil
	}
	sh := b.shapes[b.plan.Series[series].group()]
	f := &foundInstance{instance: in, shape: sh, progress: progress{done: make([]byte, (len(sh.bits)+7)/8)}}
	b.found[name] = f
	return f, series, nil
}

// namesAre reports whether a set has just these names: "A=x,B=y" has A and B.
func namesAre(dims string, names []string) bool {
	parsed := parseDimensions(dims, names)
	return parsed != nil && FormatDimensions(parsed) == dims
}

// parseDimensions takes a formatted set apart, given its sorted names, since
// values may hold commas; nil when it has others.
func parseDimensions(dims string, names []string) (parsed []Dimension) {
	for i, name := range names {
		rest, ok := strings.CutPrefix(dims, name+"=")
		if !ok {
			return nil
		}
		value := rest
		if i+1 < len(names) {
			if value, dims, ok = strings.Cut(rest, ","+names[i+1]+"="); !ok {
				return nil
			}
			dims = names[i+1] + "=" + dims
		}
		parsed = append(parsed, Dimension{name, value})
	}
	return parsed
}

// flush merges what was found into the database, in one transaction.
func (b *rebuilding) flush(last bool) error {
	err := b.db.update(func(tx *bolt.Tx) error {
		for name, f := range b.found {
			if err := b.merge(tx, name, f); err != nil {
				return err
			}
		}
		if !last {
			return nil
		}
		for t, record := range b.targets {
			if err := putJSON(tx.Bucket(bucketTargets), targetKey(t), record); err != nil {
				return err
			}
		}
		for _, p := range b.manifest.Parts {
			if err := putJSON(tx.Bucket(bucketParts), []byte(p.Name), p); err != nil {
				return err
			}
		}
		if err := discard(tx, b.garbage...); err != nil {
			return err
		}
		return putJSON(tx.Bucket(bucketMeta), keyJob, b.record)
	})
	clear(b.found)
	return err
}

func (b *rebuilding) merge(tx *bolt.Tx, name instanceName, f *foundInstance) error {
	instances, err := tx.Bucket(bucketInstances).CreateBucketIfNotExists(targetKey(name.target))
	if err != nil {
		return err
	}
	done, err := tx.Bucket(bucketProgress).CreateBucketIfNotExists(targetKey(name.target))
	if err != nil {
		return err
	}
	key, t := []byte(name.instance), b.targets[name.target]
	if instances.Get(key) == nil {
		t.Planned++
		t.PointsPlanned += f.shape.points
		t.CostPlanned += f.shape.cost
		t.WorstPlanned += f.shape.worst
		if err := putJSON(instances, key, f.instance); err != nil {
			return err
		}
	}
	p, err := decodeProgress(done.Get(key), len(f.shape.bits))
	if err != nil {
		return err
	}
	p.rows += f.progress.rows
	for bit, sw := range f.shape.bits {
		if bitSet(f.progress.done, bit) && !p.settled(bit) {
			t.PointsDone += b.plan.Series[sw.Series].points(sw.Window)
			if p.settle(bit, len(f.shape.bits), false) {
				t.complete(&p)
			}
		}
	}
	b.targets[name.target] = t
	return done.Put(key, p.encode())
}

// replace puts the new database in the place of the damaged one, which is kept.
// The status tells of transactions that the new one has not had.
func (b *rebuilding) replace(temporary string) error {
	path := b.dir.jobFile(b.plan.ID, ".db")
	if s, err := parseSnapshot(b.dir.path); err != nil || s.Job == b.plan.ID {
		if err := b.dir.files.Remove(statusPath(b.dir.path)); err != nil {
			return err
		}
	}
	if _, err := os.Stat(path); err == nil {
		b.report.Backup = path + ".damaged-" + time.Now().UTC().Format("20060102T150405Z")
		if err := os.Link(path, b.report.Backup); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("keep the damaged database: %w", err)
		}
	}
	if err := b.dir.files.Publish(temporary, path); err != nil {
		return err
	}
	db, err := openForReading(path)
	if err != nil {
		return err
	}
	return errors.Join(b.dir.writeManifest(db), db.close())
}

func countValues(columns [][]float64) (n int64) {
	for _, column := range columns {
		for _, v := range column {
			if v == v { // not NaN
				n++
			}
		}
	}
	return n
}
