package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cwharvest/store/check"
	"cwharvest/store/claim"
	"cwharvest/store/durable"
	"cwharvest/store/place"
	"cwharvest/store/record"

	bolt "go.etcd.io/bbolt"
)

// tamper edits the only job's database as no program would.
func (f *fixture) tamper(do func(tx *bolt.Tx) error) {
	f.Helper()
	db, err := bolt.Open(f.database(), 0o600, nil)
	if err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(db.Update(do), db.Close()); err != nil {
		f.Fatal(err)
	}
}

// problems are the findings of verify.
func (f *fixture) problems(everyRow bool) (*check.Report, string) {
	f.Helper()
	report, err := check.Verify(context.Background(), f.path, nil, everyRow)
	if err != nil {
		f.Fatal(err)
	}
	var text strings.Builder
	for _, p := range report.Problems {
		fmt.Fprintln(&text, p)
	}
	return report, text.String()
}

// Verify finds each way in which files and database can disagree, and changes
// nothing.
func TestVerifyFindsDisagreement(t *testing.T) {
	target := record.TargetKey(testTargets[0])
	copyTo := func(name string) func(*fixture) {
		return func(f *fixture) {
			data, err := os.ReadFile(filepath.Join(f.plan.Out, f.manifest().Parts[0].Name))
			if err == nil {
				err = os.WriteFile(filepath.Join(f.plan.Out, name), data, 0o666)
			}
			if err != nil {
				f.Fatal(err)
			}
		}
	}
	inventory := func(f *fixture) string { return filepath.Join(f.plan.Out, f.manifest().Inventory.Name) }
	for name, c := range map[string]struct {
		harm    func(*fixture)
		damaged int // files that are to be fetched again
	}{
		"a part of an unknown job": {copyTo("date=2026-11-20/other-2026-11-20-abcdef-000001.jsonl"), 0},
		"a file like a part":       {copyTo("date=2026-11-20/copy.jsonl"), 0},
		"no inventory":             {func(f *fixture) { mustDo(f, os.Remove(inventory(f))) }, 1},
		"an altered inventory":     {func(f *fixture) { mustDo(f, flip(inventory(f))) }, 1},
		"another inventory": {func(f *fixture) {
			mustDo(f, os.Link(inventory(f), strings.Replace(inventory(f), ".jsonl", "-r000009.jsonl", 1)))
		}, 0},
		"a manifest of fewer rows": {func(f *fixture) { f.replaceInFile(".manifest.json", `"rows": `, `"rows": 1`) }, 0},
		"no manifest":              {func(f *fixture) { mustDo(f, os.Remove(strings.TrimSuffix(f.database(), ".db")+".manifest.json")) }, 0},
		"more rows than there are": {func(f *fixture) {
			f.tamper(func(tx *bolt.Tx) error {
				return editJSON(tx.Bucket(record.BucketMeta), record.KeyJob, func(r *record.JobRecord) { r.Rows++ })
			})
		}, 0},
		"more instances done": {func(f *fixture) {
			f.tamper(func(tx *bolt.Tx) error {
				return editJSON(tx.Bucket(record.BucketTargets), target, func(r *record.TargetRecord) { r.Done++; r.Planned++ })
			})
		}, 0},
		"an instance lost": {func(f *fixture) {
			f.tamper(func(tx *bolt.Tx) error {
				return tx.Bucket(record.BucketInstances).Bucket(target).Delete([]byte(f.instances[0].Key()))
			})
		}, 0},
		"progress lost": {func(f *fixture) {
			f.tamper(func(tx *bolt.Tx) error {
				return tx.Bucket(record.BucketProgress).Bucket(target).Delete([]byte(f.instances[0].Key()))
			})
		}, 0},
		"a part forgotten": {func(f *fixture) {
			f.tamper(func(tx *bolt.Tx) error {
				return tx.Bucket(record.BucketParts).Delete([]byte(f.manifest().Parts[0].Name))
			})
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, 60)
			mustDo(f, f.attempt(false))
			if _, problems := f.problems(true); problems != "" {
				t.Fatalf("before: %s", problems)
			}
			c.harm(f)
			before := f.everyFile()
			report, problems := f.problems(false)
			if problems == "" || len(report.Damaged) != c.damaged {
				t.Errorf("problems %q, damaged %q, want %d", problems, report.Damaged, c.damaged)
			}
			if after := f.everyFile(); before != after {
				t.Error("verify changed a file")
			}
		})
	}
}

