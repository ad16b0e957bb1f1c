package config

import (
	"time"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store/record"
)

// Replans returns what must be asked instead of a job's windows that have aged
// out: coarser, whole periods of it, or nothing.
func (c *Config) Replans(job *record.Plan, now time.Time) []record.Replan {
	var all []record.Replan
	seen := map[record.Window]bool{}
	for i := range job.Series {
		for _, w := range job.Series[i].Windows {
			if seen[w] || w.Gone() {
				continue
			}
			seen[w] = true
			if is := c.available(w, now); is != w {
				all = append(all, record.Replan{Window: w, Now: is, At: now.UTC()})
			}
		}
	}
	return all
}

// soon is what a run of an older job is given at least before its windows age
// out. What ages out during the run nevertheless fails, and is replanned by the
// next one.
const replanMargin = time.Hour

// answerable is the window as CloudWatch can still answer it, at least soon.
func (c *Config) available(w record.Window, now time.Time) record.Window {
	now = now.Add(min(replanMargin, time.Duration(w.Period)*time.Minute))
	age := now.Sub(time.Unix(w.Start, 0))
	gone := record.Window{Start: w.Start, End: w.Start, Period: w.Period}
	if age > cloudwatch.Oldest {
		return gone
	}
	for _, r := range cloudwatch.Retentions {
		if age <= r.After || w.Period%r.Period == 0 {
			continue
		}
		coarse := roundUp(w.Period, r.Period)
		is := record.Window{Start: roundUp(w.Start, coarse), End: w.End - w.End%coarse, Period: coarse}
		if c.StrictPeriod || is.Gone() {
			return gone
		}
		return is
	}
	return w
}
