package record

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Trouble is what holds up writing: a full disk, a place that does not answer.
type Trouble struct {
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

// FailedInstance is an instance of which something failed, with the first
// reason.
type FailedInstance struct {
	Account    string `json:"account"`
	Region     string `json:"region"`
	Namespace  string `json:"namespace"`
	Dimensions string `json:"dimensions"`
	Failure
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

func ReadSnapshot(dir string) (*Status, error) {
	data, err := os.ReadFile(StatusPath(dir))
	if err != nil {
		return nil, err
	}
	var s Status
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", StatusPath(dir), err)
	}
	return &s, nil
}

func StatusPath(dir string) string { return filepath.Join(dir, "status.json") }
