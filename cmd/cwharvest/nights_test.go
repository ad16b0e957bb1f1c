package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"
	"cwharvest/pipeline/config"
)

// calendar counts the nights and numbers the special ones.
type calendar struct {
	count   int
	missed  int // nothing runs
	named   int // a run names the missed night
	changed int // the accounts are others from here on
}

// nights are many runs of one directory under a clock of their own.
type nights struct {
	*night
	calendar
	rng   *rand.Rand
	kind  string // the range
	real  []string
	clock time.Time // of the last run
	took  time.Duration
	owed  []string // nights that a range of yesterday left behind, to be named

	kills, abandoned int
}

var nightAccounts = []string{"111122223333", "444455556666", "777788889999"}

// TestThirtyNights proves that every row of thirty nights, twelve in a slice, is
// in one directory once. Runs start at odd hours or late, are killed and resumed
// the same night or the next; one is left out, and the accounts change midway.
func TestThirtyNights(t *testing.T) {
	for i, kind := range []string{"yesterday", "since_last"} {
		t.Run(fmt.Sprintf("%s, seed %d", kind, i), func(t *testing.T) {
			t.Parallel()
			n := newNights(t, kind, uint64(i))
			n.configure(nightAccounts[:2])
			var before time.Time // the end of what the first accounts have
			for k := range n.count {
				if k == n.changed {
					before = n.heldUntil()
					n.configure(nightAccounts[1:])
				}
				n.pass(k)
			}
			n.truth.End = n.heldUntil()
			n.truth.Within = map[string]config.Interval{
				nightAccounts[0]: {Start: n.truth.Start, End: before},
				nightAccounts[2]: {Start: before, End: n.truth.End},
			}
			found := n.check()
			n.verify()
			n.refuses()
			t.Logf("%d nights, %d kills, %d nights left open, %d rows in %d files", n.count, n.kills, n.abandoned, found.Rows, found.Files)
		})
	}
}

func newNights(t *testing.T, kind string, seed uint64) *nights {
	t.Helper()
	n := &nights{calendar: sized(calendar{12, 3, 5, 6}, calendar{30, 8, 12, 15}), kind: kind, rng: rand.New(rand.NewPCG(seed, 30))}
	n.night = newNight(t, awssim.Config{
		Accounts: nightAccounts, Regions: []string{"us-east-1"}, Instances: 8, Latency: 20 * time.Millisecond,
		TrackRepeats: true, Seed: seed,
	}, 5*time.Minute, n.count+1, []string{"CPUUtilization", "NetworkIn"}, []string{"Average", "Maximum"}, "")
	n.real, n.took = n.env, 300*time.Millisecond
	return n
}

func (n *nights) configure(accounts []string) {
	n.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "dir: harvest\nrange: %s\naccounts:\n", n.kind)
	for _, id := range accounts {
		fmt.Fprintf(&text, "  - {id: %q, role_name: metrics-reader, external_id: x1, regions: [us-east-1]}\n", id)
	}
	text.WriteString("metrics: [{namespace: AWS/EC2, names: [CPUUtilization, NetworkIn], statistics: [Average, Maximum]}]\n")
	if err := os.WriteFile(filepath.Join(n.dir, "harvest.yaml"), []byte(text.String()), 0o666); err != nil {
		n.Fatal(err)
	}
}

// set moves the program's clock to the middle of a period, so that a slow run ends
// in the period in which it began.
func (n *nights) set(clock time.Time) {
	n.clock = clock.Truncate(5 * time.Minute).Add(time.Minute)
	n.env = append(slices.Clip(n.real), testClock+"="+n.clock.Format(time.RFC3339))
}

// day is the day on which night k is harvested: the one after it.
func (n *nights) day(k int) time.Time { return n.truth.Start.AddDate(0, 0, k+1) }

// heldUntil returns the end of the range that must be held after a complete run.
func (n *nights) heldUntil() time.Time {
	settled := n.clock.Add(-config.Default().Settle)
	if n.kind == "yesterday" {
		return settled.Truncate(24 * time.Hour)
	}
	return settled.Truncate(n.truth.Period)
}

