package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"cwharvest/store/durable"
	"cwharvest/store/encode"
	"cwharvest/store/lost"
	"cwharvest/store/place"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// rebuild writes a new database for a job. The rename of the database commits it.
func rebuild(ctx context.Context, d *record.Dir, id string, r *Repaired) error {
	plan, err := d.ReadPlan(id)
	if err != nil {
		return err
	}
	at, err := d.Place(plan.Out)
	if err != nil {
		return err
	}
	b := rebuilding{dir: d, place: at, plan: plan, report: r, targets: map[record.Target]record.TargetRecord{}}
	if err := b.readManifest(ctx); err != nil {
		return err
	}
	for i := range b.plan.Series {
		b.frozen = append(b.frozen, slices.Clone(b.plan.Series[i].Windows))
	}
	b.plan.ApplyReplans(b.manifest.Replans)
	b.shapes = record.NewShapes(b.plan.Series)
	temporary := durable.Temporary(d.JobFile(plan.ID, ".db"))
	if err := record.CreateDatabase(temporary, onDisk(d, plan), plan.Targets, nil); err != nil {
		return err
	}
	if b.db, err = record.OpenForWriting(temporary); err != nil {
		return err
	}
	if err := errors.Join(b.fill(ctx), b.db.Close()); err != nil {
		return err
	}
	return b.replace(temporary)
}

// onDisk returns the plan as a database stores it.
func onDisk(d *record.Dir, plan record.Plan) record.Plan {
	plan.Out = record.RelativeOut(d.Path, plan.Out)
	return plan
}

// rebuilding is the new database of one job.
type rebuilding struct {
	dir      *record.Dir
	place    place.Place
	plan     record.Plan
	shapes   map[string]*record.Shape
	frozen   [][]record.Window // windows of each series, before replans
	manifest record.Manifest
	report   *Repaired
	db       *record.Database

	record  record.JobRecord
	targets map[record.Target]record.TargetRecord
	found   map[instanceName]*foundInstance // since the last transaction
	garbage []string                        // names of files to remove
	lost    []record.Part                   // their rows are fetched again
}

type instanceName struct {
	target   record.Target
	instance string // its key
}

// foundInstance is an instance that has rows in the parts.
type foundInstance struct {
	instance record.Instance
	shape    *record.Shape
	progress record.Progress
}

// readManifest keeps the parts of complete segments, also of lost ones that have
// returned. If one part of a segment is missing or damaged, all its parts are lost: a
// series-window may have rows in several.
func (b *rebuilding) readManifest(ctx context.Context) error {
	var err error
	if b.manifest, err = record.ReadManifest(b.dir.Path, b.plan.ID); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	bad := map[uint64]bool{}
	known := map[string]bool{}
	all := slices.Concat(b.manifest.Parts, b.manifest.Lost)
	b.manifest.Parts, b.manifest.Lost = nil, nil
	for i := range all {
		p := &all[i]
		b.record.Segment = max(b.record.Segment, p.Segment)
		if p.SHA256 == "" {
			continue // findStrays finds it again
		}
		known[p.Name] = true
		sum, _, err := b.place.Sum(ctx, p.Name, true)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if sum != p.SHA256 {
			bad[p.Segment] = true
		}
	}
	for _, p := range all {
		switch {
		case p.SHA256 == "":
		case bad[p.Segment]:
			b.report.Dropped, b.lost = append(b.report.Dropped, p.Name), append(b.lost, p)
		default:
			b.manifest.Parts = append(b.manifest.Parts, p)
		}
	}
	slices.SortFunc(b.manifest.Parts, func(p, q record.Part) int { return strings.Compare(p.Name, q.Name) })
	return b.findStrays(ctx, known)
}

// findStrays drops published files that are not in the manifest, because their
// segment may be incomplete. They are lost parts without a checksum.
func (b *rebuilding) findStrays(ctx context.Context, known map[string]bool) error {
	for _, pattern := range []string{"date=*/", b.plan.InventoryPath() + "/date=*/"} {
		names, err := b.place.List(ctx, pattern+b.plan.ID+"-*")
		if err != nil {
			return err
		}
		for _, name := range names {
			if known[name] || pattern == "date=*/" && !isPartOf(name, b.plan.ID) {
				continue
			}
			if pattern != "date=*/" {
				b.garbage = append(b.garbage, name)
				continue // the next run writes a new inventory
			}
			b.report.Dropped = append(b.report.Dropped, name)
			stray := record.Part{Name: name, Date: strings.TrimPrefix(path.Dir(name), "date=")}
			if _, err := fmt.Sscanf(strings.TrimPrefix(path.Base(name), b.plan.ID+"-"), "%d", &stray.Segment); err == nil {
				b.record.Segment = max(b.record.Segment, stray.Segment)
			}
			b.lost = append(b.lost, stray)
		}
	}
	return nil
}

