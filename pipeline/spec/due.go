package spec

import "time"

// Interval is a half-open time range.
type Interval struct{ Start, End time.Time }

func (i Interval) overlaps(o Interval) bool { return i.Start.Before(o.End) && o.Start.Before(i.End) }

func (i Interval) covers(o Interval) bool { return !o.Start.Before(i.Start) && !o.End.After(i.End) }

// Due returns the interval that is due at now, given those of finished jobs
// of the same directory. When none is due, next is when one will be; zero when
// never. An interval that only partly overlaps a finished one is an *Error.
func (s *Spec) Due(now time.Time, finished []Interval) (due *Interval, next time.Time, err error) {
	settled := now.Add(-s.Settle).UTC()
	switch s.Range.Kind {
	case Fixed:
		return s.dueFixed(settled, finished)
	case Last:
		return s.dueLast(settled, finished)
	case SinceLast:
		return s.dueSinceLast(settled, finished)
	default:
		day := yesterday(settled)
		if overlapping(day, finished) != nil {
			return nil, day.End.Add(24*time.Hour + s.Settle), nil
		}
		return &day, time.Time{}, nil
	}
}

// Beside refuses an interval that Freeze has rounded into one that is finished:
// where CloudWatch keeps data coarser, a range may begin earlier than asked.
func (s *Spec) Beside(i Interval, finished []Interval) error {
	if o := overlapping(i, finished); o != nil {
		return s.bad("$.range", "%s to %s, in whole periods, overlaps %s to %s, which this directory holds already: begin and end at full hours, or use another dir",
			i.Start.Format(time.RFC3339), i.End.Format(time.RFC3339), o.Start.Format(time.RFC3339), o.End.Format(time.RFC3339))
	}
	return nil
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

func (s *Spec) dueFixed(settled time.Time, finished []Interval) (*Interval, time.Time, error) {
	want := Interval{s.Range.From, s.Range.To}
	if o := overlapping(want, finished); o != nil {
		if o.covers(want) {
			return nil, time.Time{}, nil
		}
		return nil, time.Time{}, s.bad("$.range", "%s overlaps %s to %s, which this directory holds already: rows would come twice; "+
			"choose a range beside it, or another dir", s.Range, o.Start.Format(time.RFC3339), o.End.Format(time.RFC3339))
	}
	if want.End.After(settled) {
		return nil, time.Time{}, s.bad("$.range", "the range ends at %s, and nothing younger than settle (%s) is asked for: possible from %s on",
			want.End.Format(time.RFC3339), formatDuration(s.Settle), want.End.Add(s.Settle).Format(time.RFC3339))
	}
	return &want, time.Time{}, nil
}

func (s *Spec) dueLast(settled time.Time, finished []Interval) (*Interval, time.Time, error) {
	end := settled.Truncate(s.Period)
	want := Interval{end.Add(-s.Range.Last), end}
	if o := overlapping(want, finished); o != nil {
		last := latest(finished)
		return nil, last.End.Add(s.Range.Last + s.Settle), nil
	}
	return &want, time.Time{}, nil
}

func (s *Spec) dueSinceLast(settled time.Time, finished []Interval) (*Interval, time.Time, error) {
	if len(finished) == 0 {
		day := yesterday(settled)
		return &day, time.Time{}, nil
	}
	want := Interval{latest(finished).End, settled.Truncate(s.Period)}
	if !want.Start.Before(want.End) {
		return nil, want.Start.Add(s.Period + s.Settle), nil
	}
	return &want, time.Time{}, nil
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
