package record

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// NewStatus builds a status from committed records and live values.
func NewStatus(tx *bolt.Tx, plan *Plan, r *JobRecord, targets map[Target]TargetRecord, live Live) (s *Status, err error) {
	s = &Status{
		Version: StatusVersion, Job: plan.ID, Name: plan.Name, Shard: plan.Shard.String(),
		Range:       StatusRange{plan.Start, plan.End},
		State:       string(r.State),
		Source:      "database",
		Transaction: tx.ID(),
		Written:     time.Now().UTC(),
		Rows:        r.Rows, Datapoints: r.Datapoints,
		Requests: StatusRequests{r.Counters.RequestsSent, r.Counters.RequestsRepeated, r.Counters.Throttled},
		Sessions: r.Counters.sessions(live.Sessions),
		InFlight: live.InFlight,
		Parts:    tx.Bucket(BucketParts).Stats().KeyN,
		Attempts: slices.Clone(r.Attempts),

		TargetDetails: []TargetDetail{}, // a shard may hold none
		OpenNights:    []OpenNight{},
	}
	if n := len(r.Attempts); n > 0 {
		s.PID, s.Host = r.Attempts[n-1].Owner.PID, r.Attempts[n-1].Owner.Host
	}
	for t, rec := range targets {
		at, isLive := live.Targets[t]
		s.addTarget(t, &rec, at, isLive)
	}
	slices.SortFunc(s.TargetDetails, func(a, b TargetDetail) int {
		return Target{a.Account, a.Region}.Compare(Target{b.Account, b.Region})
	})
	s.CostUSD.Limit = live.LimitUSD
	s.CostUSD.Spent, s.CostUSD.WorstCase = r.Counters.CostUSD, r.Counters.CostWorstUSD
	s.EmptyMetrics = []string{}
	if r.State != Unfinished && s.Instances.Done+s.Instances.Empty > 0 {
		s.EmptyMetrics = emptyMetrics(plan, r, targets)
	}
	if r.Redo != nil {
		s.Redo = r.Redo.Targets
	}
	s.setProgress(nil)
	s.Failed, err = failedInstances(tx, mostFailures)
	return s, err
}

