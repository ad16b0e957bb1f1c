package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"cwharvest/store/record"
)

// morning returns the status of a night with every kind of trouble.
func morning() *record.Status {
	now := time.Now().UTC()
	start := now.Truncate(24*time.Hour).AddDate(0, 0, -1)
	eta := 150.0
	s := &record.Status{
		Name: "nightly-ec2", State: "running", Source: "snapshot", Written: now, AgeSeconds: 0.4,
		Range: record.StatusRange{Start: start, End: start.AddDate(0, 0, 1)}, Attempts: []record.Attempt{{Ended: now}, {Started: now, Options: "-c /etc/harvest.yaml"}},
		Targets:   record.TargetCounts{Planned: 2400, Done: 1620, Active: 64, Pending: 702, Waiting: 1, Denied: 13},
		Instances: record.InstanceCounts{Planned: 9600, Done: 6000, Empty: 336, Pending: 3264},
		Rows:      13_800_000, Requests: record.StatusRequests{Sent: 1702, Repeated: 9, Throttled: 4},
		CostUSD:  record.StatusCost{Spent: 0.51, Planned: 0.77, WorstCase: 1.01, WorstPlanned: 1.54, Limit: 25},
		Sessions: record.StatusSessions{Open: 198, Assumed: 2310, NextRefresh: now},
		Progress: 0.66, ETASeconds: &eta,
	}
	detail := func(account, region, state, class, reason string, d record.TargetDetail) {
		d.Account, d.Region, d.State, d.Class, d.Reason = account, region, state, class, reason
		s.TargetDetails = append(s.TargetDetails, d)
	}
	const refused = "STS AssumeRole: AccessDenied: User: arn:aws:iam::999900001111:role/harvester is not authorized to perform: sts:AssumeRole; check that the role exists"
	for i := range 12 {
		detail("777788889999", fmt.Sprintf("region-%d", i), "denied", "credentials_refused", "role arn:aws:iam::777788889999:role/metrics-reader: "+refused,
			record.TargetDetail{Tolerated: true, Since: now.AddDate(0, 0, -11)})
	}
	detail("888899990000", "me-south-1", "denied", "refused", "GetMetricData: AccessDenied: User: arn:aws:sts::888899990000:assumed-role/reader/x is not authorized to perform: cloudwatch:GetMetricData",
		record.TargetDetail{New: true, Since: now, Instances: &record.InstanceCounts{}})
	detail("444433332222", "eu-west-1", "waiting", "outage", "role arn:aws:iam::444433332222:role/metrics-reader: request send failed, Post https://sts.amazonaws.com: timeout",
		record.TargetDetail{Since: now, RetryAt: now.Add(20500 * time.Millisecond)})
	detail("555566667777", "eu-west-1", "waiting", "credentials", "role arn:aws:iam::555566667777:role/metrics-reader: profile sso has expired: STS AssumeRole: ExpiredToken: over; run: aws sso login --profile sso; the run continues by itself",
		record.TargetDetail{Hint: "run: aws sso login --profile sso; the run continues by itself", Since: now, RetryAt: now.Add(20500 * time.Millisecond)})
	return s
}

func textOf(s *record.Status, width int) string {
	var b bytes.Buffer
	printStatus(&b, s, "harvest", width)
	return b.String()
}

