package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"cwharvest/pipeline/awssim"
	"cwharvest/pipeline/config"
	"cwharvest/store"

	"github.com/spf13/cobra"
)

func newDemo() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Harvest a simulated AWS, killed half way, and check every row",
		Long: `Serves a simulated AWS as a process of its own, harvests 400 instances in 2 accounts
x 2 regions from it with sessions that live 5 seconds, kills the run half way with
SIGKILL, resumes it, and compares every row of the files with the simulator's function.
Needs no AWS account and talks to loopback only.`,
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := newDemoIn(dir, c.OutOrStdout())
			if err != nil {
				return fmt.Errorf("demo: %w; --dir names another directory", err)
			}
			return d.play(c.Context())
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "where to harvest to (default: a new temporary directory)")
	c.AddCommand(newDemoAWS())
	return c
}

// newDemoAWS serves the simulated AWS to the demo, from the same binary.
func newDemoAWS() *cobra.Command {
	return &cobra.Command{
		Use:    "aws CONFIG",
		Hidden: true,
		Args:   usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			var cfg awssim.Config
			if err := json.Unmarshal([]byte(args[0]), &cfg); err != nil {
				return usageError{fmt.Errorf("simulated AWS: %w", err)}
			}
			return awssim.Serve(c.Context(), cfg, "127.0.0.1:0", c.OutOrStdout())
		},
	}
}

const demoSpec = `job: demo
dir: harvest
range: {from: %s, to: %s}
period: 5m
quota_share: 0.15          # slow enough to be killed half way
defaults: {role_name: metrics-reader, external_id: demo-external-id, regions: [us-east-1, eu-west-1]}
accounts:
  - {id: "111122223333"}
  - {id: "444455556666"}
metrics:
  - {namespace: AWS/EC2, names: [%s], statistics: [Average, Maximum, Minimum]}
`

// demo is one showing: where it plays, and what must come of it.
type demo struct {
	out    io.Writer
	dir    string
	binary string
	url    string // of the simulated AWS
	truth  truth
}

func newDemoIn(dir string, out io.Writer) (*demo, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if dir == "" {
		dir, err = os.MkdirTemp("", "cwharvest-demo-")
	} else {
		err = os.MkdirAll(dir, 0o777)
	}
	if err != nil {
		return nil, err
	}
	today := lastSettled(time.Now())
	d := &demo{out: out, dir: dir, binary: binary}
	d.truth = truth{
		aws: awssim.Config{
			Accounts:     []string{"111122223333", "444455556666"},
			Regions:      []string{"us-east-1", "eu-west-1"},
			Instances:    100,
			RoleName:     "metrics-reader",
			ExternalID:   "demo-external-id",
			SessionLife:  5 * time.Second,
			Latency:      30 * time.Millisecond,
			TrackRepeats: true,
		},
		namespace:  "AWS/EC2",
		metrics:    []string{"CPUUtilization", "EBSReadOps", "EBSWriteOps", "NetworkIn", "NetworkOut"},
		statistics: map[string]string{"average": "Average", "maximum": "Maximum", "minimum": "Minimum"},
		start:      today.Add(-24 * time.Hour),
		end:        today,
		period:     5 * time.Minute,
	}
	spec := fmt.Sprintf(demoSpec, d.truth.start.Format(time.RFC3339), d.truth.end.Format(time.RFC3339),
		strings.Join(d.truth.metrics, ", "))
	return d, os.WriteFile(filepath.Join(dir, "harvest.yaml"), []byte(spec), 0o666)
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// play is the showing, in the order of the night it stands for.
func (d *demo) play(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	aws, err := d.startAWS(ctx)
	if err != nil {
		stop()
		return err
	}
	defer func() {
		stop()
		_ = aws.Wait() // it was killed: not waited for, it may outlive this process
	}()
	if err := d.fault(ctx, `{"kind":"throttle","operation":"GetMetricData","count":6}`); err != nil {
		return err
	}
	if err := d.killedRun(ctx); err != nil {
		return err
	}
	if err := d.command(ctx, "status", d.harvest()); err != nil {
		return err
	}
	if err := d.command(ctx, "run", "-c", d.spec()); err != nil {
		return err
	}
	before, err := d.stats(ctx)
	if err != nil {
		return err
	}
	if err := d.command(ctx, "run", "-c", d.spec()); err != nil {
		return err
	}
	after, err := d.stats(ctx)
	if err != nil {
		return err
	}
	if err := d.command(ctx, "verify", d.harvest()); err != nil {
		return err
	}
	return d.summary(after, after.Total()-before.Total())
}

func (d *demo) spec() string    { return filepath.Join(d.dir, "harvest.yaml") }
func (d *demo) harvest() string { return filepath.Join(d.dir, "harvest") }

// startAWS serves the simulated AWS until ctx ends.
func (d *demo) startAWS(ctx context.Context) (*exec.Cmd, error) {
	settings, err := json.Marshal(d.truth.aws)
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, d.binary, "demo", "aws", string(settings))
	c.Stderr = d.out
	stdout, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("start the simulated AWS: %w", err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("start the simulated AWS: %w", err)
	}
	d.url = strings.TrimSpace(strings.TrimPrefix(line, "listening on "))
	d.say("# the simulated AWS: %s, 2 accounts x 2 regions x 100 instances, sessions live 5s", d.url)
	return c, nil
}

