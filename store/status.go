package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Status is what `status --json` prints. All counts are committed ones.
type Status struct {
	Version     int         `json:"version"`
	Job         string      `json:"job"`
	Name        string      `json:"name"`
	Shard       string      `json:"shard,omitempty"` // such as 2/4; empty: the job is no shard's
	Range       StatusRange `json:"range"`
	State       string      `json:"state"`  // running, waiting, stopped, crashed, unresponsive, finished, finished_with_failures
	Source      string      `json:"source"` // database or snapshot
	Transaction int         `json:"transaction"`
	Written     time.Time   `json:"written"` // when the snapshot was, or the database was read
	AgeSeconds  float64     `json:"age_seconds"`
	PID         int         `json:"pid"` // of the latest attempt
	Host        string      `json:"host"`

	Instances     InstanceCounts `json:"instances"`
	Targets       TargetCounts   `json:"targets"`
	TargetDetails []TargetDetail `json:"target_details"`

	Rows       int64          `json:"rows"`
	Datapoints int64          `json:"datapoints"`
	Estimated  PointCounts    `json:"estimated_datapoints"`
	Requests   StatusRequests `json:"requests"`
	InFlight   int            `json:"in_flight"`
	Sessions   StatusSessions `json:"sessions"`
	CostUSD    StatusCost     `json:"cost_usd"`
	Progress   float64        `json:"progress"`    // 0 to 1; targets not listed yet are taken for average ones
	ETASeconds *float64       `json:"eta_seconds"` // null while unknown
	Parts      int            `json:"parts"`
	Attempts   []Attempt      `json:"attempts"`
	Trouble    *Trouble       `json:"trouble"` // what holds up writing now; null: nothing

	// Failed are the first instances of which something failed.
	Failed []FailedInstance `json:"failed"`
	// Redo is what is fetched once more; its old rows stay until all is there.
	Redo []Target `json:"redo,omitempty"`

	// Others are the ranges of other jobs that finished with failures, while no run
	// is at work.
	Others []StatusRange `json:"other_failures,omitempty"`

	// EmptyMetrics are those that gave no row at all, once the job is finished.
	EmptyMetrics []string `json:"empty_metrics"`

	left             int64 // estimated datapoints that targets which are not denied have yet
	listed, unlisted int64 // targets; unlisted ones are not denied
}

// StatusVersion is the version of Status's JSON form.
const StatusVersion = 1

// StatusRange is the job's time range.
type StatusRange struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// InstanceCounts partition the instances found: planned is the sum of the rest.
type InstanceCounts struct {
	Planned int64 `json:"planned"`
	Done    int64 `json:"done"`
	Empty   int64 `json:"empty"`
	Failed  int64 `json:"failed"`
	Denied  int64 `json:"denied"`
	Pending int64 `json:"pending"`
}

// TargetCounts partition the targets: planned is the sum of the rest.
type TargetCounts struct {
	Planned int64 `json:"planned"`
	Done    int64 `json:"done"`
	Active  int64 `json:"active"`
	Pending int64 `json:"pending"`
	Waiting int64 `json:"waiting"`
	Denied  int64 `json:"denied"`

	Tolerated int64 `json:"tolerated"` // of those denied
	New       int64 `json:"new"`       // of those denied: the job before had no denial
}

// TargetDetail is one target. A target that could not be enumerated has
// instances unknown, which is not zero: Instances is nil.
type TargetDetail struct {
	Account   string          `json:"account"`
	Region    string          `json:"region"`
	State     string          `json:"state"` // done, active, pending, waiting, denied
	Class     string          `json:"class,omitempty"`
	Reason    string          `json:"reason"`
	Tolerated bool            `json:"tolerated"`      // the denial is
	New       bool            `json:"new"`            // the denial: the job before had none
	Since     time.Time       `json:"since,omitzero"` // of the trouble or the denial, over all jobs
	RetryAt   time.Time       `json:"retry_at,omitzero"`
	Instances *InstanceCounts `json:"instances"`
}

// PointCounts are estimated datapoints: grid points times statistics.
type PointCounts struct {
	Planned int64 `json:"planned"`
	Done    int64 `json:"done"`
}

type StatusRequests struct {
	Sent      int64 `json:"sent"`
	Repeated  int64 `json:"repeated"`
	Throttled int64 `json:"throttled"`
}

type StatusSessions struct {
	Open           int       `json:"open"`
	NextRefresh    time.Time `json:"next_refresh,omitzero"`
	Assumed        int64     `json:"assumed"`
	RefusedExpired int64     `json:"refused_expired"`
	Waits          int64     `json:"waits"`     // calls that waited for a refresh after the first
	Switches       int64     `json:"switches"`  // between credentials and their fallbacks
	Fallbacks      int       `json:"fallbacks"` // in use now
}

