package record

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	bolt "go.etcd.io/bbolt"
)

// ReadStatus returns the status of the job of a directory that was worked last, and
// lists the other open ones. It never disturbs a run: if a process holds the directory it reads
// the run's last snapshot, otherwise the database. It does not hold the directory
// while it reads. A run that starts meanwhile waits for the one database that is
// being read, and later readers find the directory held.
func ReadStatus(dir string) (*Status, error) {
	if err := CheckExists(dir); err != nil {
		return nil, err
	}
	held, err := isHeld(dir)
	if err != nil {
		return nil, err
	}
	if held {
		return readRunning(dir)
	}
	s, err := readLatest(dir)
	if err == nil {
		return s, nil
	}
	held, heldErr := isHeld(dir)
	if held && heldErr == nil || errors.As(err, new(*LockedError)) {
		return readRunning(dir) // a run has begun meanwhile, or its lock file was removed
	}
	return nil, err
}

func readLatest(dir string) (*Status, error) {
	jobs, err := ReadJobs(dir)
	if err != nil {
		return nil, err
	}
	if len(jobs) == 0 {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoJob)
	}
	latest := jobs[len(jobs)-1]
	for _, job := range jobs {
		if latest.State != Unfinished && job.Worked.After(latest.Worked) {
			latest = job
		}
	}
	s, err := readStatus(dir, &latest.Plan)
	if err != nil {
		return nil, err
	}
	open := map[string]OpenNight{}
	for _, job := range jobs {
		if job.State == FinishedWithFailures && !job.Pruned && job.Plan.ID != latest.Plan.ID {
			s.Others = append(s.Others, StatusRange{job.Plan.Start, job.Plan.End})
		}
		if job.State == Unfinished && job.Plan.ID != latest.Plan.ID {
			other, err := readStatus(dir, &job.Plan)
			if err != nil {
				return nil, err
			}
			open[job.Plan.ID] = other.AsOpen()
		}
	}
	s.SetOpenNights(open)
	return s, nil
}

func readStatus(dir string, plan *Plan) (*Status, error) {
	db, err := OpenForReading(jobFile(dir, plan.ID, ".db"))
	if err != nil {
		return nil, err
	}
	s, err := db.Status(plan)
	return s, errors.Join(err, db.Close())
}

// JobStatus returns the status of a job that no process works on.
func JobStatus(dir, id string) (*Status, error) {
	job, err := ReadJob(dir, id)
	if err != nil {
		return nil, err
	}
	return readStatus(dir, &job.Plan)
}

// Status returns the status of a job that no process works on.
func (db *Database) Status(plan *Plan) (s *Status, err error) {
	err = db.look(func(tx *bolt.Tx) error {
		var r JobRecord
		if err := GetJSON(tx.Bucket(BucketMeta), KeyJob, &r); err != nil {
			return err
		}
		targets := map[Target]TargetRecord{}
		if err := ReadTargets(tx, targets); err != nil {
			return err
		}
		var err error
		if s, err = NewStatus(tx, plan, &r, targets, Live{}); err != nil {
			return err
		}
		if r.State == Unfinished {
			s.State = "stopped"
			if n := len(r.Attempts); n > 0 && (r.Attempts[n-1].Ended.IsZero() || r.Attempts[n-1].Exit == nil) {
				s.State = "crashed"
			}
		}
		return nil
	})
	return s, err
}

// readRunning returns the status that a running process published last.
func readRunning(dir string) (*Status, error) {
	s, err := ReadSnapshot(dir)
	for try := 0; err != nil && try < 5; try++ { // the run may be writing it in place
		time.Sleep(10 * time.Millisecond)
		s, err = ReadSnapshot(dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: a process has just started there and has no job yet: %w", dir, ErrNoJob)
	}
	if err != nil {
		return nil, err
	}
	s.judge(time.Now())
	return s, nil
}

// judge sets the state of a snapshot's job by the age of the snapshot.
func (s *Status) judge(now time.Time) {
	age := now.Sub(s.Written)
	s.AgeSeconds = age.Seconds()
	switch {
	case s.State != string(Unfinished): // a next job is about to begin, or an earlier night is still open
	case age > unresponsiveAfter:
		s.State = "unresponsive"
	default:
		s.State = s.Activity()
	}
}

// unresponsiveAfter is the age from which a snapshot shows that its run does not
// respond.
const unresponsiveAfter = 15 * time.Second

// ReadFailed returns all failed instances of the job of s. While a process works on
// the job, it returns those of the snapshot.
func ReadFailed(dir string, s *Status) ([]FailedInstance, error) {
	if s.Source == "snapshot" || int64(len(s.Failed)) == s.Instances.Failed {
		return s.Failed, nil
	}
	db, err := OpenForReading(jobFile(dir, s.Job, ".db"))
	if err != nil {
		return nil, err
	}
	var all []FailedInstance
	err = db.look(func(tx *bolt.Tx) (err error) {
		all, err = failedInstances(tx, 0)
		return err
	})
	return all, errors.Join(err, db.Close())
}
