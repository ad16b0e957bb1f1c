package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"cwharvest/store"
)

// printStatus prints a status for people, in at most 80 columns but for
// reasons.
func printStatus(w io.Writer, s *store.Status) {
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	line("%s  %s   %s%s", s.Name, rangeText(s.Range), strings.ToUpper(s.State), since(s))
	line("%s", bar(s))
	line("")
	t, i := s.Targets, s.Instances
	line("targets    %s", counts(t.Planned, "done", t.Done, "active", t.Active, "pending", t.Pending, "waiting", t.Waiting, "denied", t.Denied))
	line("instances  %s", counts(i.Planned, "done", i.Done, "empty", i.Empty, "failed", i.Failed, "denied", i.Denied, "pending", i.Pending))
	line("rows       %s in %d files   %s requests, %s repeated, %s throttled", short(s.Rows), s.Parts, number(s.Requests.Sent), number(s.Requests.Repeated), number(s.Requests.Throttled))
	line("cost       $%s of $%s   (worst case $%s of $%s%s)", dollars(s.CostUSD.Spent), dollars(s.CostUSD.Planned), dollars(s.CostUSD.WorstCase), dollars(s.CostUSD.WorstPlanned), limit(s))
	line("sessions   %s", sessions(s))
	if s.Sessions.Switches > 0 {
		line("fallback   %d in use, %s switches", s.Sessions.Fallbacks, number(s.Sessions.Switches))
	}
	if len(s.Redo) > 0 {
		line("redo       %d targets; their old rows stay until all new ones are there", len(s.Redo))
	}
	printTrouble(line, s)
}

func since(s *store.Status) string {
	n := len(s.Attempts)
	if n == 0 {
		return ""
	}
	a := s.Attempts[n-1]
	if a.Ended.IsZero() {
		return "  since " + clock(a.Started) + ", attempt " + fmt.Sprint(n)
	}
	text := fmt.Sprintf("  at %s, attempt %d", clock(a.Ended), n)
	if a.Reason != "" {
		text += ": " + a.Reason
	}
	return text
}

// clock is a time of day here; with its date unless that is today.
func clock(t time.Time) string {
	t = t.Local()
	if t.Format(time.DateOnly) == time.Now().Format(time.DateOnly) {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04:05")
}

func limit(s *store.Status) string {
	if s.CostUSD.Limit == 0 {
		return ""
	}
	return "; limit $" + dollars(s.CostUSD.Limit)
}

// dollars has cents, and more digits of less than a dollar.
func dollars(usd float64) string {
	if usd < 1 {
		return fmt.Sprintf("%.4f", usd)
	}
	return fmt.Sprintf("%.2f", usd)
}

func sessions(s *store.Status) string {
	text := number(s.Sessions.Assumed) + " assumed"
	if s.Sessions.Open > 0 {
		text = number(int64(s.Sessions.Open)) + " open, " + text
	}
	if !s.Sessions.NextRefresh.IsZero() {
		text += ", next refresh " + clock(s.Sessions.NextRefresh)
	}
	return text + ", " + number(s.Sessions.RefusedExpired) + " calls refused as expired"
}

// bar shows progress by estimated datapoints, which all cost alike.
func bar(s *store.Status) string {
	const width = 40
	share := 0.0
	if s.Estimated.Planned > 0 {
		share = float64(s.Estimated.Done) / float64(s.Estimated.Planned)
	}
	full := int(share * width)
	text := fmt.Sprintf("[%s%s] %3.0f%%", strings.Repeat("#", full), strings.Repeat(".", width-full), share*100)
	if s.Source != "snapshot" {
		return text + "  (from the database)"
	}
	if s.ETASeconds != nil {
		text += "  ETA " + clock(s.Written.Add(time.Duration(*s.ETASeconds*float64(time.Second))))
	}
	return text + fmt.Sprintf("  (live, %.1fs old)", s.AgeSeconds)
}

func rangeText(r store.StatusRange) string {
	start, end := r.Start.UTC(), r.End.UTC()
	if end.Sub(start) == 24*time.Hour && start.Truncate(24*time.Hour).Equal(start) {
		return "night " + start.Format(time.DateOnly) + " UTC"
	}
	const minute = "2006-01-02 15:04"
	return start.Format(minute) + " to " + end.Format(minute) + " UTC"
}

// counts shows a total and those of its parts that are not zero.
func counts(total int64, parts ...any) string {
	text := number(total) + " "
	for i := 0; i < len(parts); i += 2 {
		if n := parts[i+1].(int64); n > 0 {
			text += fmt.Sprintf(" %s %s ", number(n), parts[i])
		}
	}
	return strings.TrimRight(text, " ")
}

// number groups digits by thousands.
func number(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// short is a large number with three digits: 13.8M.
func short(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1fG", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1fM", float64(n)/1e6)
	}
	return number(n)
}