func (s *Status) addTarget(t Target, r *TargetRecord, live LiveTarget, isLive bool) {
	d := TargetDetail{Account: t.Account, Region: t.Region, State: "pending", FailedMetrics: r.Metrics}
	counts := InstanceCounts{Planned: r.Planned, Done: r.Done, Empty: r.Empty, Failed: r.Failed, Pending: r.Pending()}
	s.Targets.Planned++
	switch {
	case r.Denied != nil:
		d.State, d.Class, d.Reason, d.Hint, d.Tolerated = "denied", r.Denied.Class, r.Denied.Message, r.Denied.Hint, r.Tolerated
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
		d.State, d.Class, d.Reason, d.Hint, d.Since, d.RetryAt = "waiting", live.Class, live.Reason, live.Hint, live.Since, live.RetryAt
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
	s.Instances.Add(counts)
	s.Estimated.Planned += r.PointsPlanned
	s.Estimated.Done += r.PointsDone
	s.CostUSD.Planned += r.CostPlanned
	s.CostUSD.WorstPlanned += r.WorstPlanned
	s.TargetDetails = append(s.TargetDetails, d)
}

// Activity returns the state of a job that a process works on.
func (s *Status) Activity() string {
	if s.Trouble != nil || s.Targets.Waiting > 0 && s.Targets.Active == 0 {
		return "waiting"
	}
	return "running"
}

// AsOpen returns the part of an unfinished job's status that the list of open nights has.
func (s *Status) AsOpen() OpenNight {
	t := &s.Targets
	o := OpenNight{Job: s.Job, Range: s.Range, State: s.State, Pending: s.Instances.Pending, Targets: t.Active + t.Pending + t.Waiting}
	if o.State == string(Unfinished) {
		o.State = s.Activity()
	}
	switch o.Reason = s.Waits(); {
	case o.Reason != "":
	case o.State == "crashed":
		o.Reason = "the process was killed or its machine went down"
	case o.State == "stopped" && len(s.Attempts) > 0:
		last := &s.Attempts[len(s.Attempts)-1]
		o.Reason = cmp.Or(last.Waits, last.Reason)
	case o.State == "running":
		o.Reason = fmt.Sprintf("%d of %d instances are done", s.Instances.Planned-s.Instances.Pending, s.Instances.Planned)
	}
	o.Reason = cmp.Or(o.Reason, "the next run continues it")
	return o
}

// Waits returns the reason why a job waits: the trouble of writing, or that of its first
// waiting target; "" if it does not wait.
func (s *Status) Waits() string {
	if s.Trouble != nil {
		return "cannot write: " + s.Trouble.Reason
	}
	for i := range s.TargetDetails {
		d := &s.TargetDetails[i]
		if d.State != "waiting" {
			continue
		}
		text := fmt.Sprintf("%s/%s waits, %s: %s", d.Account, d.Region, d.Class, d.Reason)
		if n := s.Targets.Waiting - 1; n > 0 {
			text += fmt.Sprintf(" (targets that wait with it: %d)", n)
		}
		return text
	}
	return ""
}

// SetOpenNights sets the list of open nights, without the job itself.
func (s *Status) SetOpenNights(open map[string]OpenNight) {
	s.OpenNights = []OpenNight{}
	for id, o := range open {
		if id != s.Job {
			s.OpenNights = append(s.OpenNights, o)
		}
	}
	slices.SortFunc(s.OpenNights, func(a, b OpenNight) int { return a.Range.Start.Compare(b.Range.Start) })
}

// Add adds other counts.
func (a *InstanceCounts) Add(b InstanceCounts) {
	a.Planned += b.Planned
	a.Done += b.Done
	a.Empty += b.Empty
	a.Failed += b.Failed
	a.Denied += b.Denied
	a.Pending += b.Pending
}

// emptyMetrics names the series without a row. CloudWatch returns no error for
// misspelled names and dimensions.
func emptyMetrics(plan *Plan, r *JobRecord, targets map[Target]TargetRecord) []string {
	empty := []string{}
	for i, rows := range r.SeriesRows {
		if s := &plan.Series[i]; rows == 0 && !isRefused(s, targets) {
			empty = append(empty, s.Namespace+" "+s.Metric+" by "+strings.Join(s.Dimensions, ","))
		}
	}
	return empty
}

// isRefused reports whether a target lacks the metric of a series for another reason
// than that nothing publishes it.
func isRefused(s *Series, targets map[Target]TargetRecord) bool {
	for _, t := range targets {
		if slices.ContainsFunc(t.Metrics, func(m MetricFailure) bool {
			return m.Namespace == s.Namespace && (m.Metric == "" || m.Metric == s.Metric) && slices.Equal(m.Dimensions, s.Dimensions)
		}) {
			return true
		}
	}
	return false
}

// timeLeft estimates the seconds until a number of datapoints is fetched; false if
// unknown.
type timeLeft func(now time.Time, datapoints float64) (seconds float64, known bool)

// Estimate sets the time left of a running job.
func (s *Status) Estimate(left timeLeft) {
	if s.Instances.Pending+s.unlisted > 0 {
		s.setProgress(left)
	}
}

// setProgress sets the progress of the job, and its time left unless left is nil.
func (s *Status) setProgress(left timeLeft) {
	s.Progress, s.ETASeconds = 0, nil
	if s.State == string(Finished) {
		s.Progress = 1
	}
	if s.listed == 0 || s.Estimated.Planned == 0 {
		return
	}
	guess := float64(s.Estimated.Planned) / float64(s.listed) * float64(s.unlisted)
	s.Progress = float64(s.Estimated.Done) / (float64(s.Estimated.Planned) + guess)
	if left == nil || s.Targets.Waiting > 0 && s.Targets.Active == 0 {
		return
	}
	if seconds, known := left(s.Written, float64(s.left)+guess); known {
		s.ETASeconds = &seconds
	}
}

// mostFailures limits the failures in a snapshot, which is written every second.
const mostFailures = 100

// failedInstances returns the first failed instances; limit 0: all.
func failedInstances(tx *bolt.Tx, limit int) (all []FailedInstance, err error) {
	all = []FailedInstance{}
	c := tx.Bucket(BucketFailures).Cursor()
	for k, v := c.First(); k != nil && (limit == 0 || len(all) < limit); k, v = c.Next() {
		fields := strings.Split(string(k), "\x00")
		account, region, _ := strings.Cut(fields[0], "/")
		if len(fields) != 4 {
			return nil, fmt.Errorf("failure %q has %d fields, want 4", k, len(fields))
		}
		f := FailedInstance{Account: account, Region: region, Namespace: fields[1], Dimensions: fields[3]}
		if err := json.Unmarshal(v, &f.Failure); err != nil {
			return nil, fmt.Errorf("failure %q: %w", k, err)
		}
		all = append(all, f)
	}
	return all, nil
}
