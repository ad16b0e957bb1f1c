package check_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"cwharvest/store"
	"cwharvest/store/check"
	"cwharvest/store/claim"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// repairs are damages and the work of Repair on them.
var repairs = map[string]struct {
	state   string
	harm    func(h *harvest)
	sound   bool   // the database stays
	problem string // a part of Problem or, of a sound database, of Files
	rows    int64  // kept by a rebuild
	dropped int
	backup  bool
}{
	"nothing":           {"finished", func(*harvest) {}, true, "", 0, 0, false},
	"nothing, stopped":  {"stopped", func(*harvest) {}, true, "", 0, 0, false},
	"nothing, pruned":   {"pruned", func(*harvest) {}, true, "", 0, 0, false},
	"no database":       {"finished", func(h *harvest) { h.remove(h.job(".db")) }, false, "its database is missing", allRows, 0, false},
	"an empty database": {"finished", func(h *harvest) { h.write(h.job(".db"), "") }, false, "(it is empty)", allRows, 0, true},
	"a broken database": {"finished", breakDatabase, false, "one of its meta pages is damaged", allRows, 0, true},
	"a database cut short": {"finished", func(h *harvest) { h.edit(h.job(".db"), func(s string) string { return s[:20_000] }) }, false,
		"file size too small", allRows, 0, true},
	"not a database":      {"finished", func(h *harvest) { h.write(h.job(".db"), strings.Repeat("text", 30_000)) }, false, "is damaged or not a job's database", allRows, 0, true},
	"no database to stop": {"stopped", func(h *harvest) { h.remove(h.job(".db")) }, false, "its database is missing", publishedRows, 0, false},
	"an altered spool": {"stopped", func(h *harvest) { h.change(alterSpool) }, false,
		"spool value is damaged", publishedRows, 0, true},
	"an altered part": {"finished", func(h *harvest) { h.edit(h.part(0), flipMiddle) }, false, "missing or altered", allRows - publishedRows, 2, true},
	"a missing part":  {"finished", func(h *harvest) { h.remove(h.part(3)) }, false, "missing or altered", publishedRows, 2, true},
	"a part of each segment": {"finished", func(h *harvest) { a, b := h.part(0), h.part(3); h.remove(a); h.edit(b, flipMiddle) }, false,
		"missing or altered", 0, 4, true},
	"no database, a lost part": {"finished", func(h *harvest) { h.remove(h.part(1)); h.remove(h.job(".db")) }, false, "its database is missing", publishedRows, 2, false},
	"no database, no manifest": {"finished", func(h *harvest) { h.remove(h.job(".manifest.json")); h.remove(h.job(".db")) }, false, "its database is missing", 0, 4, false},
	"no database, a stray part": {"finished", func(h *harvest) {
		h.write("data/date=2026-11-20/"+h.id+"-000007.jsonl", "{}\n")
		h.remove(h.job(".db"))
	}, false, "its database is missing", allRows, 1, false},
	"no manifest":      {"finished", func(h *harvest) { h.remove(h.job(".manifest.json")) }, true, "no such file", 0, 0, false},
	"half a manifest":  {"finished", func(h *harvest) { h.edit(h.job(".manifest.json"), func(s string) string { return s[:len(s)/2] }) }, true, "unexpected end of JSON", 0, 0, false},
	"another manifest": {"finished", func(h *harvest) { h.edit(h.job(".manifest.json"), swap(`"segment": 1`, `"segment": 8`)) }, true, "differs from the database", 0, 0, false},
	"no plan":          {"finished", func(h *harvest) { h.remove(h.job(".json")) }, true, "no such file", 0, 0, false},
	"no inventory":     {"finished", func(h *harvest) { h.remove("data/" + h.manifest().Inventory.Name) }, true, "is missing or altered", 0, 0, false},
	"a staged part is missing": {"finished", func(h *harvest) {
		h.change(func(tx *bolt.Tx) error {
			return record.PutJSON(tx.Bucket(record.BucketIntents), record.SegmentKey(9),
				record.Intent{Segment: 9, Staged: true, Parts: []record.Part{{Name: "date=2026-11-20/" + h.id + "-000009.jsonl"}}})
		})
	}, false, "missing or altered", allRows, 0, true},
}

func breakDatabase(h *harvest) {
	h.edit(h.job(".db"), func(s string) string { return strings.Repeat("#", 100) + s[100:] })
}

// alterSpool flips a bit of the first value of the spool.
func alterSpool(tx *bolt.Tx) error {
	spool := tx.Bucket(record.BucketSpool)
	segment, _ := spool.Cursor().First()
	key, value := spool.Bucket(segment).Cursor().First()
	altered := slices.Clone(value)
	altered[len(altered)/2] ^= 1
	return spool.Bucket(segment).Put(key, altered)
}