func mustDo(f *fixture, err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func editJSON[T any](b *bolt.Bucket, key []byte, change func(*T)) error {
	var value T
	if err := record.GetJSON(b, key, &value); err != nil {
		return err
	}
	change(&value)
	return record.PutJSON(b, key, value)
}

// replaceInFile changes the first text in a file beside the database.
func (f *fixture) replaceInFile(suffix, old, text string) {
	f.Helper()
	path := strings.TrimSuffix(f.database(), ".db") + suffix
	data, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(data, []byte(old)) {
		f.Fatalf("%s has no %q: %v", path, old, err)
	}
	mustDo(f, os.WriteFile(path, bytes.Replace(data, []byte(old), []byte(text), 1), 0o666))
}

// everyFile is a checksum over the names and contents of the harvest directory.
func (f *fixture) everyFile() string {
	f.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(f.path, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		sum.Write([]byte(path))
		sum.Write(data)
		return err
	})
	mustDo(f, err)
	return hex.EncodeToString(sum.Sum(nil))
}

// A part that was rewritten together with every checksum of it looks whole. Reading
// every row finds it, whatever was done to the rows.
func TestVerifyReadsEveryRow(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(lines []string) []string
	}{
		"a row twice":      {func(l []string) []string { return slices.Insert(l[:len(l)-1], 1, l[0]) }},
		"unsorted":         {func(l []string) []string { l[0], l[len(l)-1] = l[len(l)-1], l[0]; return l }},
		"of another date":  {func(l []string) []string { l[len(l)-1] = retimed(l[len(l)-1], "2031-01-01T00:00:00Z"); return l }},
		"before the range": {func(l []string) []string { l[0] = retimed(l[0], "2026-11-19T00:00:00Z"); return l }},
		"not an instance":  {func(l []string) []string { return replaceAll(l, "i-0000000", "i-9999999") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, 61)
			mustDo(f, f.attempt(false))
			part := f.manifest().Parts[0]
			path := filepath.Join(f.plan.Out, part.Name)
			data, err := os.ReadFile(path)
			mustDo(f, err)
			lines := c.harm(strings.Split(strings.TrimSpace(string(data)), "\n"))
			data = []byte(strings.Join(lines, "\n") + "\n")
			mustDo(f, os.WriteFile(path, data, 0o666))
			sum := sha256.Sum256(data)
			f.tamper(func(tx *bolt.Tx) error {
				return editJSON(tx.Bucket(record.BucketParts), []byte(part.Name), func(p *record.Part) {
					p.Bytes, p.SHA256 = int64(len(data)), hex.EncodeToString(sum[:])
				})
			})
			d := f.reopened()
			if err := errors.Join(d.WriteManifest(f.readable())); err != nil {
				t.Fatal(err)
			}
			if _, problems := f.problems(false); problems != "" {
				t.Fatalf("its files already disagree: %s", problems)
			}
			if _, problems := f.problems(true); problems == "" {
				t.Error("reading every row found nothing")
			}
		})
	}
}

// retimed returns a row with another time.
func retimed(line, at string) string {
	_, from, _ := strings.Cut(line, `"timestamp":"`)
	old, _, _ := strings.Cut(from, `"`)
	return strings.Replace(line, `"timestamp":"`+old, `"timestamp":"`+at, 1)
}

func replaceAll(lines []string, old, text string) []string {
	for i := range lines {
		lines[i] = strings.ReplaceAll(lines[i], old, text)
	}
	return lines
}

func (f *fixture) reopened() *record.Dir {
	f.Helper()
	d, err := record.OpenDir(f.path, f.remote)
	mustDo(f, err)
	return d
}

func (f *fixture) readable() *record.Database {
	f.Helper()
	db, err := record.OpenForReading(f.database())
	mustDo(f, err)
	f.Cleanup(func() { mustDo(f, db.Close()) })
	return db
}

// A value of the spool that was altered on disk is never published: the run stops,
// and names it.
func TestAlteredSpoolIsNotPublished(t *testing.T) {
	f := newFixture(t, 62)
	f.plan.PartSize = 1 << 30 // all of it stays in the spool
	d, err := f.open()
	mustDo(f, err)
	job, err := d.Create(context.Background(), f.plan, testTargets)
	mustDo(f, err)
	mustDo(f, job.Begin(context.Background()))
	for i, target := range testTargets {
		mustDo(f, job.Commit(context.Background(), &Batch{Discovered: []Discovery{{Target: target, Instances: f.instances[4*i : 4*i+4], Complete: true}}}))
	}
	mustDo(f, job.Commit(context.Background(), &Batch{Results: f.results}))
	mustDo(f, errors.Join(job.Close(130, ""), d.Close()))
	f.tamper(func(tx *bolt.Tx) error {
		spool := tx.Bucket(record.BucketSpool)
		segment, _ := spool.Cursor().First()
		key, value := spool.Bucket(segment).Cursor().First()
		altered := slices.Clone(value)
		altered[len(altered)-1] ^= 1
		return spool.Bucket(segment).Put(key, altered)
	})
	if err := f.attempt(false); err == nil {
		t.Error("an altered value was published")
	}
	if report, err := check.Verify(context.Background(), f.path, nil, false); err == nil && len(report.Problems) == 0 {
		t.Errorf("verify did not find it: %+v", report)
	}
}