// trouble is what targets of one account have in common.
type trouble struct {
	state, account, region string
	class, reason          string
	targets                int
	new, unknown           bool
}

// printTrouble tells what waits, what is denied, and what to do about what is
// new.
func printTrouble(line func(string, ...any), s *store.Status) {
	const most = 20
	if s.Trouble != nil {
		line("\nWAITING  writing, since %s: %s", clock(s.Trouble.Since), s.Trouble.Reason)
	}
	all := troubles(s)
	if len(all)+int(s.Instances.Failed) > 0 && s.Trouble == nil {
		line("")
	}
	fixes := map[string]bool{}
	for i, t := range all {
		if i == most {
			line("... and %d more; see: cwharvest status --failed", len(all)-most)
			break
		}
		line("%s", t)
		if t.new && !fixes[t.account] {
			fixes[t.account] = true
			line("  fix:   %s", t.fix())
		}
	}
	if s.Instances.Failed > 0 {
		line("FAILED   %s instances; see: cwharvest status --failed", number(s.Instances.Failed))
	}
}

func (t trouble) fix() string {
	if t.class == "refused" || t.class == "credentials_refused" {
		return "cwharvest policy -c FILE --only " + t.account
	}
	return cmp.Or(remedies[t.class], "run again")
}

func (t trouble) String() string {
	name := t.account + "/" + t.region
	if t.targets > 1 {
		name = fmt.Sprintf("%s %d regions", t.account, t.targets)
	}
	text := fmt.Sprintf("%-8s %s  %s", t.state, name, t.reason)
	if t.unknown {
		text += " (instances unknown)"
	}
	if t.new {
		text += "  ** NEW **"
	}
	return text
}

// troubles puts targets of one account together that have the same trouble: those
// that wait first, then the new ones.
func troubles(s *store.Status) (all []trouble) {
	var waiting, fresh, old []trouble
	for i := range s.TargetDetails {
		d := &s.TargetDetails[i]
		switch {
		case d.State == "waiting":
			waiting = join(waiting, trouble{state: "WAITING", account: d.Account, region: d.Region, reason: waitText(d)})
		case d.State == "denied" && d.New && !d.Tolerated:
			fresh = join(fresh, denied(d, s.Written))
		case d.State == "denied":
			old = join(old, denied(d, s.Written))
		}
	}
	return append(append(waiting, fresh...), old...)
}

func waitText(d *store.TargetDetail) string {
	text := d.Class + ": " + d.Reason + ", since " + clock(d.Since)
	if wait := time.Until(d.RetryAt); wait > 0 {
		text += ", retry in " + wait.Round(time.Second).String()
	}
	return text
}

func denied(d *store.TargetDetail, now time.Time) trouble {
	t := trouble{state: "DENIED", account: d.Account, region: d.Region, class: d.Class, new: d.New && !d.Tolerated, unknown: d.Instances == nil}
	t.reason = d.Class + ": " + d.Reason
	day := int(now.Sub(d.Since)/(24*time.Hour)) + 1
	switch {
	case d.Tolerated:
		t.reason += fmt.Sprintf(" (tolerated, day %d)", day)
	case !d.New:
		t.reason += fmt.Sprintf(" (day %d)", day)
	}
	return t
}

// join adds a trouble to the one before it, if they are alike.
func join(all []trouble, t trouble) []trouble {
	t.targets = 1
	if n := len(all); n > 0 {
		like := all[n-1]
		like.region, like.targets = t.region, 1
		if like == t {
			all[n-1].targets++
			return all
		}
	}
	return append(all, t)
}

// lastLine is what a run prints at its end.
func lastLine(s *store.Status, took time.Duration, code int) string {
	verdict := "COMPLETE"
	if code != exitComplete || s.State == string(store.Unfinished) {
		verdict = "INCOMPLETE"
	}
	text := fmt.Sprintf("%s %s %s  %s done %s empty %s failed", s.Name, s.Range.Start.UTC().Format(time.DateOnly), verdict,
		number(s.Instances.Done), number(s.Instances.Empty), number(s.Instances.Failed))
	if s.Instances.Pending > 0 {
		text += " " + number(s.Instances.Pending) + " pending"
	}
	if n := s.Targets.Pending + s.Targets.Active + s.Targets.Waiting; n > 0 {
		text += "; targets pending: " + number(n)
	}
	if s.Targets.Denied > 0 {
		text += fmt.Sprintf("; targets denied: %d", s.Targets.Denied)
		if s.Targets.New > 0 {
			text += fmt.Sprintf(", %d new", s.Targets.New)
		}
		if s.Targets.Tolerated > 0 {
			text += fmt.Sprintf(", %d tolerated", s.Targets.Tolerated)
		}
	}
	return text + fmt.Sprintf("; %s rows, %d files, $%s-%s, %s, exit %d", number(s.Rows), s.Parts,
		dollars(s.CostUSD.Spent), dollars(s.CostUSD.WorstCase), took.Round(100*time.Millisecond), code)
}