// TestStatusAt80Columns proves that a status fits 80 columns without wrapping.
func TestStatusAt80Columns(t *testing.T) {
	s := morning()
	at := clock(s.Written)
	eta := clock(s.Written.Add(150 * time.Second))
	want := strings.NewReplacer("DAY", s.Range.Start.Format(time.DateOnly), "02:00:04", at, "02:06:00", eta).Replace(`nightly-ec2  night DAY UTC   RUNNING  since 02:00:04, attempt 2
[#######################.............]  66%  ETA 02:06:00  (live, 0.4s old)

targets    2,400  1,620 done  64 active  702 pending  1 waiting  13 denied
instances  9,600  6,000 done  336 empty  3,264 pending  unknown of 12 targets
rows       13.8M in 0 files   1,702 requests, 9 repeated, 4 throttled
cost       $0.5100 of $0.7700   (worst case $1.01 of $1.54; limit $25.00)
sessions   198 open, 2,310 assumed, next refresh 02:00:04, 0 expired calls

WAITING  444433332222/eu-west-1  outage since 02:00:04, retry in 20s: reque…
WAITING  555566667777/eu-west-1  credentials since 02:00:04, retry in 20s: …
  fix:   run: aws sso login --profile sso
DENIED   888899990000/me-south-1  GetMetricData: AccessDenied  ** NEW **
  fix:   cwharvest policy -c /etc/harvest.yaml --only 888899990000
DENIED   777788889999 12 regions  AssumeRole: AccessDenied (tolerated, day 12)
`)
	if got := textOf(s, 80); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestStatusFolds proves that the text of larger jobs is folded to 80 columns, and whole without a width.
func TestStatusFolds(t *testing.T) {
	s := morning()
	s.Name, s.State = "a-job-with-a-name-that-is-rather-long", "finished_with_failures"
	s.Instances = record.InstanceCounts{Planned: 1_000_000, Done: 600_000, Empty: 33_600, Failed: 1_200, Denied: 12_000, Pending: 353_200}
	s.CostUSD = record.StatusCost{Spent: 1234.56, Planned: 2345.67, WorstCase: 12345.67, WorstPlanned: 23456.78, Limit: 25000}
	s.Trouble = &record.Trouble{Reason: strings.Repeat("no space left on device ", 9), Since: s.Written}
	for line := range strings.Lines(textOf(s, 80)) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	whole := textOf(s, 0)
	for _, text := range []string{"is not authorized to perform: cloudwatch:GetMetricData  ** NEW **", "(instances unknown) (tolerated, day 12)", "Post https://sts.amazonaws.com: timeout", strings.TrimSpace(s.Trouble.Reason)} {
		if !strings.Contains(whole, text) {
			t.Errorf("%q is not in\n%s", text, whole)
		}
	}
}

// TestStatusOfWhatHasEnded proves that a job without a working run shows the reason and the next step.
func TestStatusOfWhatHasEnded(t *testing.T) {
	for state, want := range map[string]string{"crashed": "the same command resumes", "unresponsive": "process 17 on host-1 hangs or is stopped", "stopped": "max_duration 1h is over; the same command goes on"} {
		s := morning()
		s.State, s.PID, s.Host = state, 17, "host-1"
		s.Attempts[1].Ended, s.Attempts[1].Reason = s.Written, "max_duration 1h is over; the same command goes on"
		if text := textOf(s, 80); !strings.Contains(text, want) {
			t.Errorf("%s: no %q in\n%s", state, want, text)
		}
	}
}

// TestProgressFitsTheTerminal proves that the display fits a terminal of any size,
// moves up as far as it was drawn, and erases the previous display.
func TestProgressFitsTheTerminal(t *testing.T) {
	var out bytes.Buffer
	width, height := 80, 24
	p := &progress{out: &out, size: func() (int, int) { return width, height }}
	lines := strings.Repeat(strings.Repeat("x", 300)+"\n", 40)
	drawn := 0
	for _, size := range [][2]int{{80, 24}, {200, 50}, {40, 10}, {80, 24}} {
		width, height = size[0], size[1]
		out.Reset()
		p.show(lines, "cwharvest status harvest")
		text := out.String()
		if up := fmt.Sprintf("\r\x1b[%dA", drawn); drawn > 0 && !strings.HasPrefix(text, up) {
			t.Errorf("%v: begins with %q, not %q", size, text[:min(len(text), 10)], up)
		}
		before := drawn
		if drawn = strings.Count(text, "\n"); drawn > height-1 {
			t.Errorf("%v: %d lines", size, drawn)
		}
		for line := range strings.Lines(strings.TrimPrefix(text, fmt.Sprintf("\r\x1b[%dA\x1b[J", before))) {
			if n := len([]rune(line)); n > width {
				t.Errorf("%v: %d columns", size, n)
			}
		}
		if hidden := 40 - height + 2; hidden > 0 && !strings.Contains(text, fmt.Sprintf("and %d more lines", hidden)) {
			t.Errorf("%v: does not say that %d lines are hidden: %q", size, hidden, text[len(text)-80:])
		}
	}
	out.Reset()
	fmt.Fprintln(p, "a line of the log")
	if text, want := out.String(), fmt.Sprintf("\r\x1b[%dA\x1b[Ja line of the log\n", drawn); !strings.HasPrefix(text, want) || strings.Count(text, "\n") != drawn+1 {
		t.Errorf("the log is written %q, not above the display", text)
	}
	out.Reset()
	p.show("", "")
	if text := out.String(); text != fmt.Sprintf("\r\x1b[%dA\x1b[J", drawn) {
		t.Errorf("at the end %q", text)
	}
}
