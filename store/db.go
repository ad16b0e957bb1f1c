package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// State is what a job's database says of it; whether a process works on it is
// not its business.
type State string

const (
	Unfinished           State = "open"
	Finished             State = "finished"
	FinishedWithFailures State = "finished_with_failures"
)

// database is one job's bbolt file. bbolt panics, and the kernel faults, on a
// damaged file: every access goes through view and update, which turn both
// into an error that names the file.
type database struct {
	path string
	bolt *bolt.DB
}

// spoolMap is the initial size of the memory map: room for the spool, so that
// a growing database need not remap under its readers (address space only).
const spoolMap = 4 << 30

// pageSize is that of a new database. bbolt writes a page a call: with fewer and
// larger ones than the system's, commits of some MB take less of the processor.
const pageSize = 16 << 10

func openForWriting(path string) (*database, error) {
	return openDatabase(path, &bolt.Options{
		FreelistType: bolt.FreelistMapType, Timeout: drainWait, InitialMmapSize: spoolMap,
	})
}

func openForReading(path string) (*database, error) {
	return openDatabase(path, &bolt.Options{ReadOnly: true, Timeout: lockWait})
}

func openDatabase(path string, options *bolt.Options) (*database, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err // bbolt would create it
	}
	db := &database{path: path}
	if info.Size() == 0 {
		return nil, db.damaged("it is empty") // bbolt would fill it
	}
	err = db.guard(func() (err error) {
		db.bolt, err = bolt.Open(path, 0o600, options)
		return err
	})
	if err != nil {
		return nil, err
	}
	// Now that nobody writes to it.
	if err := checkMetas(path); err != nil {
		if !errors.As(err, new(*fs.PathError)) {
			err = db.damaged(err)
		}
		return nil, errors.Join(err, db.close())
	}
	if err := db.recognise(); err != nil {
		return nil, errors.Join(err, db.close())
	}
	return db, nil
}

// recognise refuses a database that is not ours or has another format.
func (db *database) recognise() error {
	return db.view(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			return &damagedError{fmt.Sprintf("%s is a bbolt file, but not of cwharvest; it was not changed", db.path)}
		}
		var only struct{ Version int } // the record of another format may have other fields
		if err := getJSON(meta, keyJob, &only); err != nil {
			return db.damaged(err)
		}
		if only.Version != schemaVersion {
			return &FormatError{Path: db.path, Format: only.Version}
		}
		if err := getJSON(meta, keyJob, new(jobRecord)); err != nil {
			return db.damaged(err)
		}
		return db.checkAge(tx.ID())
	})
}

func (db *database) close() error { return db.bolt.Close() }

func (db *database) view(do func(*bolt.Tx) error) error {
	return db.guard(func() error { return db.bolt.View(do) })
}

func (db *database) update(do func(*bolt.Tx) error) error {
	return db.guard(func() error { return db.bolt.Update(do) })
}

// transaction returns the number of the last one.
func (db *database) transaction() (n int, err error) {
	err = db.view(func(tx *bolt.Tx) error { n = tx.ID(); return nil })
	return n, err
}

// guard runs do and returns what bbolt or a fault of its memory map panics
// with as an error.
func (db *database) guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = db.damaged(p)
		}
	}()
	err = do()
	switch {
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum):
		return db.damaged(err)
	case errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("%s is in a format of bbolt that this cwharvest does not know; it was not changed", db.path)
	case errors.Is(err, berrors.ErrTimeout):
		dir := filepath.Dir(filepath.Dir(db.path))
		return &LockedError{Dir: dir, Owner: otherOwner(dir)}
	}
	return err
}

// FormatError reports a database that an older or a newer version has written.
// Nothing reads or changes it.
type FormatError struct {
	Path   string
	Format int
}

func (e *FormatError) Error() string {
	age := "newer"
	if e.Format < schemaVersion {
		age = "older"
	}
	return fmt.Sprintf("%s has the %s database format %d, and this version reads only format %d; it was not changed", e.Path, age, e.Format, schemaVersion)
}

// Hint returns what to do next.
func (e *FormatError) Hint() string {
	if e.Format < schemaVersion {
		return "finish it with the version that wrote it, or use another directory"
	}
	return "use the version that wrote it, or another directory"
}

// damagedError says that a database cannot be read: only such a one is rebuilt.
type damagedError struct{ text string }

func (e *damagedError) Error() string { return e.text }

func (db *database) damaged(what any) error {
	return &damagedError{fmt.Sprintf("%s is damaged or not a job's database (%v); it was not changed: rebuild it with "+
		"`cwharvest repair %s`", db.path, what, filepath.Dir(filepath.Dir(db.path)))}
}

