package config

import (
	"slices"
	"time"
)

// Interval is a time range from Start up to, but not including, End.
type Interval struct{ Start, End time.Time }

func (i Interval) String() string {
	return i.Start.Format(time.RFC3339) + " to " + i.End.Format(time.RFC3339)
}

func (i Interval) overlaps(o Interval) bool { return i.Start.Before(o.End) && o.Start.Before(i.End) }

// Due returns the interval to harvest at now, given the intervals of the finished
// jobs in the same directory. It returns only time that no finished job covers,
// the earliest gap first. If nothing is due, it returns nil and the time at which
// something will be, or zero if never. A fixed range that is covered only in part
// is an *Error, because the user named all of it.
func (c *Config) Due(now time.Time, finished []Interval) (due *Interval, next time.Time, err error) {
	settled := now.Add(-c.Settle).UTC()
	if !c.Night.IsZero() {
		due, err = c.dueNight(now, settled, finished)
		return due, next, err
	}
	switch c.Range.Kind {
	case Fixed:
		due, err = c.dueFixed(now, settled, finished)
	case Last:
		due, next = c.dueLast(now, settled, finished)
	case SinceLast:
		due, next = c.dueSinceLast(now, settled, finished)
	default:
		due, next = c.dueYesterday(now, settled, finished)
	}
	return due, next, err
}

// FollowsClock reports whether every period makes more data due.
func (c *Config) FollowsClock() bool {
	return c.Night.IsZero() && (c.Range.Kind == SinceLast || c.Range.Kind == Last)
}

// CheckOverlap returns an *Error if an interval from Freeze overlaps a finished
// one. Freeze rounds to whole periods, so that an interval can begin earlier than
// the configured range where CloudWatch keeps only coarser data.
func (c *Config) CheckOverlap(i Interval, finished []Interval) error {
	if o := overlapping(i, finished); o != nil {
		return c.errorAt("$.range", "%s, in whole periods, overlaps %s, which this directory already contains", i, o).
			withHint("begin and end at full hours, or use another dir")
	}
	return nil
}

func (c *Config) dueYesterday(now, settled time.Time, finished []Interval) (*Interval, time.Time) {
	day := yesterday(settled)
	if missing := c.missing(day, now, finished); len(missing) > 0 {
		return &missing[0], time.Time{}
	}
	return nil, day.End.Add(24*time.Hour + c.Settle)
}

// dueNight returns the first gap in one UTC day, or nil if a job covers all of it.
func (c *Config) dueNight(now, settled time.Time, finished []Interval) (*Interval, error) {
	day := Interval{c.Night, c.Night.Add(24 * time.Hour)}
	if day.End.After(settled) {
		return nil, invalid("the night %s is not over and settled before %s", c.Night.Format(time.DateOnly), day.End.Add(c.Settle).Format(time.RFC3339)).
			withHint("run again then, or name an earlier night")
	}
	if missing := c.missing(day, now, finished); len(missing) > 0 {
		return &missing[0], nil
	}
	return nil, nil
}

// yesterday returns the last UTC day that is complete at t.
func yesterday(t time.Time) Interval {
	midnight := t.Truncate(24 * time.Hour)
	return Interval{midnight.Add(-24 * time.Hour), midnight}
}

// overlapping returns a finished interval that overlaps i, or nil.
func overlapping(i Interval, finished []Interval) *Interval {
	for n := range finished {
		if finished[n].overlaps(i) {
			return &finished[n]
		}
	}
	return nil
}

func (c *Config) dueFixed(now, settled time.Time, finished []Interval) (*Interval, error) {
	want := Interval{c.Range.From, c.Range.To}
	held := overlapping(want, finished)
	switch {
	case held != nil && len(c.missing(want, now, []Interval{*held})) == 0:
		return nil, nil
	case held != nil:
		return nil, c.errorAt("$.range", "%s overlaps %s, which this directory already contains, so rows would be exported twice", c.Range, held).
			withHint("choose a range that does not overlap, or another dir")
	case want.End.After(settled):
		return nil, c.errorAt("$.range", "the range ends at %s, but data younger than settle (%s) is not requested", want.End.Format(time.RFC3339), formatDuration(c.Settle)).
			withHint("run again from %s on", want.End.Add(c.Settle).Format(time.RFC3339))
	}
	return &want, nil
}

