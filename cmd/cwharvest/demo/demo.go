// Package demo harvests a simulated AWS with the program itself: it kills the run half way, resumes it, and compares every row of
// the files with the simulator's function. Only tests and this package of the product know the simulated AWS.
package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"cwharvest/cmd/cwharvest/human"
	"cwharvest/pipeline/awssim"
	"cwharvest/pipeline/cloudwatch"
	"cwharvest/pipeline/config"
	"cwharvest/store/record"
)

const configuration = `job: demo
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

// demo is one demonstration.
type demo struct {
	out      io.Writer
	dir      string
	binary   string // the program itself
	url      string // of the simulated AWS
	expected Expected
}

// Run demonstrates a night in dir, or in a new temporary directory, and prints it to out. It starts this binary several times; the
// command `demo aws` of it must call Serve. The error says so when a row is missing, duplicate or wrong.
func Run(ctx context.Context, dir string, out io.Writer) error {
	d := &demo{out: out, dir: dir, expected: expectedAt(LastSettled(time.Now()))}
	if err := d.prepare(); err != nil {
		return err
	}
	return d.play(ctx)
}

// Serve serves the simulated AWS for Run, as described by one JSON object, until ctx ends.
func Serve(ctx context.Context, settings string, out io.Writer) error {
	var cfg awssim.Config
	if err := json.Unmarshal([]byte(settings), &cfg); err != nil {
		return fmt.Errorf("decode the settings of the simulated AWS: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "listening on http://%s\n", listener.Addr())
	return awssim.Serve(ctx, cfg, listener)
}

func expectedAt(midnight time.Time) Expected {
	return Expected{
		AWS: awssim.Config{
			Accounts:     []string{"111122223333", "444455556666"},
			Regions:      []string{"us-east-1", "eu-west-1"},
			Instances:    100,
			RoleName:     "metrics-reader",
			ExternalID:   "demo-external-id",
			SessionLife:  5 * time.Second,
			Latency:      30 * time.Millisecond,
			TrackRepeats: true,
		},
		Namespace:  "AWS/EC2",
		Metrics:    []string{"CPUUtilization", "EBSReadOps", "EBSWriteOps", "NetworkIn", "NetworkOut"},
		Statistics: map[string]string{"average": "Average", "maximum": "Maximum", "minimum": "Minimum"},
		Start:      midnight.Add(-24 * time.Hour),
		End:        midnight,
		Period:     5 * time.Minute,
	}
}

// prepare makes the directory and writes harvest.yaml.
func (d *demo) prepare() (err error) {
	if d.binary, err = os.Executable(); err != nil {
		return err
	}
	if d.dir == "" {
		d.dir, err = os.MkdirTemp("", "cwharvest-demo-")
	} else {
		err = os.MkdirAll(d.dir, 0o777)
	}
	if err != nil {
		return err
	}
	e := &d.expected
	text := fmt.Sprintf(configuration, e.Start.Format(time.RFC3339), e.End.Format(time.RFC3339), strings.Join(e.Metrics, ", "))
	return os.WriteFile(d.config(), []byte(text), 0o666)
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// play runs the commands of a night in their order.
func (d *demo) play(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	aws, err := d.startAWS(ctx)
	if err != nil {
		stop()
		return err
	}
	defer func() {
		stop()
		_ = aws.Wait() // reports the kill; without the wait the server could outlive this process
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
	if err := d.command(ctx, "run", "-c", d.config()); err != nil {
		return err
	}
	before, err := d.stats(ctx)
	if err != nil {
		return err
	}
	if err := d.command(ctx, "run", "-c", d.config()); err != nil {
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

func (d *demo) config() string  { return filepath.Join(d.dir, "harvest.yaml") }
func (d *demo) harvest() string { return filepath.Join(d.dir, "harvest") }

// startAWS serves the simulated AWS until ctx ends.
func (d *demo) startAWS(ctx context.Context) (*exec.Cmd, error) {
	settings, err := json.Marshal(d.expected.AWS)
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
	c.Env = append(os.Environ(), awssim.Environment(d.expected.AWS, d.url)...)
	c.Stdout, c.Stderr = d.out, d.out
	return c
}

// command prints one command and its output.
func (d *demo) command(ctx context.Context, args ...string) error {
	d.say("\n$ cwharvest %s", strings.Join(args, " "))
	if err := d.process(ctx, args...).Run(); err != nil {
		return fmt.Errorf("cwharvest %s: %w", args[0], err)
	}
	return nil
}

// killedRun starts the run, refuses one of its sessions early, and kills it
// when half of the instances are done.
func (d *demo) killedRun(ctx context.Context) error {
	d.say("\n$ cwharvest run -c %s", d.config())
	c := d.process(ctx, "run", "-c", d.config())
	if err := c.Start(); err != nil {
		return fmt.Errorf("start the run: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- c.Wait() }()
	refused := false
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case <-tick.C:
		case err := <-exited:
			return fmt.Errorf("the run ended before it could be killed: %v", err)
		}
		status, err := record.ReadStatus(d.harvest())
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
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("simulated AWS: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 300)) // only decorates the error
		return fmt.Errorf("simulated AWS: %s: %s", response.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(into)
}

var errDemo = errors.New("rows are missing, duplicate or wrong")

// summary compares every row with the simulator's function and prints requests, sessions and rows.
func (d *demo) summary(stats awssim.Stats, idle int) error {
	found, err := d.expected.Check(filepath.Join(d.harvest(), "data"))
	if err != nil {
		return err
	}
	status, err := record.ReadStatus(d.harvest())
	if err != nil {
		return err
	}
	roles := 0
	for _, calls := range stats.Roles {
		roles += calls
	}
	d.say("\n# summary, as the simulated AWS counted and the files say")
	d.say("instances         %d (%d done, %d empty, %d failed)", status.Instances.Planned, status.Instances.Done, status.Instances.Empty, status.Instances.Failed)
	d.say("rows              %s in %d files", human.Number(int64(found.Rows)), found.Files)
	d.say("requests          %d answered, %d at least; %d throttled, %d refused as expired (%d injected)", stats.Answered, d.leastRequests(),
		stats.Throttled, stats.ExpiredEarly+stats.ExpiredInTime, stats.ExpiredEarly)
	d.say("repeated          %d series fetched again because of the kill", stats.Repeated/len(d.expected.Statistics))
	d.say("sessions          %d of %d roles in %d calls", stats.Sessions, len(stats.Roles), roles)
	d.say("third run         %d calls (nothing was due)", idle)
	d.say("rows missing/duplicate/wrong  %d/%d/%d", found.Missing, found.Duplicate, found.Wrong)
	d.say("files             %s", filepath.Join(d.harvest(), "data", "date="+d.expected.Start.Format(time.DateOnly)))
	if found.Bad() || idle != 0 || stats.ExpiredInTime > 0 || status.Instances.Failed+status.Instances.Pending > 0 {
		return errDemo
	}
	return nil
}

// leastRequests returns the least number of requests for equal series, from the limits of one request.
func (d *demo) leastRequests() int {
	e := &d.expected
	points := int(e.End.Sub(e.Start) / e.Period)
	perRequest := min(cloudwatch.MaxQueries/len(e.Statistics), cloudwatch.MaxDatapoints/(points*len(e.Statistics)))
	perTarget := (e.AWS.Instances*len(e.Metrics) + perRequest - 1) / perRequest
	return perTarget * len(e.AWS.Accounts) * len(e.AWS.Regions)
}

// LastSettled returns the last midnight UTC before which all datapoints have settled by the default settings.
func LastSettled(now time.Time) time.Time {
	return now.UTC().Add(-config.Default().Settle).Truncate(24 * time.Hour)
}