// TestCommitReportedAsFailed proves that a commit that was done but reported as
// failed stops the attempt; the next one resumes from the state on disk.
func TestCommitReportedAsFailed(t *testing.T) {
	f := newFixture(t, 63)
	job := f.begin()
	mustDo(f, job.Commit(context.Background(), &Batch{Discovered: []Discovery{{Target: testTargets[0], Instances: f.instances[:4], Complete: true}}}))
	rows := job.record.Rows
	err := job.save(func(r *record.JobRecord, tx *bolt.Tx) error {
		r.Rows += 7
		tx.OnCommit(func() { panic(errInjected) })
		return nil
	})
	if err == nil {
		t.Fatal("the failure was not reported")
	}
	if job.record.Rows != rows+7 {
		t.Errorf("%d rows in memory, %d on disk", job.record.Rows, rows+7)
	}
}

// Shards of one division share a place, each with a directory of its own; together
// they have every row once, and each is verified by itself.
func TestShardsInOnePlace(t *testing.T) {
	const of = 3
	lake := filepath.Join(t.TempDir(), "lake")
	want, got := map[string]string{}, map[string]string{}
	for n := 1; n <= of; n++ {
		f := newFixture(t, 64) // the same rows for each
		f.plan.Out, f.plan.Shard = lake, record.Shard{Number: n, Of: of}
		own := record.Shard{Number: n, Of: of}
		held := map[string]string{}
		for name, values := range f.want {
			fields := strings.Fields(name)
			want[name] = values
			if own.Holds(record.Target{Account: fields[0], Region: fields[1]}) {
				held[name] = values
			}
		}
		f.want = held
		f.shardAttempt(own)
		report, problems := f.problems(true)
		if problems != "" || report.Rows != int64(len(f.want)) {
			t.Fatalf("shard %d: %s, %d rows, want %d", n, problems, report.Rows, len(f.want))
		}
		if n == of {
			got = f.published(place.NewLocal(lake, &f.files), f.plan.OutputFormat())
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d rows of all shards, want %d", len(got), len(want))
	}
	for name := range want {
		if got[name] != want[name] {
			t.Fatalf("row %s is %s, want %s", name, got[name], want[name])
		}
	}
	d, err := Open(t.TempDir(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, s := range []record.Shard{{}, {Number: 1, Of: 2}, {Number: 1, Of: of}} {
		plan := newFixture(t, 64).plan
		plan.Out, plan.Shard = lake, s
		if _, err := d.Create(context.Background(), plan, testTargets); !errors.As(err, new(*claim.ClaimedError)) {
			t.Errorf("shard %q took the place as well: %v", s, err)
		}
	}
}

// shardAttempt harvests the targets of one shard.
func (f *fixture) shardAttempt(own record.Shard) {
	f.Helper()
	d, err := f.open()
	mustDo(f, err)
	var targets []record.Target
	for _, target := range testTargets {
		if own.Holds(target) {
			targets = append(targets, target)
		}
	}
	job, err := d.Create(context.Background(), f.plan, targets)
	mustDo(f, err)
	mustDo(f, job.Begin(context.Background()))
	for i, target := range testTargets {
		if own.Holds(target) {
			mustDo(f, job.Commit(context.Background(), &Batch{Discovered: []Discovery{{Target: target, Instances: f.instances[4*i : 4*i+4], Complete: true}}}))
		}
	}
	b := &Batch{}
	for _, r := range f.results {
		if own.Holds(r.Target) {
			b.Results = append(b.Results, r)
		}
	}
	mustDo(f, job.Commit(context.Background(), b))
	mustDo(f, errors.Join(job.Finish(context.Background()), job.Close(0, ""), d.Close()))
}

// TestRediscover proves that when targets are enumerated again, finished work stays
// finished, new instances are pending, and new targets bring their instances.
func TestRediscover(t *testing.T) {
	s := newSmall(t)
	d := s.open()
	job := s.begin(d, 0, testTargets[0])
	s.commit(job, whole(testTargets[0], 2))
	id := job.plan.ID
	mustSmall(s, errors.Join(job.Close(130, ""), d.Close()))
	d = s.open()
	job, err := d.OpenJob(id)
	mustSmall(s, err)
	mustSmall(s, errors.Join(job.Rediscover([]record.Target{testTargets[0], testTargets[1]}), job.Discard(), d.Close()))
	if got := s.shows("stopped", "database"); got.Targets.Planned != 2 || got.Instances.Done != 2 {
		t.Fatalf("%+v, %+v", got.Targets, got.Instances)
	}
	d = s.open()
	job = s.reopen(d, id)
	for i, n := range []int{4, 1} {
		s.commit(job, &Batch{Discovered: []Discovery{list(testTargets[i], n)}})
		pending, err := job.Pending(testTargets[i], "", 100)
		if err != nil || len(pending) != n-2*(1-i) {
			t.Errorf("%s: %d pending of %d, %v", testTargets[i], len(pending), n, err)
		}
		s.commit(job, whole(testTargets[i], n))
	}
	mustSmall(s, errors.Join(job.Finish(context.Background()), job.Close(0, ""), d.Close()))
	if got := s.shows("finished", "database"); got.Instances.Done != 5 || got.Rows != 5*24 {
		t.Errorf("%+v, %d rows", got.Instances, got.Rows)
	}
	report, err := check.Verify(context.Background(), s.path, nil, true)
	if err != nil || len(report.Problems) > 0 {
		t.Errorf("%v, %+v", err, report)
	}
}

func mustSmall(s *small, err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// A job is made as a whole: whichever durable step of making it fails, the
// directory has either the job or none, and the next attempt makes it.
func TestJobsAreMadeAsAWhole(t *testing.T) {
	for nth := 0; ; nth++ {
		for _, after := range []bool{false, true} {
			s := newSmall(t)
			d := s.open()
			seen := 0
			d.disk.Files.Fault = breakStep(nth, after, &seen)
			job, err := d.Create(context.Background(), s.plan(0), testTargets[:1])
			if seen <= nth {
				mustSmall(s, errors.Join(err, job.Discard(), d.Close()))
				if nth < 5 {
					t.Fatalf("only %d durable steps", nth)
				}
				return
			}
			if !errors.Is(err, errInjected) {
				t.Fatalf("step %d: %v", nth, err)
			}
			d.disk.Files.Fault = nil
			jobs, err := record.ReadJobs(s.path)
			if err != nil || len(jobs) > 1 {
				t.Fatalf("step %d: %d jobs, %v", nth, len(jobs), err)
			}
			if len(jobs) == 0 {
				job, err = d.Create(context.Background(), s.plan(0), testTargets[:1])
			} else {
				job, err = d.OpenJob(jobs[0].Plan.ID)
			}
			mustSmall(s, err)
			mustSmall(s, job.Begin(context.Background()))
			s.commit(job, whole(testTargets[0], 1))
			mustSmall(s, errors.Join(job.Finish(context.Background()), job.Close(0, ""), d.Close()))
			if got := s.shows("finished", "database"); got.Rows != 24 {
				t.Fatalf("step %d: %d rows", nth, got.Rows)
			}
		}
	}
}

// A part whose bytes differ from those that an earlier program logged, but did not
// publish, gets another name: a process that was replaced may still publish the old one.
func TestLoggedPartIsNeverOverwritten(t *testing.T) {
	f := newFixture(t, 61)
	failed := errors.New("killed")
	f.fault = func(s durable.Step, after bool) error {
		if s.Name == "rename" && !after && strings.Contains(s.To, "date=") {
			return failed
		}
		return nil
	}
	if err := f.attempt(false); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	f.fault = nil
	var old string
	for _, sum := range []string{"another program", "a third one"} {
		f.tamper(func(tx *bolt.Tx) error {
			key, _ := tx.Bucket(record.BucketIntents).Cursor().First()
			return editJSON(tx.Bucket(record.BucketIntents), key, func(in *record.Intent) {
				if old == "" {
					old = in.Parts[0].Name
				}
				in.Parts[0].SHA256 = sum
			})
		})
		if sum == "another program" { // and this one is killed as well
			f.fault = func(s durable.Step, after bool) error {
				if s.Name == "rename" && !after && strings.Contains(s.To, "-r000000") {
					return failed
				}
				return nil
			}
			if err := f.attempt(false); !errors.Is(err, failed) {
				t.Fatal(err)
			}
			f.fault = nil
		}
	}
	mustDo(f, f.attempt(false))
	f.check()
	renamed := strings.Replace(old, ".jsonl", "-r000001.jsonl", 1)
	var names []string
	for _, p := range f.manifest().Parts {
		names = append(names, p.Name)
	}
	if !slices.Contains(names, renamed) || slices.Contains(names, old) {
		t.Errorf("parts %q, want %s", names, renamed)
	}
}
