package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// JobInfo describes one job of a directory.
type JobInfo struct {
	Plan     Plan
	State    State
	Reopened bool      // it was finished or repaired before, so it is continued by its plan
	Pruned   bool      // its database was removed, so nothing of it can be retried
	Worked   time.Time // when its last attempt began; zero: never, or pruned
	Ended    time.Time // when its last attempt ended; zero: it has not ended, or never began

	// Set for the latest job and for open ones only:
	Targets    []Target
	Denied     map[Target]string // denied targets, with DeniedBy
	MostPoints int64             // estimated datapoints of its largest target, as far as enumerated
	Bytes      int64             // of its database and its parts
}

// ReadJobs returns the jobs of a directory, sorted by the start of their range. It
// takes no lock on the directory, and returns no jobs if there is none. It does not
// read those that this process holds open: the caller describes them in held.
func ReadJobs(dir string, held ...JobInfo) ([]JobInfo, error) {
	ids, err := JobIDs(dir)
	if err != nil {
		return nil, err
	}
	var jobs []JobInfo
	for _, id := range ids {
		if i := slices.IndexFunc(held, func(j JobInfo) bool { return j.Plan.ID == id }); i >= 0 {
			jobs = append(jobs, held[i])
			continue
		}
		job, err := ReadJob(dir, id)
		if errors.Is(err, ErrNotCreated) {
			continue
		}
		if err != nil {
			return nil, err
		}
		job.Plan.Out = ResolveOut(dir, job.Plan.Out)
		jobs = append(jobs, job)
	}
	slices.SortFunc(jobs, func(a, b JobInfo) int {
		if c := a.Plan.Start.Compare(b.Plan.Start); c != 0 {
			return c
		}
		return a.Plan.Created.Compare(b.Plan.Created)
	})
	for i := range jobs {
		if isHeld := slices.ContainsFunc(held, func(j JobInfo) bool { return j.Plan.ID == jobs[i].Plan.ID }); isHeld {
			continue
		}
		if jobs[i].State == Unfinished || i == len(jobs)-1 && !jobs[i].Pruned {
			if err := readTargetsOf(dir, &jobs[i]); err != nil {
				return nil, err
			}
		}
	}
	return jobs, nil
}

// JobIDs returns the ids of all jobs that have a plan or a database.
func JobIDs(dir string) (ids []string, err error) {
	entries, err := os.ReadDir(filepath.Join(dir, "jobs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		name := e.Name()
		id, isDB := strings.CutSuffix(name, ".db")
		if !isDB {
			var isJSON bool
			if id, isJSON = strings.CutSuffix(name, ".json"); !isJSON || strings.Contains(id, ".") {
				continue // a manifest, a summary, a claim
			}
		}
		if !strings.HasPrefix(name, "_") {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), err
}

// ErrNotCreated reports a job whose creation was interrupted.
var ErrNotCreated = errors.New("the job was never created")

// ReadJob describes one job; ErrNotCreated if its creation was interrupted.
func ReadJob(dir, id string) (job JobInfo, err error) {
	db, err := OpenForReading(jobFile(dir, id, ".db"))
	if errors.Is(err, fs.ErrNotExist) {
		return ReadSummary(dir, id)
	}
	if err != nil {
		return job, err
	}
	job, err = db.Info()
	return job, errors.Join(err, db.Close())
}

// ReadJob describes one job, with the absolute path of its output.
func (d *Dir) ReadJob(id string) (JobInfo, error) {
	job, err := ReadJob(d.Path, id)
	job.Plan.Out = ResolveOut(d.Path, job.Plan.Out)
	return job, err
}

func readTargetsOf(dir string, info *JobInfo) error {
	db, err := OpenForReading(jobFile(dir, info.Plan.ID, ".db"))
	if err != nil {
		return err
	}
	err = errors.Join(db.targets(info), db.Close())
	if file, err := os.Stat(db.path); err == nil {
		info.Bytes += file.Size()
	}
	return err
}

// ReadSummary describes a pruned job.
func ReadSummary(dir, id string) (job JobInfo, err error) {
	var summary Status
	err = ReadJSON(jobFile(dir, id, ".summary.json"), &summary)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(jobFile(dir, id, ".manifest.json")); err == nil {
			return job, &RepairError{Dir: dir, Err: fmt.Errorf("job %s has published data, but its database is missing", id)}
		}
		return job, ErrNotCreated
	}
	if err != nil {
		return job, err
	}
	job.State, job.Pruned = State(summary.State), true
	if job.State != Finished && job.State != FinishedWithFailures { // only finished jobs are pruned
		return job, fmt.Errorf("%s: state %q", jobFile(dir, id, ".summary.json"), summary.State)
	}
	if n := len(summary.Attempts); n > 0 {
		job.Ended = summary.Attempts[n-1].Ended
	}
	job.Plan, err = readPlanFile(dir, id)
	return job, err
}

// Info returns a job's plan and state.
func (db *Database) Info() (info JobInfo, err error) {
	err = db.peek(func(tx *bolt.Tx) error {
		var rec JobRecord
		if err := GetJSON(tx.Bucket(BucketMeta), KeyJob, &rec); err != nil {
			return err
		}
		info.SetState(&rec)
		return GetJSON(tx.Bucket(BucketMeta), KeyPlan, &info.Plan)
	})
	return info, err
}

// SetState sets the fields that the record of the job has.
func (info *JobInfo) SetState(r *JobRecord) {
	info.State, info.Reopened = r.State, r.State == Unfinished && (r.Inventory != nil || r.Repaired)
	if n := len(r.Attempts); n > 0 {
		info.Worked, info.Ended = r.Attempts[n-1].Started, r.Attempts[n-1].Ended
	}
}

// targets sets the fields of info that depend on targets and parts.
func (db *Database) targets(info *JobInfo) error {
	return db.look(func(tx *bolt.Tx) error {
		targets := map[Target]TargetRecord{}
		if err := ReadTargets(tx, targets); err != nil {
			return err
		}
		info.Denied = map[Target]string{}
		for t, r := range targets {
			info.Targets = append(info.Targets, t)
			if r.Denied != nil {
				info.Denied[t] = r.DeniedBy
			}
			info.MostPoints = max(info.MostPoints, r.PointsPlanned)
		}
		return tx.Bucket(BucketParts).ForEach(func(_, value []byte) error {
			var p Part
			err := json.Unmarshal(value, &p)
			info.Bytes += p.Bytes
			return err
		})
	})
}

// CheckJobs refuses a harvest directory that has jobs of another shard.
func (s Shard) CheckJobs(dir string, jobs []JobInfo) error {
	for i := range jobs {
		if has := jobs[i].Plan.Shard; has != s {
			return &ShardError{Dir: dir, Has: has, Not: s}
		}
	}
	return nil
}
