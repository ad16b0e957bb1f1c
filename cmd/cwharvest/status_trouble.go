package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"cwharvest/cmd/cwharvest/human"
	"cwharvest/store/record"
)

// trouble is the reason why targets of one account wait or are denied.
type trouble struct {
	state, account, region string
	class, reason, hint    string
	note                   string // printed whole, whatever the width
	targets                int
	new, unknown           bool
}

// printTrouble prints the waiting and the denied targets, and the remedy for those that are new.
func printTrouble(line func(string, ...any), s *record.Status, dir string, width int) {
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
			line("... and %d more; see: %s", len(all)-most, failedCommand(dir))
			break
		}
		line("%s", t.text(width))
		if fix := t.fix(optionsOf(s), dir); fix != "" && !fixes[t.account] {
			fixes[t.account] = true
			line("  fix:   %s", fix)
		}
	}
	if s.Instances.Failed > 0 {
		line("FAILED   %s instances; see: %s", human.Number(s.Instances.Failed), failedCommand(dir))
	}
}

// failedCommand returns the command that lists the failures of a harvest directory.
func failedCommand(dir string) string { return choice{}.look("status --failed", dir) }

// fix returns the remedy for a new denial, or for a wait that only a person can end.
func (t trouble) fix(options, dir string) string {
	if t.state == "WAITING" {
		if t.class != "credentials" {
			return ""
		}
		return strings.TrimSuffix(t.hint, "; the run continues by itself")
	}
	if !t.new {
		return ""
	}
	if (record.Target{Account: t.account}).IsUnidentified() {
		return "" // the reason has it: no command takes such a name
	}
	isOfRole := strings.HasPrefix(t.reason, "role arn:") // of the configuration: its policies can be printed
	if t.class == "credentials_refused" && !isOfRole && t.hint != "" || t.class == "insecure_endpoint" {
		return t.hint
	}
	if t.class == "refused" || t.class == "credentials_refused" {
		return "cwharvest policy " + options + " --only " + t.account
	}
	remedy := cmp.Or(strings.ReplaceAll(remedies[t.class], "OPTIONS", options), "run again")
	if again := runAgain(options, dir); again != "" && strings.HasPrefix(remedy, "run again") {
		return again
	}
	return remedy
}

// runAgain returns the command that works on a directory again, or "" without a configuration file: the options that are recorded do
// not repeat a whole configuration, and never an external id.
func runAgain(options, dir string) string {
	if !strings.HasPrefix(options, "-c ") {
		return ""
	}
	return fmt.Sprintf("cwharvest run %s --dir %s", options, quoteShell(dir))
}

// text formats one line. If it is too long, the reason is cut.
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

// gist shortens a reason by the role of the account and the ARN of the refused caller.
func gist(reason string) string {
	parts := strings.Split(reason, ": ")
	if len(parts) > 1 && strings.HasPrefix(parts[0], "role arn:") {
		parts = parts[1:]
	}
	text, _, _ := strings.Cut(strings.Join(parts, ": "), ": User: ")
	return strings.TrimPrefix(text, "STS ")
}

// troubles groups the targets of an account with the same trouble: first those that wait, then new denials, failed metrics, and
// old denials.
func troubles(s *record.Status) (all []trouble) {
	var waiting, fresh, old, metrics []trouble
	for i := range s.TargetDetails {
		d := &s.TargetDetails[i]
		for n := range d.FailedMetrics {
			m := &d.FailedMetrics[n]
			metrics = append(metrics, trouble{state: "METRIC", account: d.Account, region: d.Region, class: m.Class, reason: m.Message, note: m.Name()})
		}
		switch {
		case d.State == "waiting":
			waiting = join(waiting, trouble{state: "WAITING", account: d.Account, region: d.Region, class: d.Class, reason: d.Reason, hint: d.Hint, note: waitText(d)})
		case d.State == "denied" && d.New && !d.Tolerated:
			fresh = join(fresh, denied(d, s.Written))
		case d.State == "denied":
			old = join(old, denied(d, s.Written))
		}
	}
	slices.SortStableFunc(metrics, func(a, b trouble) int { return cmp.Or(cmp.Compare(a.account, b.account), cmp.Compare(a.note, b.note)) })
	for _, t := range metrics {
		fresh = join(fresh, t)
	}
	return slices.Concat(waiting, fresh, old)
}

// failedMetrics counts the metrics that targets lack, in whole or a statistic of them.
func failedMetrics(s *record.Status) (n int64) {
	for i := range s.TargetDetails {
		n += int64(len(s.TargetDetails[i].FailedMetrics))
	}
	return n
}

func waitText(d *record.TargetDetail) string {
	text := "since " + clock(d.Since)
	if wait := time.Until(d.RetryAt); wait > 0 {
		text += ", retry in " + wait.Round(time.Second).String()
	}
	return text
}

func denied(d *record.TargetDetail, now time.Time) trouble {
	t := trouble{state: "DENIED", account: d.Account, region: d.Region, class: d.Class, new: d.New && !d.Tolerated, reason: d.Reason, hint: d.Hint}
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

// join counts a trouble with the previous one if they are alike. A group that waits keeps the start of its first member.
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