// StatusCost is in USD: as billed when five statistics of a metric count once,
// and at worst, when every statistic counts.
type StatusCost struct {
	Spent        float64 `json:"spent"`
	Planned      float64 `json:"planned"` // of the whole job, as far as enumerated, without repeats
	WorstCase    float64 `json:"worst_case"`
	WorstPlanned float64 `json:"worst_planned"`
	Limit        float64 `json:"limit"` // of the worst case, in the running process; 0: none
}

// Live is what only the running process knows.
type Live struct {
	InFlight     int
	OpenSessions int
	NextRefresh  time.Time
	Fallbacks    int                   // in use instead of the credentials they stand in for
	LimitUSD     float64               // that the job may cost at worst; 0: no limit
	Targets      map[Target]LiveTarget // active and waiting ones
}

// LiveTarget is a target that is being worked or held back.
type LiveTarget struct {
	Waiting bool
	Class   string
	Reason  string
	Since   time.Time
	RetryAt time.Time
}

// SetLive sets where snapshots ask for what is not committed.
func (j *Job) SetLive(live func() Live) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.live = live
}

// Status returns the job's status as a snapshot would tell it now.
func (j *Job) Status() (*Status, error) {
	j.mu.Lock()
	live := j.live
	j.mu.Unlock()
	var now Live
	if live != nil {
		now = live()
	}
	j.mu.Lock() // before the transaction: a commit holds it across its own
	defer j.mu.Unlock()
	var s *Status
	err := j.db.view(func(tx *bolt.Tx) (err error) {
		s, err = newStatus(tx, &j.plan, &j.record, j.targets, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.Trouble = j.trouble
	if s.Instances.Pending+s.unlisted > 0 {
		s.setProgress(&j.pace)
	}
	return s, nil
}

// newStatus assembles a status from committed records and what is live.
func newStatus(tx *bolt.Tx, plan *Plan, r *jobRecord, targets map[Target]targetRecord, live Live) (s *Status, err error) {
	s = &Status{
		Version: StatusVersion, Job: plan.ID, Name: plan.Name, Shard: plan.Shard.String(),
		Range:       StatusRange{plan.Start, plan.End},
		State:       string(r.State),
		Source:      "database",
		Transaction: tx.ID(),
		Written:     time.Now().UTC(),
		Rows:        r.Rows, Datapoints: r.Datapoints,
		Requests: StatusRequests{r.Counters.RequestsSent, r.Counters.RequestsRepeated, r.Counters.Throttled},
		Sessions: StatusSessions{live.OpenSessions, live.NextRefresh, r.Counters.SessionsAssumed, r.Counters.RefusedExpired, r.Counters.SessionWaits, r.Counters.FallbackSwitches, live.Fallbacks},
		InFlight: live.InFlight,
		Parts:    tx.Bucket(bucketParts).Stats().KeyN,
		Attempts: slices.Clone(r.Attempts),

		TargetDetails: []TargetDetail{}, // a shard may hold none
	}
	if n := len(r.Attempts); n > 0 {
		s.PID, s.Host = r.Attempts[n-1].Owner.PID, r.Attempts[n-1].Owner.Host
	}
	for t, record := range targets {
		at, isLive := live.Targets[t]
		s.addTarget(t, &record, at, isLive)
	}
	slices.SortFunc(s.TargetDetails, func(a, b TargetDetail) int {
		return compareTargets(Target{a.Account, a.Region}, Target{b.Account, b.Region})
	})
	s.CostUSD.Limit = live.LimitUSD
	s.CostUSD.Spent, s.CostUSD.WorstCase = r.Counters.CostUSD, r.Counters.CostWorstUSD
	s.EmptyMetrics = []string{}
	if r.State != Unfinished && s.Instances.Done+s.Instances.Empty > 0 {
		s.EmptyMetrics = emptyMetrics(plan, r)
	}
	if r.Redo != nil {
		s.Redo = r.Redo.Targets
	}
	s.setProgress(nil)
	s.Failed, err = failed(tx, mostFailures)
	return s, err
}

func (s *Status) addTarget(t Target, r *targetRecord, live LiveTarget, isLive bool) {
	d := TargetDetail{Account: t.Account, Region: t.Region, State: "pending"}
	counts := InstanceCounts{Planned: r.Planned, Done: r.Done, Empty: r.Empty, Failed: r.Failed, Pending: r.pending()}
	s.Targets.Planned++
	switch {
	case r.Denied != nil:
		d.State, d.Class, d.Reason, d.Tolerated = "denied", r.Denied.Class, r.Denied.Message, r.Tolerated
		d.Since, d.New = r.DeniedSince, r.DeniedNew
		if d.New {
			s.Targets.New++
		}
		counts.Denied, counts.Pending = counts.Pending, 0
		s.Targets.Denied++
		if r.Tolerated {
			s.Targets.Tolerated++
		}
	case r.Enumerated && counts.Pending == 0:
		d.State = "done"
		s.Targets.Done++
	case isLive && live.Waiting:
		d.State, d.Class, d.Reason, d.Since, d.RetryAt = "waiting", live.Class, live.Reason, live.Since, live.RetryAt
		s.Targets.Waiting++
	case isLive:
		d.State = "active"
		s.Targets.Active++
	default:
		s.Targets.Pending++
	}
	if r.Enumerated {
		d.Instances = &counts
		s.listed++
	} else if r.Denied == nil {
		s.unlisted++
	}
	if r.Denied == nil {
		s.left += r.PointsPlanned - r.PointsDone
	}
	s.Instances.add(counts)
	s.Estimated.Planned += r.PointsPlanned
	s.Estimated.Done += r.PointsDone
	s.CostUSD.Planned += r.CostPlanned
	s.CostUSD.WorstPlanned += r.WorstPlanned
	s.TargetDetails = append(s.TargetDetails, d)
}

func (a *InstanceCounts) add(b InstanceCounts) {
	a.Planned += b.Planned
	a.Done += b.Done
	a.Empty += b.Empty
	a.Failed += b.Failed
	a.Denied += b.Denied
	a.Pending += b.Pending
}

// emptyMetrics names the series without a row: misspelt names and dimensions
// give nothing, and no error.
func emptyMetrics(plan *Plan, r *jobRecord) []string {
	empty := []string{}
	for i, rows := range r.SeriesRows {
		if rows == 0 {
			s := &plan.Series[i]
			empty = append(empty, s.Namespace+" "+s.Metric+" by "+strings.Join(s.Dimensions, ","))
		}
	}
	return empty
}

// setProgress sets how far the job is, and how long it takes yet at its pace;
// nil: nobody knows.
func (s *Status) setProgress(p *pace) {
	s.Progress, s.ETASeconds = 0, nil
	if s.State == string(Finished) {
		s.Progress = 1
	}
	if s.listed == 0 || s.Estimated.Planned == 0 {
		return
	}
	guess := float64(s.Estimated.Planned) / float64(s.listed) * float64(s.unlisted)
	s.Progress = float64(s.Estimated.Done) / (float64(s.Estimated.Planned) + guess)
	if p == nil || s.Targets.Waiting > 0 && s.Targets.Active == 0 {
		return
	}
	if left, known := p.left(s.Written, float64(s.left)+guess); known {
		s.ETASeconds = &left
	}
}

// ReadStatus returns the status of the open job of a directory, or of the one
// that was worked last. It never disturbs a run: it reads the database when
// nobody holds the directory, the run's last snapshot otherwise. It does not keep
// the directory while it reads: a run that starts meanwhile waits for the one
// database that is being read, and later readers find the directory held.
func ReadStatus(dir string) (*Status, error) {
	if err := exists(dir); err != nil {
		return nil, err
	}
	held, err := isHeld(dir)
	if err != nil {
		return nil, err
	}
	if held {
		return readSnapshot(dir)
	}
	s, err := readLatest(dir)
	if err == nil {
		return s, nil
	}
	held, heldErr := isHeld(dir)
	if held && heldErr == nil || errors.As(err, new(*LockedError)) {
		return readSnapshot(dir) // a run has begun meanwhile, or its lock file was removed
	}
	return nil, err
}

func readLatest(dir string) (*Status, error) {
	jobs, err := readJobs(dir)
	if err != nil {
		return nil, err
	}
	if len(jobs) == 0 {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoJob)
	}
	latest := jobs[len(jobs)-1]
	for _, job := range jobs {
		if latest.State != Unfinished && (job.State == Unfinished || job.Worked.After(latest.Worked)) {
			latest = job
		}
	}
	s, err := readStatus(dir, &latest.Plan)
	if err != nil {
		return nil, err
	}
	for _, job := range jobs {
		if job.State == FinishedWithFailures && !job.Pruned && job.Plan.ID != latest.Plan.ID {
			s.Others = append(s.Others, StatusRange{job.Plan.Start, job.Plan.End})
		}
	}
	return s, nil
}

func readStatus(dir string, plan *Plan) (*Status, error) {
	db, err := openForReading(jobFile(dir, plan.ID, ".db"))
	if err != nil {
		return nil, err
	}
	s, err := db.status(plan)
	return s, errors.Join(err, db.close())
}

// Status returns the status of a job that nobody works on.
func (d *Dir) Status(id string) (*Status, error) {
	job, err := readJob(d.path, id)
	if err != nil {
		return nil, err
	}
	return readStatus(d.path, &job.Plan)
}

// status reads a job that nobody works on.
func (db *database) status(plan *Plan) (s *Status, err error) {
	err = db.view(func(tx *bolt.Tx) error {
		var r jobRecord
		if err := getJSON(tx.Bucket(bucketMeta), keyJob, &r); err != nil {
			return err
		}
		targets := map[Target]targetRecord{}
		if err := readTargets(tx, targets); err != nil {
			return err
		}
		var err error
		if s, err = newStatus(tx, plan, &r, targets, Live{}); err != nil {
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
