package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// State is the committed state of a job. It does not show whether a process works on
// the job.
type State string

const (
	Unfinished           State = "open"
	Finished             State = "finished"
	FinishedWithFailures State = "finished_with_failures"
)

// JobRecord is the state of a job: one value, which every commit replaces.
type JobRecord struct {
	Version     int       `json:"version"`
	State       State     `json:"state"`
	Segment     uint64    `json:"segment"`      // active, which commits fill
	Spooled     int64     `json:"spooled"`      // bytes in it
	Days        []int64   `json:"days"`         // with data in it, days since 1970
	SegmentRows int64     `json:"segment_rows"` // rows in it
	Rows        int64     `json:"rows"`         // committed
	Datapoints  int64     `json:"datapoints"`
	Repeated    int64     `json:"repeated"` // results of series-windows that had one already
	Counters    Counters  `json:"counters"`
	Attempts    []Attempt `json:"attempts"`
	Replans     []Replan  `json:"replans,omitempty"` // in the order they were made
	SeriesRows  []int64   `json:"series_rows"`       // rows of each of the plan's series
	Inventory   *Part     `json:"inventory,omitempty"`
	Redo        *Redo     `json:"redo,omitempty"`
	Repaired    bool      `json:"repaired,omitempty"` // rebuilt from its parts
}

// Attempt is one process that worked on a job.
type Attempt struct {
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	Exit    *int      `json:"exit"` // nil: running, or crashed when Ended is set
	Reason  string    `json:"reason"`
	Owner   Owner     `json:"owner"`
	Options string    `json:"options,omitempty"` // of the command line, that chose configuration and accounts
	Waits   string    `json:"waits,omitempty"`   // the reason why the job could not continue when the attempt ended
}

// Counters are the sums over all attempts of a job.
type Counters struct {
	RequestsSent     int64   `json:"requests_sent"`
	RequestsRepeated int64   `json:"requests_repeated"`
	Throttled        int64   `json:"throttled"`
	SessionsAssumed  int64   `json:"sessions_assumed"`
	RefusedExpired   int64   `json:"refused_expired"`
	SessionWaits     int64   `json:"session_waits"`     // calls that waited for a refresh, without the first of each session
	FallbackSwitches int64   `json:"fallback_switches"` // between credentials and their fallbacks
	CostUSD          float64 `json:"cost_usd"`          // five statistics of a metric billed once
	CostWorstUSD     float64 `json:"cost_worst_usd"`    // every statistic billed
}

// sessions returns the state of the sessions at present, with the counts of the job.
func (a *Counters) sessions(present StatusSessions) StatusSessions {
	present.Assumed, present.RefusedExpired = a.SessionsAssumed, a.RefusedExpired
	present.Waits, present.Switches = a.SessionWaits, a.FallbackSwitches
	return present
}

// Add adds other counters.
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

// TargetRecord is the state of a target.
type TargetRecord struct {
	Enumerated bool     `json:"enumerated"`
	Denied     *Failure `json:"denied,omitempty"`
	Tolerated  bool     `json:"tolerated,omitempty"` // the denial does not make the job one with failures

	DeniedSince time.Time `json:"denied_since,omitzero"` // counted over all jobs of the directory
	DeniedBy    string    `json:"denied_by,omitempty"`   // identifies the credentials with which it was last denied
	DeniedNew   bool      `json:"denied_new,omitempty"`  // the previous job had no denial of the target

	Planned       int64   `json:"planned"` // instances
	Done          int64   `json:"done"`
	Empty         int64   `json:"empty"`
	Failed        int64   `json:"failed"`
	PointsPlanned int64   `json:"points_planned"` // estimated datapoints
	PointsDone    int64   `json:"points_done"`
	CostPlanned   float64 `json:"cost_planned"` // USD
	WorstPlanned  float64 `json:"worst_planned"`

	Metrics []MetricFailure `json:"metrics,omitempty"` // the slice is replaced, never changed
}

// MetricFailure is a metric that a target lacks in whole or in part, while its other
// metrics are harvested.
type MetricFailure struct {
	Namespace  string   `json:"namespace"`
	Metric     string   `json:"metric,omitempty"`    // empty: all metrics with the dimensions
	Dimensions []string `json:"dimensions"`          // names
	Statistic  string   `json:"statistic,omitempty"` // the only one that is missing; empty: all
	Listing    bool     `json:"listing,omitempty"`   // its instances could not be listed, so their number is unknown
	Failure
}

// Name returns the metric as messages name it.
func (m *MetricFailure) Name() string {
	name := m.Namespace
	if m.Metric != "" {
		name += " " + m.Metric
	}
	if m.Statistic != "" {
		name += " " + m.Statistic
	}
	return name + " by " + strings.Join(m.Dimensions, ",")
}

