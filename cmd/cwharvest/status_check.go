package main

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"cwharvest/store/record"
)

// defaultMaxAge leaves a run that starts every 24 hours two hours to finish.
const defaultMaxAge = 26 * time.Hour

// checked is the result of `status --check` for one directory.
type checked struct {
	Exit   int    `json:"exit"`
	Reason string `json:"reason"`
}

// checkStatus judges a directory: exitIncomplete if the current job, or another one that was worked on within maxAge, is not complete, or if an earlier night waits;
// exitNoJob if the newest finished night is older than maxAge. A run that is still working is no failure.
func checkStatus(s *record.Status, jobs []record.JobInfo, at time.Time, maxAge time.Duration) checked {
	if reason := incomplete(s); reason != "" {
		return checked{exitIncomplete, reason}
	}
	for i := range s.OpenNights {
		if o := &s.OpenNights[i]; o.State != "running" {
			return checked{exitIncomplete, fmt.Sprintf("%s is %s: %s", rangeText(o.Range), o.State, o.Reason)}
		}
	}
	var last *record.JobInfo
	earlier := 0 // jobs with failures that nothing has worked on within maxAge
	for i := range jobs {
		j := &jobs[i]
		if j.Plan.ID != s.Job && j.State == record.FinishedWithFailures {
			if at.Sub(j.Worked) <= maxAge {
				return checked{exitIncomplete, rangeText(record.StatusRange{Start: j.Plan.Start, End: j.Plan.End}) + " is incomplete"}
			}
			earlier++
		}
		if j.State != record.Unfinished && (last == nil || !j.Plan.End.Before(last.Plan.End)) {
			last = j
		}
	}
	switch {
	case last == nil:
		return checked{exitNoJob, "no night has finished yet; " + rangeText(s.Range) + " is " + s.State}
	case at.Sub(last.Ended) > maxAge:
		return checked{exitNoJob, fmt.Sprintf("no night finished within %s; the last one was %s", maxAgeText(maxAge), finished(last))}
	}
	reason := finished(last)
	if earlier > 0 {
		reason += fmt.Sprintf("; earlier nights with failures: %d", earlier)
	}
	return checked{exitComplete, reason}
}

// incomplete returns the reason why a job is not complete, or "".
func incomplete(s *record.Status) string {
	text := rangeText(s.Range) + " is " + s.State
	denied := s.Targets.Denied - s.Targets.Tolerated
	if denied > 0 {
		text += fmt.Sprintf("; targets denied: %d", denied)
	}
	if s.Instances.Failed > 0 {
		text += fmt.Sprintf("; instances failed: %d", s.Instances.Failed)
	}
	metrics := failedMetrics(s)
	if metrics > 0 {
		text += fmt.Sprintf("; metrics failed: %d", metrics)
	}
	switch s.State {
	case string(record.Finished):
		return ""
	case "running", "waiting":
		if denied+s.Instances.Failed+metrics == 0 {
			return ""
		}
	case "stopped", "crashed", "unresponsive":
		text += "; " + ended(s)
	}
	return text
}

func finished(j *record.JobInfo) string {
	return rangeText(record.StatusRange{Start: j.Plan.Start, End: j.Plan.End}) + ", finished at " + j.Ended.UTC().Format("2006-01-02 15:04:05 UTC")
}

func maxAgeText(d time.Duration) string {
	if d >= time.Hour && d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return d.String()
}

// word is the first word of the line of a check.
func (c checked) word() string {
	return cmp.Or(map[int]string{exitComplete: "OK", exitIncomplete: "INCOMPLETE", exitNoJob: "LATE", exitUnavailable: "UNREACHABLE"}[c.Exit], "ERROR")
}

// readFreeJobs reads the jobs of a directory except those that a run has open.
func readFreeJobs(dir string, s *record.Status) (jobs []record.JobInfo, err error) {
	ids, err := record.JobIDs(dir)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		isOpen := id == s.Job || slices.ContainsFunc(s.OpenNights, func(o record.OpenNight) bool { return o.Job == id })
		if s.Source == "snapshot" && isOpen {
			continue // reading it would wait for the run
		}
		job, err := record.ReadJob(dir, id)
		switch {
		case errors.As(err, new(*record.LockedError)), errors.Is(err, record.ErrNotCreated):
			continue
		case err != nil:
			return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "jobs"), err)
		}
		jobs = append(jobs, job)
	}
	return jobs, nil
}
