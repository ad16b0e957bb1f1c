package config

import (
	"slices"
	"time"
)

// Interval is a half-open time range.
type Interval struct{ Start, End time.Time }

func (i Interval) overlaps(o Interval) bool { return i.Start.Before(o.End) && o.Start.Before(i.End) }

// Due returns the interval that is due at now, given those of finished jobs
// of the same directory. When none is due, next is when one will be; zero when
// never. Of yesterday only what no job holds is due, the earliest of it first; a
// fixed range that is only partly held is an *Error, for it was asked as a whole.
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

// FollowsClock reports whether more becomes due with every period.
func (c *Config) FollowsClock() bool {
	return c.Night.IsZero() && (c.Range.Kind == SinceLast || c.Range.Kind == Last)
}

// CheckOverlap refuses an interval that Freeze has rounded into one that is finished:
// where CloudWatch keeps data coarser, a range may begin earlier than asked.
func (c *Config) CheckOverlap(i Interval, finished []Interval) error {
	if o := overlapping(i, finished); o != nil {
		return c.errorAt("$.range", "%s to %s, in whole periods, overlaps %s to %s, which this directory holds already: begin and end at full hours, or use another dir",
			i.Start.Format(time.RFC3339), i.End.Format(time.RFC3339), o.Start.Format(time.RFC3339), o.End.Format(time.RFC3339))
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

// dueNight is what of one UTC day no job holds.
func (c *Config) dueNight(now, settled time.Time, finished []Interval) (*Interval, error) {
	day := Interval{c.Night, c.Night.Add(24 * time.Hour)}
	if day.End.After(settled) {
		return nil, c.errorAt("$.range", "the night %s is not over and settled before %s: run again then, or name an earlier one", c.Night.Format(time.DateOnly), day.End.Add(c.Settle).Format(time.RFC3339))
	}
	if missing := c.missing(day, now, finished); len(missing) > 0 {
		return &missing[0], nil
	}
	return nil, nil
}

// yesterday is the last UTC day that is complete at t.
func yesterday(t time.Time) Interval {
	midnight := t.Truncate(24 * time.Hour)
	return Interval{midnight.Add(-24 * time.Hour), midnight}
}

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
		return nil, c.errorAt("$.range", "%s overlaps %s to %s, which this directory holds already: rows would come twice; "+
			"choose a range beside it, or another dir", c.Range, held.Start.Format(time.RFC3339), held.End.Format(time.RFC3339))
	case want.End.After(settled):
		return nil, c.errorAt("$.range", "the range ends at %s, and nothing younger than settle (%s) is asked for: possible from %s on",
			want.End.Format(time.RFC3339), formatDuration(c.Settle), want.End.Add(c.Settle).Format(time.RFC3339))
	}
	return &want, nil
}

// dueLast is what of the last so many hours no job holds, once that is worth a
// job: half of them, or half a day. A run that is later than the last one was
// goes on where that ended, so that nights which begin at different times leave
// nothing out.
func (c *Config) dueLast(now, settled time.Time, finished []Interval) (*Interval, time.Time) {
	end := c.floorToPeriod(settled)
	want := Interval{end.Add(-c.Range.Last), end}
	worth := max(min(c.Range.Last/2, 12*time.Hour), c.Period)
	if len(finished) > 0 {
		if late := want.Start.Sub(latest(finished).End); late > 0 && late < c.Range.Last {
			want.Start = latest(finished).End
		}
	}
	for _, gap := range c.missing(want, now, finished) {
		if gap.End.Sub(gap.Start) >= worth {
			return &gap, time.Time{}
		}
	}
	return nil, c.ceilToPeriod(latest(finished).End.Add(worth)).Add(c.Settle)
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

// missing returns what of an interval no finished job holds. What is shorter
// than a period as CloudWatch keeps it there is not missing: Freeze rounds, so
// a job may end a little before the range that it was made for.
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

// behind returns an interval whose start Freeze will not round into a finished
// one: where that would happen (data that has become coarser since, or another
// period) it starts one period later. It is nil when no whole period is left.
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

// whole rounds a time down to the period, wholeAfter up, on the grid of Freeze.
func (c *Config) floorToPeriod(t time.Time) time.Time {
	return time.Unix(t.Unix()-t.Unix()%c.periodSeconds(), 0).UTC()
}

func (c *Config) ceilToPeriod(t time.Time) time.Time {
	return c.floorToPeriod(t.Add(c.Period - time.Second))
}

func latest(finished []Interval) Interval {
	last := finished[0]
	for _, i := range finished {
		if i.End.After(last.End) {
			last = i
		}
	}
	return last
}
