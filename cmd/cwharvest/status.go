package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"cwharvest/store"

	"github.com/spf13/cobra"
)

const defaultDir = "./harvest"

func dirOf(args []string) string {
	if len(args) == 0 {
		return defaultDir
	}
	return args[0]
}

func newStatus() *cobra.Command {
	var asJSON, failed bool
	c := &cobra.Command{
		Use:   "status [DIR]",
		Short: "Tell how far the open or the latest job of a harvest directory is",
		Long: `Tells how far the open job of a harvest directory is, or how the latest one ended. It
never disturbs a run: while one works, it reads the snapshot the run publishes about once
a second.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := store.ReadStatus(dirOf(args))
			if err != nil {
				return err
			}
			if asJSON {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(s)
			}
			if !failed {
				printStatus(c.OutOrStdout(), s)
				return nil
			}
			all, err := store.ReadFailed(dirOf(args), s)
			if err != nil {
				return err
			}
			printFailed(c.OutOrStdout(), s, all)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	c.Flags().BoolVar(&failed, "failed", false, "list what failed or was denied, why, and what to do")
	return c
}

// printStatus prints a status for people, in at most 80 columns but for
// reasons.
func printStatus(w io.Writer, s *store.Status) {
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	line("%s  %s  %s%s", s.Name, rangeText(s.Range), strings.ToUpper(s.State), since(s))
	line("%s", bar(s))
	line("")
	t, i := s.Targets, s.Instances
	line("targets    %s", counts(t.Planned, "done", t.Done, "active", t.Active, "waiting", t.Waiting, "pending", t.Pending, "denied", t.Denied))
	line("instances  %s", counts(i.Planned, "done", i.Done, "empty", i.Empty, "failed", i.Failed, "denied", i.Denied, "pending", i.Pending))
	line("rows       %s   %s requests, %s repeated, %s throttled", number(s.Rows), number(s.Requests.Sent), number(s.Requests.Repeated), number(s.Requests.Throttled))
	line("cost       $%.4f of $%.4f   (worst case $%.4f of $%.4f)", s.CostUSD.Spent, s.CostUSD.Planned, s.CostUSD.WorstCase, s.CostUSD.WorstPlanned)
	line("sessions   %s assumed%s, %s calls refused as expired", number(s.Sessions.Assumed), open(s), number(s.Sessions.RefusedExpired))
	if s.Sessions.Switches > 0 {
		line("fallback   %d in use, %s switches", s.Sessions.Fallbacks, number(s.Sessions.Switches))
	}
	line("parts      %d", s.Parts)
	if len(s.Redo) > 0 {
		line("redo       %d targets; their old rows stay until all new ones are there", len(s.Redo))
	}
	if s.Instances.Failed > 0 {
		line("\nFAILED   %s instances; see: cwharvest status --failed", number(s.Instances.Failed))
	}
	if s.Trouble != nil {
		line("\nWAITING  writing, since %s: %s", s.Trouble.Since.Format("15:04:05"), s.Trouble.Reason)
	}
	printTrouble(w, s)
}

func since(s *store.Status) string {
	n := len(s.Attempts)
	if n == 0 {
		return ""
	}
	a := s.Attempts[n-1]
	text := fmt.Sprintf("  attempt %d, started %s", n, a.Started.Format("15:04:05"))
	if !a.Ended.IsZero() && a.Reason != "" {
		text += ": " + a.Reason
	}
	return text
}

func open(s *store.Status) string {
	if s.Sessions.Open == 0 {
		return ""
	}
	text := fmt.Sprintf(", %d open", s.Sessions.Open)
	if !s.Sessions.NextRefresh.IsZero() {
		text += ", next refresh " + s.Sessions.NextRefresh.Format("15:04:05")
	}
	return text
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
	if s.ETASeconds != nil && s.Source == "snapshot" {
		text += "  " + time.Duration(*s.ETASeconds*float64(time.Second)).Round(time.Second).String() + " left"
	}
	if s.Source == "snapshot" {
		return text + fmt.Sprintf("  (live, %.1fs old)", s.AgeSeconds)
	}
	return text + "  (from the database)"
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

// printTrouble lists targets that wait or are denied, with what is known.
func printTrouble(w io.Writer, s *store.Status) {
	const most = 20
	shown := 0
	for _, d := range s.TargetDetails {
		if d.State != "waiting" && d.State != "denied" {
			continue
		}
		if shown == 0 {
			fmt.Fprintln(w)
		}
		if shown++; shown > most {
			continue
		}
		unknown := ""
		if d.State == "denied" && d.Instances == nil {
			unknown = " (instances unknown)"
		}
		if d.Tolerated {
			unknown += " (tolerated)"
		}
		fmt.Fprintf(w, "%-8s %s/%s  %s: %s%s\n", strings.ToUpper(d.State), d.Account, d.Region, d.Class, d.Reason, unknown)
	}
	if shown > most {
		fmt.Fprintf(w, "... and %d more; see --json\n", shown-most)
	}
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
		if s.Targets.Tolerated > 0 {
			text += fmt.Sprintf(", %d of them tolerated", s.Targets.Tolerated)
		}
	}
	return text + fmt.Sprintf("; %s rows, %d files, $%.4f-%.4f, %s, exit %d", number(s.Rows), s.Parts,
		s.CostUSD.Spent, s.CostUSD.WorstCase, took.Round(100*time.Millisecond), code)
}
