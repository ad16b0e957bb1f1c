package record

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Trouble is the error that blocks writing now, such as a full disk or an
// unreachable place of output.
type Trouble struct {
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

// FailedInstance is an instance with a failed series-window, and the first reason.
type FailedInstance struct {
	Account    string `json:"account"`
	Region     string `json:"region"`
	Namespace  string `json:"namespace"`
	Dimensions string `json:"dimensions"`
	Failure
}

// Live holds values that only the running process knows.
type Live struct {
	InFlight int
	Sessions StatusSessions        // of this process; the counts of the job are committed
	LimitUSD float64               // of the worst-case cost of the job; 0: none
	Targets  map[Target]LiveTarget // active and waiting ones
}

// LiveTarget is a target that is being fetched or waits.
type LiveTarget struct {
	Waiting bool
	Class   string
	Reason  string
	Hint    string // in Reason, too
	Since   time.Time
	RetryAt time.Time
}

// Status is the status of a job in the form of status.json. Its counts are
// committed.
type Status struct {
	Version     int         `json:"version"`
	Job         string      `json:"job"`
	Name        string      `json:"name"`
	Shard       string      `json:"shard,omitempty"` // 2/4 for example; empty without shards
	Range       StatusRange `json:"range"`
	State       string      `json:"state"`  // running, waiting, stopped, crashed, unresponsive, finished, finished_with_failures
	Source      string      `json:"source"` // database or snapshot
	Transaction int         `json:"transaction"`
	Written     time.Time   `json:"written"` // time of the snapshot, or of reading the database
	AgeSeconds  float64     `json:"age_seconds"`
	PID         int         `json:"pid"` // of the latest attempt
	Host        string      `json:"host"`

	Instances     InstanceCounts `json:"instances"`
	Targets       TargetCounts   `json:"targets"`
	TargetDetails []TargetDetail `json:"target_details"`

	Rows       int64          `json:"rows"`
	Datapoints int64          `json:"datapoints"`
	Estimated  pointCounts    `json:"estimated_datapoints"`
	Requests   StatusRequests `json:"requests"`
	InFlight   int            `json:"in_flight"`
	Sessions   StatusSessions `json:"sessions"`
	CostUSD    StatusCost     `json:"cost_usd"`
	Progress   float64        `json:"progress"`    // 0 to 1; targets that are not listed yet count as average ones
	ETASeconds *float64       `json:"eta_seconds"` // null while unknown
	Parts      int            `json:"parts"`
	Attempts   []Attempt      `json:"attempts"`
	Trouble    *Trouble       `json:"trouble"` // null: nothing blocks writing

	// Failed are the first failed instances.
	Failed []FailedInstance `json:"failed"`
	// Redo are the targets that are fetched again. Their old rows stay until all new
	// ones are there.
	Redo []Target `json:"redo,omitempty"`

	// Others are the ranges of other jobs that finished with failures. It is set
	// while no process works in the directory.
	Others []StatusRange `json:"other_failures,omitempty"`

	// OpenNights are the other jobs that are not finished, in the order of their ranges.
	OpenNights []OpenNight `json:"open_nights"`

	// EmptyMetrics are the metrics without a row, once the job is finished.
	EmptyMetrics []string `json:"empty_metrics"`

	left             int64 // estimated datapoints that are still to be fetched
	listed, unlisted int64 // targets; denied ones do not count as unlisted
}

// StatusVersion is the version of Status's JSON form.
const StatusVersion = 1

// StatusRange is the job's time range.
type StatusRange struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// OpenNight is a job that is not finished, and the reason.
type OpenNight struct {
	Job     string      `json:"job"`
	Range   StatusRange `json:"range"`
	State   string      `json:"state"`           // running, waiting, stopped or crashed
	Pending int64       `json:"pending"`         // instances, as far as they are listed
	Targets int64       `json:"pending_targets"` // that are neither done nor denied
	Reason  string      `json:"reason"`
}

// InstanceCounts divides the instances by outcome: Planned is the sum of the others.
type InstanceCounts struct {
	Planned int64 `json:"planned"`
	Done    int64 `json:"done"`
	Empty   int64 `json:"empty"`
	Failed  int64 `json:"failed"`
	Denied  int64 `json:"denied"`
	Pending int64 `json:"pending"`
}

// TargetCounts divides the targets by state: Planned is the sum of the others up to
// Denied.
type TargetCounts struct {
	Planned int64 `json:"planned"`
	Done    int64 `json:"done"`
	Active  int64 `json:"active"`
	Pending int64 `json:"pending"`
	Waiting int64 `json:"waiting"`
	Denied  int64 `json:"denied"`

	Tolerated int64 `json:"tolerated"` // of those denied
	New       int64 `json:"new"`       // of those denied: not denied in the previous job
}

// TargetDetail is the state of one target. Instances is nil if the target was not
// enumerated: their number is unknown, not zero.
type TargetDetail struct {
	Account   string          `json:"account"`
	Region    string          `json:"region"`
	State     string          `json:"state"` // done, active, pending, waiting, denied
	Class     string          `json:"class,omitempty"`
	Reason    string          `json:"reason"`
	Hint      string          `json:"hint,omitempty"` // the next step, which Reason has, too
	Tolerated bool            `json:"tolerated"`      // the denial does not make the job one with failures
	New       bool            `json:"new"`            // the target was not denied in the previous job
	Since     time.Time       `json:"since,omitzero"` // start of the trouble or the denial, over all jobs
	RetryAt   time.Time       `json:"retry_at,omitzero"`
	Instances *InstanceCounts `json:"instances"`

	// FailedMetrics are metrics that the target lacks, in whole or a statistic of
	// them, while it delivers the others.
	FailedMetrics []MetricFailure `json:"failed_metrics,omitempty"`
}

// pointCounts are estimated datapoints: timestamps times statistics.
type pointCounts struct {
	Planned int64 `json:"planned"`
	Done    int64 `json:"done"`
}

// StatusRequests counts requests to CloudWatch.
type StatusRequests struct {
	Sent      int64 `json:"sent"`
	Repeated  int64 `json:"repeated"`
	Throttled int64 `json:"throttled"`
}

// StatusSessions describes the sessions of a credential manager at present and
// counts its work: for a process, or over all attempts of a job.
type StatusSessions struct {
	Open           int       `json:"open"`
	NextRefresh    time.Time `json:"next_refresh,omitzero"`
	Assumed        int64     `json:"assumed"`
	RefusedExpired int64     `json:"refused_expired"`
	Waits          int64     `json:"waits"`     // calls that waited for a refresh, without the first of each session
	Switches       int64     `json:"switches"`  // between credentials and their fallbacks
	Fallbacks      int       `json:"fallbacks"` // in use now
}

// StatusCost is in USD. The expected cost counts five statistics of a metric once,
// the worst case counts every statistic.
type StatusCost struct {
	Spent        float64 `json:"spent"`
	Planned      float64 `json:"planned"` // of the whole job as far as enumerated, without repeated requests
	WorstCase    float64 `json:"worst_case"`
	WorstPlanned float64 `json:"worst_planned"`
	Limit        float64 `json:"limit"` // of the worst case, in the running process; 0: none
}

// ReadSnapshot reads the status that a run published last.
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

// StatusPath returns the path of the published status.
func StatusPath(dir string) string { return filepath.Join(dir, "status.json") }
