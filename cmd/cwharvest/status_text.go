package main

import (
	"cmp"
	"cwharvest/cmd/cwharvest/human"
	"fmt"
	"io"
	"strings"
	"time"

	"cwharvest/store"
)

// columns is what a status is laid out for. What lies in a wider terminal may be
// longer, and what a program reads is never cut.
const columns = 80

// printStatus prints a status for people. Its lines have at most 80 columns, but
// for reasons, which have at most width; 0: all that they say.
func printStatus(w io.Writer, s *store.Status, width int) {
	w = human.Writer{Writer: w}
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	row := func(format string, args ...any) { line("%s", fold(fmt.Sprintf(format, args...))) }
	row("%s  %s   %s%s", title(s.Name, s.Shard), rangeText(s.Range), strings.ToUpper(s.State), since(s))
	line("%s", bar(s))
	if text := ended(s); text != "" {
		line("%s", cut(text, width))
	}
	line("")
	t, i := s.Targets, s.Instances
	row("targets    %s", counts(t.Planned, "done", t.Done, "active", t.Active, "pending", t.Pending, "waiting", t.Waiting, "denied", t.Denied))
	row("instances  %s", counts(i.Planned, "done", i.Done, "empty", i.Empty, "failed", i.Failed, "denied", i.Denied, "pending", i.Pending)+unknown(s))
	row("rows       %s in %s files   %s requests, %s repeated, %s throttled", human.Short(s.Rows), human.Number(int64(s.Parts)), human.Number(s.Requests.Sent), human.Number(s.Requests.Repeated), human.Number(s.Requests.Throttled))
	row("cost       $%s of $%s   (worst case $%s of $%s%s)", dollars(s.CostUSD.Spent), dollars(s.CostUSD.Planned), dollars(s.CostUSD.WorstCase), dollars(s.CostUSD.WorstPlanned), limit(s))
	row("sessions   %s", sessions(s))
	if s.Sessions.Switches > 0 {
		row("fallback   %d in use, %s switches", s.Sessions.Fallbacks, human.Number(s.Sessions.Switches))
	}
	if len(s.Redo) > 0 {
		row("redo       %d targets; their old rows stay until all new ones are there", len(s.Redo))
	}
	if n := len(s.Others); n > 0 {
		var nights []string
		for _, r := range s.Others[max(n-3, 0):] {
			nights = append(nights, rangeText(r))
		}
		row("others     finished with failures: %d  %s;  run --night tries them again", n, strings.Join(nights, ",  "))
	}
	printTrouble(line, s, width)
}

// title is the job's name, and which shard it is.
func title(name, shard string) string {
	return strings.TrimSuffix(name+" "+shard, " ")
}

// fold breaks a row that is longer than 80 columns where its groups are apart.
func fold(text string) string {
	const indent = "           "
	var b strings.Builder
	at := 0
	for i, group := range strings.Split(text, "  ") {
		size := len([]rune(group))
		switch {
		case i > 0 && group != "" && at+2+size > columns:
			b.WriteString("\n" + indent)
			at, group = len(indent), strings.TrimLeft(group, " ")
		case i > 0:
			b.WriteString("  ")
			at += 2
		}
		b.WriteString(group)
		at += size
	}
	return b.String()
}

// cut shortens a line to so many characters; 0: it stays as it is.
func cut(line string, width int) string {
	if runes := []rune(line); width > 0 && len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return line
}

