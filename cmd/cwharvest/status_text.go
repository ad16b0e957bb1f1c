package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"cwharvest/cmd/cwharvest/human"
	"cwharvest/store/record"
)

// columns is the width that the status is laid out for. Reasons may be longer on a wider terminal, and are never cut off a terminal.
const columns = 80

// printStatus prints the status of a directory in lines of at most 80 columns. Only reasons, up to width, and commands may be longer; a
// width of 0 is unlimited.
func printStatus(w io.Writer, s *record.Status, dir string, width int) {
	w = human.Writer{Writer: w}
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	row := func(format string, args ...any) { line("%s", fold(fmt.Sprintf(format, args...))) }
	row("%s  %s   %s%s", title(s.Name, s.Shard), rangeText(s.Range), strings.ToUpper(s.State), since(s))
	row("%s", bar(s))
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
		row("redo       %d targets; their old rows stay until all new ones are published", len(s.Redo))
	}
	if len(s.OpenNights) > 0 {
		line("%s", cut("open       "+openNights(s), width))
	}
	if n := len(s.Others); n > 0 {
		var nights []string
		for _, r := range s.Others[max(n-3, 0):] {
			nights = append(nights, rangeText(r))
		}
		row("others     finished with failures: %d  %s", n, strings.Join(nights, ",  "))
		line("  retry:   %s --night %s", cmp.Or(runAgain(optionsOf(s), dir), "the same command with"), s.Others[n-1].Start.UTC().Format(time.DateOnly))
	}
	printTrouble(line, s, dir, width)
}

// openNights lists in one line the other nights that are not finished, with the reasons.
func openNights(s *record.Status) string {
	const most = 3
	var texts []string
	for i := range s.OpenNights[:min(len(s.OpenNights), most)] {
		o := &s.OpenNights[i]
		text := fmt.Sprintf("%s is %s: %s", rangeText(o.Range), o.State, o.Reason)
		if o.Pending > 0 {
			text = fmt.Sprintf("%s is %s, %s instances pending: %s", rangeText(o.Range), o.State, human.Number(o.Pending), o.Reason)
		}
		texts = append(texts, text)
	}
	if n := len(s.OpenNights) - most; n > 0 {
		texts = append(texts, fmt.Sprintf("and %d more nights", n))
	}
	return strings.ReplaceAll(strings.Join(texts, ";  "), "\n", " ")
}

// title returns the job's name and its shard.
func title(name, shard string) string {
	return strings.TrimSuffix(name+" "+shard, " ")
}

// fold breaks a row that is longer than 80 columns between groups, which two spaces separate.
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

// cut shortens a line to width characters; 0 leaves it as it is.
func cut(line string, width int) string {
	if runes := []rune(line); width > 0 && len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return line
}

// unknown counts the targets whose instances could not be listed.
func unknown(s *record.Status) string {
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

func since(s *record.Status) string {
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

// ended explains why no run is working, and the next step.
func ended(s *record.Status) string {
	switch n := len(s.Attempts); {
	case s.State == "crashed":
		return "the process was killed or its machine went down; the same command resumes"
	case s.State == "unresponsive":
		return fmt.Sprintf("process %d on %s hangs or is stopped; end it, then the same command resumes", s.PID, s.Host)
	case n > 0 && s.State == "stopped":
		return s.Attempts[n-1].Reason
	}
	return ""
}

// clock formats a time of day in UTC, with the date unless that is today.
func clock(t time.Time) string {
	t = t.UTC()
	if t.Format(time.DateOnly) == time.Now().UTC().Format(time.DateOnly) {
		return t.Format("15:04:05 UTC")
	}
	return t.Format("2006-01-02 15:04:05 UTC")
}

func limit(s *record.Status) string {
	if s.CostUSD.Limit == 0 {
		return ""
	}
	return "; limit $" + dollars(s.CostUSD.Limit)
}

// dollars formats an amount with two decimals, or four below one dollar.
func dollars(usd float64) string {
	if usd < 1 {
		return fmt.Sprintf("%.4f", usd)
	}
	return fmt.Sprintf("%.2f", usd)
}

func sessions(s *record.Status) string {
	text := human.Number(s.Sessions.Assumed) + " assumed"
	if s.Sessions.Open > 0 {
		text = human.Number(int64(s.Sessions.Open)) + " open, " + text
	}
	if !s.Sessions.NextRefresh.IsZero() {
		text += ", next refresh " + clock(s.Sessions.NextRefresh)
	}
	return text + ", " + human.Number(s.Sessions.RefusedExpired) + " expired calls"
}

// bar draws the progress, measured in estimated datapoints.
func bar(s *record.Status) string {
	const width = 36
	done := min(max(s.Progress, 0), 1) // a snapshot is not trusted
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

func rangeText(r record.StatusRange) string {
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

// counts formats a total and the parts of it that are not zero.
func counts(total int64, parts ...any) string {
	text := human.Number(total) + " "
	for i := 0; i < len(parts); i += 2 {
		if n := parts[i+1].(int64); n > 0 {
			text += fmt.Sprintf(" %s %s ", human.Number(n), parts[i])
		}
	}
	return strings.TrimRight(text, " ")
}

// lastLine formats the last line of a run.
func lastLine(s *record.Status, took time.Duration, code int) string {
	verdict := "COMPLETE"
	if code != exitComplete || s.State == string(record.Unfinished) {
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
	if n := failedMetrics(s); n > 0 {
		text += "; metrics failed: " + human.Number(n)
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
