package check_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cwharvest/store/check"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// The report of a sound directory counts exactly what was written.
func TestVerifyCounts(t *testing.T) {
	for state, want := range map[string]check.Report{
		"finished": {Jobs: 1, Parts: 4, Rows: allRows, Instances: record.InstanceCounts{Planned: 6, Done: 4, Empty: 1, Failed: 1}, Targets: record.TargetCounts{Planned: 2, Done: 2}},
		"stopped":  {Jobs: 1, Parts: 2, Rows: publishedRows + spooledRows, Instances: record.InstanceCounts{Planned: 6, Done: 3, Empty: 1, Pending: 2}, Targets: record.TargetCounts{Planned: 2, Done: 1, Pending: 1}},
		"pruned":   {Jobs: 2, Parts: 4, Rows: allRows, Targets: record.TargetCounts{Planned: 2, Denied: 2}},
	} {
		t.Run(state, func(t *testing.T) {
			h := newHarvest(t, state)
			for _, p := range h.manifest().Parts {
				want.Bytes += int64(len(h.read("data/" + p.Name)))
			}
			if in := h.manifest().Inventory; in != nil {
				want.Bytes += int64(len(h.read("data/" + in.Name)))
			}
			for _, everyRow := range []bool{false, true} {
				got := h.verify(everyRow)
				if state == "pruned" {
					got.Bytes = want.Bytes // the second job has an inventory as well
				}
				if got.Jobs != want.Jobs || got.Parts != want.Parts || got.Rows != want.Rows || got.Bytes != want.Bytes ||
					got.Instances != want.Instances || got.Targets != want.Targets || len(got.Problems)+len(got.Damaged) > 0 {
					t.Errorf("every row %v:\n%+v, want\n%+v", everyRow, *got, want)
				}
			}
		})
	}
}

// damage is one way to damage a directory, and the problems that Verify then reports.
type damage struct {
	state   string
	harm    func(h *harvest)
	remedy  check.Remedy
	want    []string // one text of each problem
	damaged int      // files
}

var target0 = record.TargetKey(targets[0])