// pass runs one night, complete or not.
func (n *nights) pass(k int) {
	n.Helper()
	name := n.day(k).AddDate(0, 0, -1).Format(time.DateOnly)
	if k == n.missed {
		n.owed = append(n.owed, name)
		return
	}
	begin := n.day(k).Add(time.Hour + time.Duration(n.rng.IntN(60*21))*time.Minute)
	if k%7 == 5 {
		begin = n.day(k).Add(19 * time.Hour)
	}
	n.set(begin)
	for n.rng.IntN(5) < 2 && n.kill() {
		switch whole := k == 0 || k == n.count-1 || k == n.changed-1; {
		case n.rng.IntN(3) == 0 && !whole: // left until the next night
			n.abandoned++
			n.owed = append(n.owed, name)
			return
		case n.rng.IntN(2) == 0: // later on the same day
			left := n.day(k + 1).Sub(n.clock)
			n.set(n.clock.Add(time.Duration(n.rng.Int64N(int64(left)))))
		}
	}
	started := time.Now()
	n.run()
	n.took = time.Since(started)
	if k == 0 && n.kind == "since_last" {
		n.run() // the first job covers yesterday, the next everything since
	}
	n.nothingDue()
	n.name(k)
}

// kill starts a run and kills it at a random moment. It returns false if the run
// had already completed.
func (n *nights) kill(flags ...string) bool {
	n.Helper()
	killed := n.killed(time.Duration(n.rng.Int64N(int64(n.took))), flags...)
	if killed {
		n.kills++
	}
	return killed
}

// name harvests by date the nights that a range of yesterday left behind: killed
// nights the night after, and the missed night some nights later. A range of since_last has caught up.
func (n *nights) name(k int) {
	n.Helper()
	missed := n.day(n.missed).AddDate(0, 0, -1).Format(time.DateOnly)
	n.owed = slices.DeleteFunc(n.owed, func(night string) bool {
		if night == missed && k < n.named {
			return false
		}
		if n.kind == "since_last" {
			n.nothingDue("--night", night)
			return true
		}
		for n.rng.IntN(3) == 0 && n.kill("--night", night) {
		}
		n.run("--night", night)
		n.nothingDue("--night", night)
		return true
	})
}

// nothingDue checks that a run reports that nothing is due and calls nothing.
func (n *nights) nothingDue(flags ...string) {
	n.Helper()
	calls := n.sim.Stats().Total()
	output := n.run(flags...)
	if !strings.HasPrefix(output, "nothing due: ") || strings.Count(output, "\n") != 1 {
		n.Fatalf("%s at %v: %s", flags, n.clock, output)
	}
	if len(flags) == 2 && !strings.Contains(output, "the night "+flags[1]+" is finished") {
		n.Errorf("%s: %s", flags, output)
	}
	if more := n.sim.Stats().Total() - calls; more != 0 {
		n.Errorf("%s: %d calls to do nothing", flags, more)
	}
}

// refuses names nights that are held, and some that cannot be.
func (n *nights) refuses() {
	n.Helper()
	calls := n.sim.Stats().Total()
	for k := range n.count {
		if k%9 == 8 || k == n.missed {
			n.nothingDue("--night", n.day(k-1).Format(time.DateOnly))
		}
	}
	today := n.clock.Format(time.DateOnly)
	for night, want := range map[string]string{
		today:        "cwharvest: the night " + today + " is not over and settled before ",
		"2999-01-01": "the night 2999-01-01 is not over and settled before 2999-01-02T00:30:00Z",
		"nonsense":   `--night "nonsense": write a UTC day, such as 2026-11-20`,
		"2026-13-01": `--night "2026-13-01": write a UTC day, such as 2026-11-20`,
	} {
		c, output := n.command("run", "-c", "harvest.yaml", "--night", night)
		err := c.Run()
		if text := output.String(); c.ProcessState.ExitCode() != exitUsage || !strings.Contains(text, want) || strings.Count(text, "\n") != 1 {
			n.Errorf("--night %s: %v, %s", night, err, text)
		}
	}
	if more := n.sim.Stats().Total() - calls; more != 0 {
		n.Errorf("%d calls to refuse", more)
	}
}