// unknown tells of targets whose instances nobody could list.
func unknown(s *store.Status) string {
	n := 0
	for i := range s.TargetDetails {
		if d := &s.TargetDetails[i]; d.State == "denied" && d.Instances == nil {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("  unknown of %s targets", human.Number(int64(n)))
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
	return fmt.Sprintf("  at %s, attempt %d", clock(a.Ended), n)
}

// ended says why nothing goes on, and what then.
func ended(s *store.Status) string {
	switch n := len(s.Attempts); {
	case s.State == "crashed":
		return "killed, or its machine went down; the same command resumes"
	case s.State == "unresponsive":
		return fmt.Sprintf("no sign of process %d on %s; it hangs or is stopped: end it, the same command resumes", s.PID, s.Host)
	case n > 0 && s.State == "stopped":
		return s.Attempts[n-1].Reason
	}
	return ""
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
	text := human.Number(s.Sessions.Assumed) + " assumed"
	if s.Sessions.Open > 0 {
		text = human.Number(int64(s.Sessions.Open)) + " open, " + text
	}
	if !s.Sessions.NextRefresh.IsZero() {
		text += ", next refresh " + clock(s.Sessions.NextRefresh)
	}
	return text + ", " + human.Number(s.Sessions.RefusedExpired) + " expired calls"
}

// bar shows progress by estimated datapoints, which all cost alike.
func bar(s *store.Status) string {
	const width = 40
	done := min(max(s.Progress, 0), 1) // a snapshot may say anything
	full := int(done * width)
	text := fmt.Sprintf("[%s%s] %3d%%", strings.Repeat("#", full), strings.Repeat(".", width-full), int(done*100))
	switch t := &s.Targets; {
	case s.ETASeconds != nil:
		text += "  ETA " + clock(s.Written.Add(time.Duration(*s.ETASeconds*float64(time.Second))))
	case s.Source != "database" && t.Planned == t.Done+t.Denied:
		text += "  writing the last files"
	}
	switch s.Source {
	case "snapshot":
		text += fmt.Sprintf("  (live, %.1fs old)", s.AgeSeconds)
	case "database":
		text += "  (from the database)"
	}
	return text
}

func rangeText(r store.StatusRange) string {
	start, end := r.Start.UTC(), r.End.UTC()
	if end.Sub(start) == 24*time.Hour && start.Truncate(24*time.Hour).Equal(start) {
		return "night " + start.Format(time.DateOnly) + " UTC"
	}
	const minute = "2006-01-02 15:04"
	if start.Format(time.DateOnly) == end.Format(time.DateOnly) {
		return start.Format(minute) + " to " + end.Format("15:04") + " UTC"
	}
	return start.Format(minute) + " to " + end.Format(minute) + " UTC"
}

// counts shows a total and those of its parts that are not zero.
func counts(total int64, parts ...any) string {
	text := human.Number(total) + " "
	for i := 0; i < len(parts); i += 2 {
		if n := parts[i+1].(int64); n > 0 {
			text += fmt.Sprintf(" %s %s ", human.Number(n), parts[i])
		}
	}
	return strings.TrimRight(text, " ")
}

// trouble is what targets of one account have in common.
type trouble struct {
	state, account, region string
	class, reason          string
	note                   string // that is never cut
	targets                int
	new, unknown           bool
}

// printTrouble tells what waits, what is denied, and what to do about what is
// new.
func printTrouble(line func(string, ...any), s *store.Status, width int) {
	const most = 20
	if s.Trouble != nil {
		line("\n%s", cut(fmt.Sprintf("WAITING  writing, since %s: %s", clock(s.Trouble.Since), s.Trouble.Reason), width))
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
		line("%s", t.text(width))
		if fix := t.fix(); fix != "" && !fixes[t.account] {
			fixes[t.account] = true
			line("  fix:   %s", fix)
		}
	}
	if s.Instances.Failed > 0 {
		line("FAILED   %s instances; see: cwharvest status --failed", human.Number(s.Instances.Failed))
	}
}

// fix is what to do about what is new, and what nothing but a person ends.
func (t trouble) fix() string {
	if t.state == "WAITING" {
		text := strings.TrimSuffix(t.reason, "; the run goes on by itself")
		at := strings.LastIndex(text, "; ")
		if t.class != "credentials" || at < 0 {
			return ""
		}
		return text[at+2:]
	}
	if !t.new {
		return ""
	}
	if t.class == "refused" || t.class == "credentials_refused" {
		return "cwharvest policy -c FILE --only " + t.account
	}
	return cmp.Or(remedies[t.class], "run again")
}

// text is one line: what must be cut of it is the reason.
func (t trouble) text(width int) string {
	name := t.account + "/" + t.region
	if t.targets > 1 {
		name = fmt.Sprintf("%s %d regions", t.account, t.targets)
	}
	head, tail, reason := fmt.Sprintf("%-8s %s  ", t.state, name), "", t.class+": "+t.reason
	switch {
	case t.state == "WAITING":
		head, reason = head+t.class+" "+t.note+": ", t.reason
	case t.note != "":
		tail = " (" + t.note + ")"
	}
	if t.unknown {
		reason += " (instances unknown)"
	}
	if t.new {
		tail += "  ** NEW **"
	}
	if room := max(width-len([]rune(head+tail)), 1); width > 0 && len([]rune(reason)) > room {
		reason = cut(gist(t.reason), room)
	}
	return head + reason + tail
}

// gist is a reason without what a person knows or asks for later: the role that
// the account has, and who was refused.
func gist(reason string) string {
	parts := strings.Split(reason, ": ")
	if len(parts) > 1 && strings.HasPrefix(parts[0], "role arn:") {
		parts = parts[1:]
	}
	text, _, _ := strings.Cut(strings.Join(parts, ": "), ": User: ")
	return strings.TrimPrefix(text, "STS ")
}

// troubles puts targets of one account together that have the same trouble: those
// that wait first, then the new ones.
func troubles(s *store.Status) (all []trouble) {
	var waiting, fresh, old []trouble
	for i := range s.TargetDetails {
		d := &s.TargetDetails[i]
		switch {
		case d.State == "waiting":
			waiting = join(waiting, trouble{state: "WAITING", account: d.Account, region: d.Region, class: d.Class, reason: d.Reason, note: waitText(d)})
		case d.State == "denied" && d.New && !d.Tolerated:
			fresh = join(fresh, denied(d, s.Written))
		case d.State == "denied":
			old = join(old, denied(d, s.Written))
		}
	}
	return append(append(waiting, fresh...), old...)
}

func waitText(d *store.TargetDetail) string {
	text := "since " + clock(d.Since)
	if wait := time.Until(d.RetryAt); wait > 0 {
		text += ", retry in " + wait.Round(time.Second).String()
	}
	return text
}

func denied(d *store.TargetDetail, now time.Time) trouble {
	t := trouble{state: "DENIED", account: d.Account, region: d.Region, class: d.Class, new: d.New && !d.Tolerated, reason: d.Reason}
	t.unknown = d.Instances == nil
	day := int(now.Sub(d.Since)/(24*time.Hour)) + 1
	switch {
	case d.Tolerated:
		t.note = fmt.Sprintf("tolerated, day %d", day)
	case !d.New:
		t.note = fmt.Sprintf("day %d", day)
	}
	return t
}

// join adds a trouble to the one before it, if they are alike. Of those that wait
// the first says since when.
func join(all []trouble, t trouble) []trouble {
	t.targets = 1
	if n := len(all); n > 0 {
		like := all[n-1]
		like.region, like.targets = t.region, 1
		if t.state == "WAITING" {
			like.note = t.note
		}
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
	text := fmt.Sprintf("%s %s %s  %s done %s empty %s failed", title(s.Name, s.Shard), s.Range.Start.UTC().Format(time.DateOnly), verdict,
		human.Number(s.Instances.Done), human.Number(s.Instances.Empty), human.Number(s.Instances.Failed))
	if s.Instances.Pending > 0 {
		text += " " + human.Number(s.Instances.Pending) + " pending"
	}
	if n := s.Targets.Pending + s.Targets.Active + s.Targets.Waiting; n > 0 {
		text += "; targets pending: " + human.Number(n)
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
	return human.Printable(text) + fmt.Sprintf("; %s rows, %d files, $%s-%s, %s, exit %d", human.Number(s.Rows), s.Parts,
		dollars(s.CostUSD.Spent), dollars(s.CostUSD.WorstCase), took.Round(100*time.Millisecond), code)
}