// jobRecord is the state of a job: one value, replaced with each commit.
type jobRecord struct {
	Version     int       `json:"version"`
	State       State     `json:"state"`
	Segment     uint64    `json:"segment"`      // that the writer fills
	Spooled     int64     `json:"spooled"`      // bytes in it
	Days        []int64   `json:"days"`         // of its data, days since 1970
	SegmentRows int64     `json:"segment_rows"` // and rows of it
	Rows        int64     `json:"rows"`         // committed
	Datapoints  int64     `json:"datapoints"`
	Repeated    int64     `json:"repeated"` // series-windows that came again and were dropped
	Counters    Counters  `json:"counters"`
	Attempts    []Attempt `json:"attempts"`
	Replans     []Replan  `json:"replans,omitempty"` // in the order they were made
	SeriesRows  []int64   `json:"series_rows"`       // rows of each of the plan's series
	Inventory   *Part     `json:"inventory,omitempty"`
	Redo        *redo     `json:"redo,omitempty"`
}

// Attempt is one process that worked on a job.
type Attempt struct {
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	Exit    *int      `json:"exit"` // nil: running, or crashed when Ended is set
	Reason  string    `json:"reason"`
	Owner   Owner     `json:"owner"`
}

// targetRecord is the state of a target.
type targetRecord struct {
	Enumerated bool     `json:"enumerated"`
	Denied     *Failure `json:"denied,omitempty"`
	Tolerated  bool     `json:"tolerated,omitempty"` // the denial is

	DeniedSince time.Time `json:"denied_since,omitzero"` // over all jobs of the directory
	DeniedNew   bool      `json:"denied_new,omitempty"`  // the job before was not denied

	Planned       int64   `json:"planned"` // instances
	Done          int64   `json:"done"`
	Empty         int64   `json:"empty"`
	Failed        int64   `json:"failed"`
	PointsPlanned int64   `json:"points_planned"` // estimated datapoints
	PointsDone    int64   `json:"points_done"`
	CostPlanned   float64 `json:"cost_planned"` // USD
	WorstPlanned  float64 `json:"worst_planned"`
}

func (r *targetRecord) pending() int64 { return r.Planned - r.Done - r.Empty - r.Failed }

// initialise writes a new job's database at a temporary path.
func initialise(path string, plan Plan, targets []Target, denied map[string]time.Time) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType, Timeout: lockWait, PageSize: pageSize})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketMeta, bucketTargets, bucketInstances, bucketProgress, bucketSpool,
			bucketIntents, bucketParts, bucketFailures, bucketGarbage} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		for _, t := range targets {
			if err := putJSON(tx.Bucket(bucketTargets), targetKey(t), targetRecord{}); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		if err := errors.Join(putJSON(meta, keyPlan, plan), putJSON(meta, keyDenied, denied)); err != nil {
			return err
		}
		return putJSON(meta, keyJob, jobRecord{Version: schemaVersion, State: Unfinished, Segment: 1, SeriesRows: make([]int64, len(plan.Series))})
	})
	return errors.Join(err, db.Close())
}

func getJSON(b *bolt.Bucket, key []byte, into any) error {
	data := b.Get(key)
	if data == nil {
		return fmt.Errorf("record %q is missing", key)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("record %q: %w", key, err)
	}
	return nil
}

func putJSON(b *bolt.Bucket, key []byte, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("record %q: %w", key, err)
	}
	return b.Put(key, data)
}

// info returns a job's specification and state.
func (db *database) info() (info JobInfo, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		var record jobRecord
		if err := getJSON(tx.Bucket(bucketMeta), keyJob, &record); err != nil {
			return err
		}
		info.State = record.State
		if n := len(record.Attempts); n > 0 {
			info.Worked = record.Attempts[n-1].Started
		}
		return getJSON(tx.Bucket(bucketMeta), keyPlan, &info.Plan)
	})
	return info, err
}

// targets adds to info what it tells of targets.
func (db *database) targets(info *JobInfo) error {
	return db.view(func(tx *bolt.Tx) error {
		targets := map[Target]targetRecord{}
		if err := readTargets(tx, targets); err != nil {
			return err
		}
		for t, r := range targets {
			info.Targets = append(info.Targets, t)
			info.MostPoints = max(info.MostPoints, r.PointsPlanned)
		}
		return tx.Bucket(bucketParts).ForEach(func(_, value []byte) error {
			var p Part
			err := json.Unmarshal(value, &p)
			info.Bytes += p.Bytes
			return err
		})
	})
}