// dueLast returns a gap in the last hours that is long enough for a job: half of
// the range, or half a day. If the run begins later than the previous one did, the
// range is extended back to the end of the previous job, so that runs at varying
// times leave no gap.
func (c *Config) dueLast(now, settled time.Time, finished []Interval) (*Interval, time.Time) {
	end := c.floorToPeriod(settled)
	want := Interval{end.Add(-c.Range.Last), end}
	enough := max(min(c.Range.Last/2, 12*time.Hour), c.Period)
	if len(finished) > 0 {
		if late := want.Start.Sub(latest(finished).End); late > 0 && late < c.Range.Last {
			want.Start = latest(finished).End
		}
	}
	for _, gap := range c.missing(want, now, finished) {
		if gap.End.Sub(gap.Start) >= enough {
			return &gap, time.Time{}
		}
	}
	return nil, c.ceilToPeriod(latest(finished).End.Add(enough)).Add(c.Settle)
}

func (c *Config) dueSinceLast(now, settled time.Time, finished []Interval) (*Interval, time.Time) {
	if len(finished) == 0 {
		return c.dueYesterday(now, settled, nil)
	}
	last := latest(finished).End
	due := c.trimStart(Interval{last, c.floorToPeriod(settled)}, now, finished)
	if due == nil {
		return nil, c.ceilToPeriod(last).Add(c.Period + c.Settle)
	}
	return due, time.Time{}
}

// missing returns the parts of an interval that no finished job covers. It leaves
// out parts shorter than the period that CloudWatch keeps there: Freeze rounds to
// whole periods, so a job can end a little before its range does.
func (c *Config) missing(want Interval, now time.Time, finished []Interval) []Interval {
	var gaps []Interval
	add := func(gap Interval) {
		if whole := c.trimStart(gap, now, finished); whole != nil {
			gaps = append(gaps, *whole)
		}
	}
	sorted := slices.SortedFunc(slices.Values(finished), func(a, b Interval) int { return a.Start.Compare(b.Start) })
	for _, held := range sorted {
		if held.overlaps(want) {
			add(Interval{want.Start, held.Start})
			want.Start = held.End
		}
	}
	add(want)
	return gaps
}

// trimStart moves the start of an interval one period later where Freeze would
// round it into a finished interval. That happens when CloudWatch's data has become
// coarser since, or with another period. It returns nil if no whole period is left.
func (c *Config) trimStart(i Interval, now time.Time, finished []Interval) *Interval {
	spans := c.spans(i, now)
	if len(spans) == 0 {
		return nil
	}
	first := time.Unix(spans[0].Start, 0).UTC()
	if first.Before(i.Start) && overlapping(Interval{first, i.Start}, finished) != nil {
		i.Start = first.Add(time.Duration(spans[0].Period) * time.Second)
		return c.trimStart(i, now, finished)
	}
	return &i
}

// floorToPeriod rounds a time down to a multiple of the period, as Freeze does.
func (c *Config) floorToPeriod(t time.Time) time.Time {
	return time.Unix(t.Unix()-t.Unix()%c.gridSeconds(), 0).UTC()
}

// ceilToPeriod rounds a time up to a multiple of the period.
func (c *Config) ceilToPeriod(t time.Time) time.Time {
	return c.floorToPeriod(t.Add(time.Duration(c.gridSeconds()-1) * time.Second))
}

// latest returns the interval that ends last.
func latest(finished []Interval) Interval {
	last := finished[0]
	for _, i := range finished {
		if i.End.After(last.End) {
			last = i
		}
	}
	return last
}