// Repair rebuilds damaged databases and no others. It keeps the rows of complete
// segments, and a second repair finds nothing to do. The next run fetches the rest:
// then every row is there once.
func TestRepairOfEachDamage(t *testing.T) {
	for name, c := range repairs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarvest(t, c.state)
			c.harm(h)
			damaged, _ := os.ReadFile(h.path(h.job(".db"))) // there may be none
			before := h.files()
			got := h.repair()
			text := got.Problem
			if c.sound {
				text = got.Files
			}
			if got.Sound != c.sound || !strings.Contains(text, c.problem) || (text == "") != (c.problem == "") || got.Rows != c.rows || len(got.Dropped) != c.dropped || (got.Backup != "") != c.backup {
				t.Fatalf("%+v, want %+v", got, c)
			}
			if strings.HasPrefix(name, "nothing") {
				h.unchanged(before)
			}
			if backup, err := os.ReadFile(got.Backup); c.backup && (err != nil || string(backup) != string(damaged)) {
				t.Errorf("the backup is not the damaged database: %v", err)
			}
			before = h.files()
			if again := h.repair(); !again.Sound || again.Problem != "" || len(again.Dropped) > 0 {
				t.Errorf("repaired again: %+v", again)
			}
			if name != "no inventory" { // that is missing until the next run
				h.unchanged(before)
			}
			wantState := record.Unfinished
			if c.sound && name != "no inventory" && c.state != "stopped" {
				wantState = record.FinishedWithFailures
			}
			if job, err := record.ReadJob(h.dir, h.id); err != nil || job.State != wantState {
				t.Errorf("the job is %s, %v; want %s", job.State, err, wantState)
			}
			if c.state != "pruned" {
				h.continues()
			}
		})
	}
}

// continues does the rest of the job, and wants every row once.
func (h *harvest) continues() {
	h.Helper()
	h.must(work(h.dir, day, func(j *store.Job) error {
		plan := j.Plan()
		var b store.Batch
		for target := range targets {
			for in := range instances {
				b.Results = append(b.Results, results(&plan, target, in)...)
			}
		}
		return errors.Join(j.Commit(context.Background(), &b), j.Finish(context.Background()))
	}))
	report := h.sound()
	if want := (record.InstanceCounts{Planned: 6, Done: 4, Empty: 1, Failed: 1}); report.Rows != allRows || report.Instances != want {
		h.Errorf("%d rows, %+v; want %d, %+v", report.Rows, report.Instances, allRows, want)
	}
}

// After a rebuild exactly the series-windows without a published row are pending.
func TestRebuildMarksWhatIsPublished(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(h *harvest)
		kept []int // targets
	}{
		"all parts":         {func(*harvest) {}, []int{0, 1}},
		"the first segment": {func(h *harvest) { h.remove(h.part(3)) }, []int{0}},
		"no segment":        {func(h *harvest) { h.remove(h.job(".manifest.json")) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarvest(t, "finished")
			c.harm(h)
			h.remove(h.job(".db"))
			h.repair()
			want := map[string]bool{}
			for target := range targets {
				for in := range instances {
					plan := planOf(day, "")
					for _, r := range results(&plan, target, in) {
						if r.Columns == nil || !slices.Contains(c.kept, target) {
							want[pendingName(r.Target, r.Instance, r.Series, r.Window)] = true
						}
					}
				}
			}
			if got := h.pending(); !maps.Equal(got, want) {
				t.Errorf("pending:\n%v\nwant\n%v", got, want)
			}
		})
	}
}

func pendingName(t record.Target, instance string, series, window int) string {
	return fmt.Sprintf("%s %s %d %d", t, instance, series, window)
}

// pending returns the pending series-windows after all targets are enumerated again.
func (h *harvest) pending() map[string]bool {
	h.Helper()
	all := map[string]bool{}
	h.must(work(h.dir, day, func(j *store.Job) error {
		for _, t := range targets {
			page, err := j.Pending(t, "", 100)
			if err != nil {
				return err
			}
			for _, p := range page {
				for _, m := range p.Missing {
					all[pendingName(t, p.Instance.Key(), m.Series, m.Window)] = true
				}
			}
		}
		return nil
	}))
	return all
}