// FailMetrics adds failed metrics. A metric keeps its first reason.
func (r *TargetRecord) FailMetrics(failed ...MetricFailure) {
	all := slices.Clone(r.Metrics)
	for _, m := range failed {
		if !slices.ContainsFunc(all, func(o MetricFailure) bool { return o.Name() == m.Name() && o.Listing == m.Listing }) {
			all = append(all, m)
		}
	}
	r.Metrics = all
}

// LacksMetric reports whether a metric is missing with all its statistics, which
// another attempt may change.
func (r *TargetRecord) LacksMetric() bool {
	return slices.ContainsFunc(r.Metrics, func(m MetricFailure) bool { return m.Statistic == "" })
}

// Retry makes the target pending again where another attempt may do better. A
// statistic that CloudWatch does not know stays refused.
func (r *TargetRecord) Retry() {
	r.Denied, r.Tolerated = nil, false
	r.Enumerated = r.Enumerated && !slices.ContainsFunc(r.Metrics, func(m MetricFailure) bool { return m.Listing })
	r.Metrics = slices.DeleteFunc(slices.Clone(r.Metrics), func(m MetricFailure) bool { return m.Statistic == "" })
}

// DropRefused forgets the instances for which nothing can be asked, so that the target
// is enumerated again.
func (r *TargetRecord) DropRefused(tx *bolt.Tx, t Target) error {
	instances, progress := tx.Bucket(BucketInstances).Bucket(TargetKey(t)), tx.Bucket(BucketProgress).Bucket(TargetKey(t))
	if instances == nil {
		return nil
	}
	var refused [][]byte
	err := instances.ForEach(func(key, value []byte) error {
		var in Instance
		if err := json.Unmarshal(value, &in); err != nil {
			return fmt.Errorf("instance %q: %w", key, err)
		}
		if in.Refused != nil {
			refused = append(refused, bytes.Clone(key))
		}
		return nil
	})
	for _, key := range refused {
		err = errors.Join(err, instances.Delete(key))
		if progress != nil {
			err = errors.Join(err, progress.Delete(key))
		}
		r.Planned--
		r.Failed--
		r.Enumerated = false
	}
	return err
}

// Pending returns the number of instances without an outcome.
func (r *TargetRecord) Pending() int64 { return r.Planned - r.Done - r.Empty - r.Failed }

// ReadTargets adds all targets to the map.
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

// Intent lists the parts that a sealed segment becomes. A part's size and checksum
// are recorded before its file gets its name. Recovery can therefore tell a
// finished part from a file of somebody else.
type Intent struct {
	Segment uint64 `json:"segment"`
	Bytes   int64  `json:"bytes"` // of the segment
	Parts   []Part `json:"parts"`
	Staged  bool   `json:"staged,omitempty"` // the parts are built and get their names at the end of a redo
}

// Redo is a redo that is in progress: it fetches the rows of some targets again and
// replaces the published ones.
type Redo struct {
	Targets []Target `json:"targets"`
	From    uint64   `json:"from"`     // the first segment with new rows
	OldRows int64    `json:"old_rows"` // of the targets, still in published parts

	// Set when everything is fetched: rewritten parts, which get their names
	// together with the parts of the intents, and the names of the replaced parts.
	Prepared bool     `json:"prepared,omitempty"`
	Parts    []Part   `json:"parts,omitempty"` // old parts without the rows of the targets
	Removes  []string `json:"removes,omitempty"`
}

// Has reports whether the redo includes a target.
func (r *Redo) Has(account, region string) bool {
	return slices.Contains(r.Targets, Target{account, region})
}

// RedoOf returns the redo in progress; nil if there is none.
func RedoOf(tx *bolt.Tx) (*Redo, error) {
	var rec JobRecord
	err := json.Unmarshal(tx.Bucket(BucketMeta).Get(KeyJob), &rec)
	return rec.Redo, err
}

// AddGarbage records output files that the next sweep removes. The transaction that
// makes a file superfluous records it.
func AddGarbage(tx *bolt.Tx, names ...string) error {
	for _, name := range names {
		if err := tx.Bucket(bucketGarbage).Put([]byte(name), nil); err != nil {
			return err
		}
	}
	return nil
}

// DropGarbage withdraws names from the garbage.
func DropGarbage(tx *bolt.Tx, names ...string) error {
	for _, name := range names {
		if err := tx.Bucket(bucketGarbage).Delete([]byte(name)); err != nil {
			return err
		}
	}
	return nil
}

// Garbage returns the names of the output files that the next sweep removes.
func (db *Database) Garbage() (names []string, err error) {
	err = db.look(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketGarbage).ForEach(func(name, _ []byte) error {
			names = append(names, string(name))
			return nil
		})
	})
	return names, err
}

// CreateDatabase writes the database of a new job to a temporary path.
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

// GetJSON decodes a value; an error if the key is missing.
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

// PutJSON encodes and stores a value.
func PutJSON(b *bolt.Bucket, key []byte, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("record %q: %w", key, err)
	}
	return b.Put(key, data)
}