func (d *demo) process(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, d.binary, args...)
	c.Env = append(os.Environ(), awssim.Environment(d.truth.aws, d.url)...)
	c.Stdout, c.Stderr = d.out, d.out
	return c
}

// command shows one command and its output.
func (d *demo) command(ctx context.Context, args ...string) error {
	d.say("\n$ cwharvest %s", strings.Join(args, " "))
	if err := d.process(ctx, args...).Run(); err != nil {
		return fmt.Errorf("demo: cwharvest %s: %w", args[0], err)
	}
	return nil
}

// killedRun starts the run, refuses one of its sessions early, and kills it
// when half of the instances are done.
func (d *demo) killedRun(ctx context.Context) error {
	d.say("\n$ cwharvest run -c %s", d.spec())
	c := d.process(ctx, "run", "-c", d.spec())
	if err := c.Start(); err != nil {
		return fmt.Errorf("demo: start the run: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- c.Wait() }()
	refused := false
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case <-tick.C:
		case err := <-exited:
			return fmt.Errorf("demo: the run ended before it could be killed: %v", err)
		}
		status, err := store.ReadStatus(d.harvest())
		if err != nil {
			continue // not created yet
		}
		if done := status.Instances.Done; !refused && done > 0 {
			if err := d.fault(ctx, `{"kind":"expired","operation":"GetMetricData","count":1}`); err != nil {
				return err
			}
			refused = true
		} else if done*2 >= status.Instances.Planned && done > 0 {
			break
		}
	}
	d.say("# half of the instances are done: kill -9")
	if err := c.Process.Kill(); err != nil {
		return err
	}
	<-exited
	return nil
}

func (d *demo) fault(ctx context.Context, fault string) error {
	return d.admin(ctx, http.MethodPost, "faults", strings.NewReader(fault), nil)
}

func (d *demo) stats(ctx context.Context) (awssim.Stats, error) {
	var stats awssim.Stats
	return stats, d.admin(ctx, http.MethodGet, "stats", nil, &stats)
}

func (d *demo) admin(ctx context.Context, method, path string, body io.Reader, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, d.url+"/_sim/"+path, body)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("demo: simulated AWS: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 300)) // only decorates the error
		return fmt.Errorf("demo: simulated AWS: %s: %s", answer.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(answer.Body).Decode(into)
}

var errDemo = errors.New("demo: rows are missing, duplicate or wrong")

// summary compares every row with the simulator's function and says what the
// night took.
func (d *demo) summary(stats awssim.Stats, idle int) error {
	found, err := d.truth.check(filepath.Join(d.harvest(), "data"))
	if err != nil {
		return err
	}
	status, err := store.ReadStatus(d.harvest())
	if err != nil {
		return err
	}
	roles := 0
	for _, calls := range stats.Roles {
		roles += calls
	}
	d.say("\n# summary, as the simulated AWS counted and the files say")
	d.say("instances         %d (%d done, %d empty, %d failed)", status.Instances.Planned, status.Instances.Done, status.Instances.Empty, status.Instances.Failed)
	d.say("rows              %s in %d files", number(int64(found.rows)), found.files)
	d.say("requests          %d answered, %d at least; %d throttled, %d refused as expired (%d injected)", stats.Answered, d.leastRequests(),
		stats.Throttled, stats.ExpiredEarly+stats.ExpiredInTime, stats.ExpiredEarly)
	d.say("repeated          %d series fetched again because of the kill", stats.Repeated/len(d.truth.statistics))
	d.say("sessions          %d of %d roles in %d calls", stats.Sessions, len(stats.Roles), roles)
	d.say("third run         %d calls (nothing was due)", idle)
	d.say("rows missing/duplicate/wrong  %d/%d/%d", found.missing, found.duplicate, found.wrong)
	d.say("files             %s", filepath.Join(d.harvest(), "data", "date="+d.truth.start.Format(time.DateOnly)))
	if found.bad() || idle != 0 || stats.ExpiredInTime > 0 || status.Instances.Failed+status.Instances.Pending > 0 {
		return errDemo
	}
	return nil
}

// leastRequests is the bound for equal series: all that fits one request.
func (d *demo) leastRequests() int {
	t := &d.truth
	points := int(t.end.Sub(t.start) / t.period)
	perRequest := min(500/len(t.statistics), 100_800/(points*len(t.statistics)))
	perTarget := (t.aws.Instances*len(t.metrics) + perRequest - 1) / perRequest
	return perTarget * len(t.aws.Accounts) * len(t.aws.Regions)
}

// lastSettled is the midnight UTC before which everything has settled.
func lastSettled(now time.Time) time.Time {
	return now.UTC().Add(-config.Default().Settle).Truncate(24 * time.Hour)
}