// A rebuild takes the attempts from the last status, and its segments get new numbers,
// beyond those of strays.
func TestRebuildContinuesAttemptsAndSegments(t *testing.T) {
	h := newHarvest(t, "finished")
	h.write("data/date=2026-11-20/"+h.id+"-000041.jsonl", "{}\n")
	h.remove(h.job(".db"))
	if got := h.repair(); len(got.Dropped) != 1 || !strings.HasSuffix(got.Dropped[0], "-000041.jsonl") {
		t.Fatalf("%+v", got)
	}
	var r record.JobRecord
	h.change(func(tx *bolt.Tx) error { return record.GetJSON(tx.Bucket(record.BucketMeta), record.KeyJob, &r) })
	if r.Segment != 42 || len(r.Attempts) != 1 || r.Attempts[0].Reason != "done" || r.Rows != allRows || r.State != record.Unfinished {
		t.Errorf("%+v", r)
	}
	if want := []int64{10 * windowRows, 9 * windowRows}; !slices.Equal(r.SeriesRows, want) {
		t.Errorf("rows of series %v, want %v", r.SeriesRows, want)
	}
	if _, err := os.Stat(record.StatusPath(h.dir)); err == nil {
		t.Error("the status of the lost database is still there")
	}
}

// Repair returns an error and changes nothing where it could only guess.
func TestRepairRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(h *harvest)
		want string
	}{
		"another format": {func(h *harvest) { changeRecord(h, func(r *record.JobRecord) { r.Version = record.SchemaVersion - 1 }) }, "older database format"},
		"a manifest of another job": {func(h *harvest) {
			breakDatabase(h)
			h.edit(h.job(".manifest.json"), swap(h.id, "other-1"))
		}, `it is the manifest of job "other-1"`},
		"a manifest that leads outside": {func(h *harvest) {
			breakDatabase(h)
			h.edit(h.job(".manifest.json"), swap(`"name": "date=2026-11-20/`, `"name": "../jobs/`))
		}, "which is not a part of the job"},
		"no plan": {func(h *harvest) { breakDatabase(h); h.remove(h.job(".json")) }, "no such file"},
		"a plan of another job": {func(h *harvest) {
			breakDatabase(h)
			h.edit(h.job(".json"), swap(h.id, "other-1"))
		}, `it is the plan of job "other-1"`},
		"a plan without a series": {func(h *harvest) {
			breakDatabase(h)
			h.edit(h.job(".json"), swap(`"NetworkIn"`, `"NetworkOut"`))
		}, "metric AWS/EC2 NetworkIn of InstanceId=i-0000 is not in the plan"},
		"a plan of other hours": {func(h *harvest) {
			breakDatabase(h)
			h.edit(h.job(".json"), func(s string) string { return strings.ReplaceAll(s, `"period": 3600`, `"period": 1800`) })
		}, "with period 3600 is not in the plan"},
		"no job": {func(h *harvest) { h.must(os.RemoveAll(h.path("jobs"))); h.write("jobs/.keep", "") }, record.ErrNoJob.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarvest(t, "finished")
			c.harm(h)
			before := h.files()
			if got, err := check.Repair(context.Background(), h.dir, nil, false); err == nil || !strings.Contains(err.Error(), c.want) || len(got) > 0 {
				t.Errorf("%+v, %v", got, err)
			}
			after := h.files()
			for file := range before {
				if after[file] != before[file] && !strings.HasSuffix(file, "lock") {
					t.Errorf("%s was changed or removed", file)
				}
			}
		})
	}
}

// A place of output that is not there at all is not judged: verify and repair return an
// error and change nothing, and when the place is back the directory is sound.
func TestMissingPlaceOfOutput(t *testing.T) {
	for name, bare := range map[string]bool{"missing": false, "an empty mount point": true} {
		t.Run(name, func(t *testing.T) {
			h := newHarvest(t, "finished")
			h.must(os.Rename(h.path("data"), h.path("elsewhere")))
			if bare {
				h.must(os.Mkdir(h.path("data"), 0o777))
			}
			before := h.files()
			var absent *claim.AbsentError
			if _, err := check.Verify(t.Context(), h.dir, nil, false); !errors.As(err, &absent) {
				t.Errorf("verify: %v", err)
			}
			if _, err := check.Repair(t.Context(), h.dir, nil, false); !errors.As(err, &absent) {
				t.Errorf("repair: %v", err)
			}
			h.unchanged(before)
			h.must(os.RemoveAll(h.path("data")))
			h.must(os.Rename(h.path("elsewhere"), h.path("data")))
			h.sound()
		})
	}
}

// Output that is gone on purpose is fetched again, also that of a pruned job.
func TestOutputThatIsGone(t *testing.T) {
	for _, state := range []string{"finished", "pruned", "stopped"} {
		t.Run(state, func(t *testing.T) {
			h := newHarvest(t, state)
			h.must(os.RemoveAll(h.path("data")))
			if _, err := check.Repair(t.Context(), h.dir, nil, true); err != nil {
				t.Fatal(err)
			}
			h.continues()
		})
	}
}