// damages are found without reading the rows.
var damages = map[string]damage{
	"a part is missing":    {"finished", func(h *harvest) { h.remove(h.part(0)) }, check.RepairJob, []string{"-000001.jsonl is missing"}, 1},
	"two parts are gone":   {"finished", func(h *harvest) { a, b := h.part(0), h.part(3); h.remove(a); h.remove(b) }, check.RepairJob, []string{"is missing", "is missing"}, 2},
	"a part is shorter":    {"finished", func(h *harvest) { h.edit(h.part(1), func(s string) string { return s[:len(s)-1] }) }, check.RepairJob, []string{"in the manifest"}, 1},
	"a part is longer":     {"stopped", func(h *harvest) { h.edit(h.part(0), func(s string) string { return s + "\n" }) }, check.RepairJob, []string{"in the manifest"}, 1},
	"a bit of a part":      {"finished", func(h *harvest) { h.edit(h.part(2), flipMiddle) }, check.RepairJob, []string{"its SHA-256 differs"}, 1},
	"a part is empty":      {"finished", func(h *harvest) { h.edit(h.part(2), func(string) string { return "" }) }, check.RepairJob, []string{"has 0 bytes, but"}, 1},
	"the inventory's bit":  {"finished", func(h *harvest) { h.edit("data/"+h.manifest().Inventory.Name, flipMiddle) }, check.RepairJob, []string{"its SHA-256 differs"}, 1},
	"no inventory":         {"finished", func(h *harvest) { h.remove("data/" + h.manifest().Inventory.Name) }, check.RepairJob, []string{"is missing"}, 1},
	"a part of a pruned":   {"pruned", func(h *harvest) { h.edit(h.part(0), flipMiddle) }, check.RepairJob, []string{"its SHA-256 differs"}, 1},
	"rows of a summary":    {"pruned", func(h *harvest) { h.edit(h.job(".summary.json"), swap(`"rows": 456`, `"rows": 455`)) }, check.RepairJob, []string{"456 rows in parts, but 455 in its summary"}, 0},
	"a part of a stranger": {"finished", func(h *harvest) { h.write("data/date=2026-11-20/other-2026-11-20-abcdef-000001.jsonl", "{}\n") }, check.MoveFileAway, []string{"belongs to no job of this directory"}, 0},
	"a copied part":        {"finished", func(h *harvest) { h.write("data/date=2026-11-20/copy.jsonl.gz", "{}\n") }, check.MoveFileAway, []string{"is not a part of any job, and query engines read it"}, 0},
	"a hidden file":        {"finished", func(h *harvest) { h.write("data/date=2026-11-20/.copy.jsonl", "{}\n") }, check.NoRemedy, nil, 0},
	"a note":               {"finished", func(h *harvest) { h.write("data/date=2026-11-20/README.txt", "mine") }, check.NoRemedy, nil, 0},
	"a part of a redo":     {"finished", func(h *harvest) { h.write("data/date=2026-11-20/"+h.id+"-000001-r000007.jsonl", "{}\n") }, check.RepairJob, []string{"is not in the manifest"}, 0},
	"a second inventory":   {"finished", func(h *harvest) { h.write("instances/date=2026-11-20/"+h.id+"-r000009.jsonl", "{}\n") }, check.RepairJob, []string{"is not in the manifest"}, 0},
	"garbage is expected": {"finished", func(h *harvest) {
		name := "date=2026-11-20/" + h.id + "-000001-r000007.jsonl"
		h.write("data/"+name, "{}\n")
		h.change(func(tx *bolt.Tx) error { return record.AddGarbage(tx, name) })
	}, check.NoRemedy, nil, 0},
	"no manifest":         {"finished", func(h *harvest) { h.remove(h.job(".manifest.json")) }, check.RepairJob, []string{"no such file"}, 0},
	"no plan":             {"finished", func(h *harvest) { h.remove(h.job(".json")) }, check.RepairJob, []string{"no such file"}, 0},
	"half a manifest":     {"finished", func(h *harvest) { h.edit(h.job(".manifest.json"), func(s string) string { return s[:len(s)/2] }) }, check.RepairJob, []string{"unexpected end of JSON"}, 0},
	"another manifest":    {"finished", func(h *harvest) { h.edit(h.job(".manifest.json"), swap(`"segment": 1`, `"segment": 8`)) }, check.RepairJob, []string{"differs from the database"}, 0},
	"another job's plan":  {"finished", func(h *harvest) { h.edit(h.job(".json"), swap(h.id, "other-1")) }, check.RepairJob, []string{"differs from the database"}, 0},
	"an old open file":    {"stopped", func(h *harvest) { h.remove(h.job(".manifest.json")) }, check.NoRemedy, nil, 0},
	"more rows committed": {"finished", func(h *harvest) { changeRecord(h, func(r *record.JobRecord) { r.Rows++ }) }, check.RepairJob, []string{"456 rows in parts and 0 in the spool, but 457 were committed"}, 0},
	"spooled rows lost": {"stopped", func(h *harvest) { h.change(dropSpool) }, check.RepairJob,
		[]string{"192 rows in parts and 72 in the spool, but 288 were committed"}, 0},
	"done for empty": {"finished", func(h *harvest) { changeTarget(h, func(r *record.TargetRecord) { r.Done++; r.Empty-- }) }, check.RepairJob,
		[]string{"planned 3 done 2 empty 1 failed 0 pending 0, recorded 3 3 0 0"}, 0},
	"more planned": {"finished", func(h *harvest) { changeTarget(h, func(r *record.TargetRecord) { r.Planned++ }) }, check.RepairJob, []string{"recorded 4 2 1 0"}, 0},
	"an instance lost": {"finished", func(h *harvest) {
		h.change(func(tx *bolt.Tx) error {
			return tx.Bucket(record.BucketInstances).Bucket(target0).Delete([]byte(instances[0].Key()))
		})
	}, check.RepairJob, []string{"which is not an instance of the target", "instances counted planned 2 done 2 empty 1"}, 0},
	"progress lost": {"finished", func(h *harvest) {
		h.change(func(tx *bolt.Tx) error {
			return tx.Bucket(record.BucketProgress).Bucket(target0).Delete([]byte(instances[0].Key()))
		})
	}, check.RepairJob, []string{"planned 3 done 1 empty 1 failed 0 pending 1, recorded 3 2 1 0"}, 0},
	"a part of a redo is missing": {"finished", func(h *harvest) {
		h.change(func(tx *bolt.Tx) error {
			return record.PutJSON(tx.Bucket(record.BucketIntents), record.SegmentKey(9),
				record.Intent{Segment: 9, Staged: true, Parts: []record.Part{{Name: "date=2026-11-20/" + h.id + "-000009.jsonl"}}})
		})
	}, check.RepairJob, []string{"a part of an unfinished redo, is missing"}, 1},
}