// fill fills the database from the parts.
func (b *rebuilding) fill(ctx context.Context) error {
	b.record = record.JobRecord{Version: record.SchemaVersion, State: record.Unfinished, Repaired: true, Segment: b.record.Segment + 1, SeriesRows: make([]int64, len(b.plan.Series)), Replans: b.manifest.Replans}
	b.recall()
	b.found = map[instanceName]*foundInstance{}
	for _, t := range b.plan.Targets {
		b.targets[t] = record.TargetRecord{}
	}
	for _, p := range b.manifest.Parts {
		if err := b.readPart(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	if err := b.flush(true); err != nil {
		return err
	}
	return b.keepLost(ctx)
}

// keepLost records the lost parts. The next run fetches their rows again and replaces
// them as a redo does, so that no file is removed before its rows are published. Strays
// of which every row is in another part are garbage.
func (b *rebuilding) keepLost(ctx context.Context) error {
	var garbage []string
	for i := range b.lost {
		if b.lost[i].SHA256 != "" {
			continue
		}
		superfluous, err := lost.MayRemove(ctx, b.db, b.place, &b.plan, &b.lost[i])
		if err != nil {
			return fmt.Errorf("%s: %w", b.lost[i].Name, err)
		}
		if superfluous {
			garbage = append(garbage, b.lost[i].Name)
		}
	}
	b.lost = slices.DeleteFunc(b.lost, func(p record.Part) bool { return slices.Contains(garbage, p.Name) })
	return b.db.Update(func(tx *bolt.Tx) error {
		if len(b.lost) == 0 {
			return record.AddGarbage(tx, garbage...)
		}
		b.record.Redo = &record.Redo{From: b.record.Segment}
		return errors.Join(record.AddGarbage(tx, garbage...), record.SetLost(tx, b.lost...),
			record.PutJSON(tx.Bucket(record.BucketMeta), record.KeyJob, b.record))
	})
}

// recall takes attempts and counters from the last status.
func (b *rebuilding) recall() {
	s, err := record.ReadSnapshot(b.dir.Path)
	if err != nil || s.Job != b.plan.ID {
		return // the job continues without them
	}
	b.record.Attempts = s.Attempts
	b.record.Counters = record.Counters{
		RequestsSent: s.Requests.Sent, RequestsRepeated: s.Requests.Repeated, Throttled: s.Requests.Throttled,
		SessionsAssumed: s.Sessions.Assumed, RefusedExpired: s.Sessions.RefusedExpired, SessionWaits: s.Sessions.Waits,
		FallbackSwitches: s.Sessions.Switches, CostUSD: s.CostUSD.Spent, CostWorstUSD: s.CostUSD.WorstCase,
	}
	for _, t := range s.TargetDetails {
		b.targets[record.Target{Account: t.Account, Region: t.Region}] = record.TargetRecord{}
	}
}

func (b *rebuilding) readPart(ctx context.Context, p record.Part) error {
	return record.ReadRuns(ctx, b.place, b.plan.OutputFormat(), p.Name, func(run *encode.Run, _ []string) error {
		if err := b.count(run); err != nil {
			return err
		}
		if len(b.found) >= mostFound {
			return b.flush(false)
		}
		return nil
	})
}

// count marks the series-windows of a run as done.
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
		record.SetBit(f.progress.Done, f.shape.Index[record.SeriesWindow{Series: series, Window: w}])
		f.progress.Rows++
		b.record.SeriesRows[series]++
		b.record.Rows++
		b.report.Rows++
	}
	for _, column := range run.Columns {
		for _, v := range column {
			if v == v { // not NaN
				b.record.Datapoints++
			}
		}
	}
	return nil
}

