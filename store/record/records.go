package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// State is what a job's database says of it; whether a process works on it is
// not its business.
type State string

const (
	Unfinished           State = "open"
	Finished             State = "finished"
	FinishedWithFailures State = "finished_with_failures"
)

// jobRecord is the state of a job: one value, replaced with each commit.
type JobRecord struct {
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
	Redo        *Redo     `json:"redo,omitempty"`
}

// Attempt is one process that worked on a job.
type Attempt struct {
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	Exit    *int      `json:"exit"` // nil: running, or crashed when Ended is set
	Reason  string    `json:"reason"`
	Owner   Owner     `json:"owner"`
}

// Counters are what a job has spent, over all its attempts.
type Counters struct {
	RequestsSent     int64   `json:"requests_sent"`
	RequestsRepeated int64   `json:"requests_repeated"`
	Throttled        int64   `json:"throttled"`
	SessionsAssumed  int64   `json:"sessions_assumed"`
	RefusedExpired   int64   `json:"refused_expired"`
	SessionWaits     int64   `json:"session_waits"`     // calls that waited for a refresh after the first
	FallbackSwitches int64   `json:"fallback_switches"` // between credentials and their fallbacks
	CostUSD          float64 `json:"cost_usd"`          // five statistics of a metric billed once
	CostWorstUSD     float64 `json:"cost_worst_usd"`    // every statistic billed
}

func (a *Counters) Add(b Counters) {
	a.RequestsSent += b.RequestsSent
	a.RequestsRepeated += b.RequestsRepeated
	a.Throttled += b.Throttled
	a.SessionsAssumed += b.SessionsAssumed
	a.RefusedExpired += b.RefusedExpired
	a.SessionWaits += b.SessionWaits
	a.FallbackSwitches += b.FallbackSwitches
	a.CostUSD += b.CostUSD
	a.CostWorstUSD += b.CostWorstUSD
}

// Failure says why something could not be harvested, in words for people.
type Failure struct {
	Class   string `json:"class"` // refused, poison, retention_passed, ...
	Message string `json:"message"`
}

// targetRecord is the state of a target.
type TargetRecord struct {
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

func (r *TargetRecord) Pending() int64 { return r.Planned - r.Done - r.Empty - r.Failed }

func ReadTargets(tx *bolt.Tx, into map[Target]TargetRecord) error {
	return tx.Bucket(BucketTargets).ForEach(func(key, value []byte) error {
		var r TargetRecord
		if err := json.Unmarshal(value, &r); err != nil {
			return fmt.Errorf("target %s: %w", key, err)
		}
		account, region, _ := bytes.Cut(key, []byte("/"))
		into[Target{string(account), string(region)}] = r
		return nil
	})
}

// intent is what is to be published of a sealed segment. A part's size and
// checksum are recorded before its file gets its name, so that recovery can
// tell a finished part from a foreign file.
type Intent struct {
	Segment uint64 `json:"segment"`
	Bytes   int64  `json:"bytes"` // of the segment
	Parts   []Part `json:"parts"`
	Staged  bool   `json:"staged,omitempty"` // built, and without names until a redo ends
}

// A redo fetches the rows of some targets once more and puts them in the place
// of those that are published. Until all of them are there the old ones stay:
// the new parts are built, but do not get their names. Then the old parts are
// written anew without the rows of these targets, and one transaction decides.

// redo is a redo on its way.
type Redo struct {
	Targets []Target `json:"targets"`
	From    uint64   `json:"from"`     // the first segment with new rows
	OldRows int64    `json:"old_rows"` // of the targets, in parts still

	// Once everything is fetched: parts that are built and get their names with
	// those of the intents, and the names of those that they replace.
	Prepared bool     `json:"prepared,omitempty"`
	Parts    []Part   `json:"parts,omitempty"` // old ones, without the targets
	Removes  []string `json:"removes,omitempty"`
}

func (r *Redo) Has(account, region string) bool {
	return slices.Contains(r.Targets, Target{account, region})
}

// redoing returns the redo that is on its way; nil when there is none.
func RedoOf(tx *bolt.Tx) (*Redo, error) {
	var rec JobRecord
	err := json.Unmarshal(tx.Bucket(BucketMeta).Get(KeyJob), &rec)
	return rec.Redo, err
}

// Output files that are to be removed are written down first, in the transaction
// that makes them superfluous: a file that takes the place of others is garbage
// until it is committed, the others are from then on. Whatever kills the
// process, the next attempt removes what is left.

// discard notes names as garbage in a transaction.
func AddGarbage(tx *bolt.Tx, names ...string) error {
	for _, name := range names {
		if err := tx.Bucket(bucketGarbage).Put([]byte(name), nil); err != nil {
			return err
		}
	}
	return nil
}

// keep takes names back.
func DropGarbage(tx *bolt.Tx, names ...string) error {
	for _, name := range names {
		if err := tx.Bucket(bucketGarbage).Delete([]byte(name)); err != nil {
			return err
		}
	}
	return nil
}

// garbage returns the names to be removed.
func (db *Database) Garbage() (names []string, err error) {
	err = db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketGarbage).ForEach(func(name, _ []byte) error {
			names = append(names, string(name))
			return nil
		})
	})
	return names, err
}

// initialise writes a new job's database at a temporary path.
func CreateDatabase(path string, plan Plan, targets []Target, denied map[string]time.Time) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{FreelistType: bolt.FreelistMapType, Timeout: lockWait, PageSize: pageSize})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{BucketMeta, BucketTargets, BucketInstances, BucketProgress, BucketSpool,
			BucketIntents, BucketParts, BucketFailures, bucketGarbage} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		for _, t := range targets {
			if err := PutJSON(tx.Bucket(BucketTargets), TargetKey(t), TargetRecord{}); err != nil {
				return err
			}
		}
		meta := tx.Bucket(BucketMeta)
		if err := errors.Join(PutJSON(meta, KeyPlan, plan), PutJSON(meta, KeyDenied, denied)); err != nil {
			return err
		}
		return PutJSON(meta, KeyJob, JobRecord{Version: SchemaVersion, State: Unfinished, Segment: 1, SeriesRows: make([]int64, len(plan.Series))})
	})
	return errors.Join(err, db.Close())
}

func GetJSON(b *bolt.Bucket, key []byte, into any) error {
	data := b.Get(key)
	if data == nil {
		return fmt.Errorf("record %q is missing", key)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("record %q: %w", key, err)
	}
	return nil
}

func PutJSON(b *bolt.Bucket, key []byte, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("record %q: %w", key, err)
	}
	return b.Put(key, data)
}