func flipMiddle(s string) string {
	b := []byte(s)
	b[len(b)/2] ^= 1
	return string(b)
}

func swap(old, text string) func(string) string {
	return func(s string) string { return strings.Replace(s, old, text, 1) }
}

func changeRecord(h *harvest, change func(*record.JobRecord)) {
	h.Helper()
	changeJSON(h, record.BucketMeta, record.KeyJob, change)
}

func changeTarget(h *harvest, change func(*record.TargetRecord)) {
	h.Helper()
	changeJSON(h, record.BucketTargets, target0, change)
}

// dropSpool removes the first value of the spool.
func dropSpool(tx *bolt.Tx) error {
	spool := tx.Bucket(record.BucketSpool)
	segment, _ := spool.Cursor().First()
	key, _ := spool.Bucket(segment).Cursor().First()
	return spool.Bucket(segment).Delete(key)
}

// Each damage has exactly its problems, with their remedy, and Verify changes nothing.
func TestVerifyFindsEachDamage(t *testing.T) {
	for name, d := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarvest(t, d.state)
			d.harm(h)
			report := h.verify(false)
			wantProblems(t, report, d.remedy, d.want)
			if len(report.Damaged) != d.damaged {
				t.Errorf("damaged %q, want %d", report.Damaged, d.damaged)
			}
		})
	}
}

// wantProblems wants one problem for each text.
func wantProblems(t *testing.T, report *check.Report, remedy check.Remedy, want []string) {
	t.Helper()
	left := slices.Clone(want)
	for _, p := range report.Problems {
		i := slices.IndexFunc(left, func(text string) bool { return strings.Contains(p.Fact, text) })
		if i < 0 {
			t.Errorf("unexpected problem %q", p.Fact)
			continue
		}
		left = slices.Delete(left, i, i+1)
		if p.Remedy != remedy {
			t.Errorf("%q has remedy %d, want %d", p.Fact, p.Remedy, remedy)
		}
	}
	if len(left) > 0 {
		t.Errorf("no problem says %q", left)
	}
}

// Verify reports an error, and no finding, where it cannot check at all.
func TestVerifyRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(h *harvest)
		want func(error) bool
	}{
		"no directory": {func(h *harvest) { h.dir = filepath.Join(h.dir, "none") }, isNoJob},
		"no job":       {func(h *harvest) { h.dir = h.TempDir(); h.write("jobs/.keep", "") }, isNoJob},
		"a broken database": {func(h *harvest) {
			h.edit(h.job(".db"), func(s string) string { return strings.Repeat("#", 100) + s[100:] })
		}, isDamaged},
		"half a database": {func(h *harvest) { h.edit(h.job(".db"), func(s string) string { return s[:35_000] }) }, isDamaged},
		"no database":     {func(h *harvest) { h.remove(h.job(".db")) }, isLost},
		"another format":  {func(h *harvest) { changeRecord(h, func(r *record.JobRecord) { r.Version++ }) }, isFormat},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarvest(t, "finished")
			c.harm(h)
			before := template{}
			if name != "no directory" {
				before = h.files()
			}
			if report, err := check.Verify(context.Background(), h.dir, nil, true); !c.want(err) || report != nil {
				t.Errorf("%+v, %v", report, err)
			}
			if name != "no directory" {
				h.unchanged(before)
			}
		})
	}
}

func isNoJob(err error) bool   { return errors.Is(err, record.ErrNoJob) }
func isDamaged(err error) bool { return errors.As(err, new(*record.DamagedError)) }
func isFormat(err error) bool  { return errors.As(err, new(*record.FormatError)) }
func isLost(err error) bool    { return errors.As(err, new(*record.RepairError)) }

// A directory in use is not verified.
func TestVerifyOfADirectoryInUse(t *testing.T) {
	h := newHarvest(t, "finished")
	lock, err := record.LockDir(h.dir)
	h.must(err)
	defer lock.Close()
	var locked *record.LockedError
	if _, err := check.Verify(context.Background(), h.dir, nil, false); !errors.As(err, &locked) || locked.Dir != h.dir || locked.Owner.PID == 0 {
		t.Errorf("%v", err)
	}
}