// find returns the instance and the series of a run.
func (b *rebuilding) find(run *encode.Run) (*foundInstance, int, error) {
	series := b.plan.SeriesOf(run.Namespace, run.Metric, run.Dimensions)
	if series < 0 {
		return nil, 0, fmt.Errorf("metric %s %s of %s is not in the plan", run.Namespace, run.Metric, run.Dimensions)
	}
	in := record.Instance{Namespace: run.Namespace, Dimensions: record.ParseDimensions(run.Dimensions, b.plan.Series[series].Dimensions), Sources: []string{"parts"}}
	name := instanceName{record.Target{Account: run.Account, Region: run.Region}, in.Key()}
	if f := b.found[name]; f != nil {
		return f, series, nil
	}
	sh := b.shapes[b.plan.Series[series].Group()]
	f := &foundInstance{instance: in, shape: sh, progress: record.Progress{Done: make([]byte, (len(sh.Bits)+7)/8)}}
	b.found[name] = f
	return f, series, nil
}

// mostFound is how many instances one transaction merges.
const mostFound = 2000

// flush merges the found instances into the database, in one transaction.
func (b *rebuilding) flush(last bool) error {
	err := b.db.Update(func(tx *bolt.Tx) error {
		for name, f := range b.found {
			if err := b.merge(tx, name, f); err != nil {
				return err
			}
		}
		if !last {
			return nil
		}
		for t, rec := range b.targets {
			if err := record.PutJSON(tx.Bucket(record.BucketTargets), record.TargetKey(t), rec); err != nil {
				return err
			}
		}
		for _, p := range b.manifest.Parts {
			if err := record.PutJSON(tx.Bucket(record.BucketParts), []byte(p.Name), p); err != nil {
				return err
			}
		}
		if err := record.AddGarbage(tx, b.garbage...); err != nil {
			return err
		}
		return record.PutJSON(tx.Bucket(record.BucketMeta), record.KeyJob, b.record)
	})
	clear(b.found)
	return err
}

func (b *rebuilding) merge(tx *bolt.Tx, name instanceName, f *foundInstance) error {
	instances, err := tx.Bucket(record.BucketInstances).CreateBucketIfNotExists(record.TargetKey(name.target))
	if err != nil {
		return err
	}
	done, err := tx.Bucket(record.BucketProgress).CreateBucketIfNotExists(record.TargetKey(name.target))
	if err != nil {
		return err
	}
	key, t := []byte(name.instance), b.targets[name.target]
	if instances.Get(key) == nil {
		t.Planned++
		t.PointsPlanned += f.shape.Points
		t.CostPlanned += f.shape.Cost
		t.WorstPlanned += f.shape.Worst
		if err := record.PutJSON(instances, key, f.instance); err != nil {
			return err
		}
	}
	p, err := record.DecodeProgress(done.Get(key), len(f.shape.Bits))
	if err != nil {
		return err
	}
	p.Rows += f.progress.Rows
	for bit, sw := range f.shape.Bits {
		if record.BitSet(f.progress.Done, bit) && !p.Marked(bit) {
			t.PointsDone += b.plan.Series[sw.Series].Points(sw.Window)
			if p.Mark(bit, len(f.shape.Bits), false) {
				t.CountInstance(&p, 1)
			}
		}
	}
	b.targets[name.target] = t
	return done.Put(key, p.Encode())
}

// replace replaces the damaged database with the new one and keeps a backup of it. It
// removes the status, whose transaction number is higher than that of the new
// database.
func (b *rebuilding) replace(temporary string) error {
	path := b.dir.JobFile(b.plan.ID, ".db")
	if s, err := record.ReadSnapshot(b.dir.Path); err != nil || s.Job == b.plan.ID {
		if err := b.dir.Files.Remove(record.StatusPath(b.dir.Path)); err != nil {
			return err
		}
	}
	if err := b.backUp(path); err != nil {
		return fmt.Errorf("cannot back up the damaged database: %w", err)
	}
	if err := b.dir.Files.Publish(temporary, path); err != nil {
		return err
	}
	db, err := record.OpenForReading(path)
	if err != nil {
		return err
	}
	return errors.Join(b.dir.WriteManifest(db), db.Close())
}

// backUp keeps the damaged database beside the new one, which replaces it. Anything
// else of that name, a directory for example, could not be replaced, so it is moved.
func (b *rebuilding) backUp(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	b.report.Backup = path + ".damaged-" + time.Now().UTC().Format("20060102T150405Z")
	if !info.Mode().IsRegular() {
		return os.Rename(path, b.report.Backup)
	}
	if err := os.Link(path, b.report.Backup); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
