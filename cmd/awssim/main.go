// Command awssim serves the simulated AWS on an address, for tests and
// benchmarks that want it as a process of its own.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"cwharvest/pipeline/awssim"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "awssim:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	address := flag.String("listen", "127.0.0.1:0", "address to serve on")
	accounts := flag.String("accounts", "111122223333", "12-digit account ids, separated by commas")
	regions := flag.String("regions", "us-east-1", "regions, separated by commas")
	c := awssim.Config{}
	flag.IntVar(&c.Instances, "instances", 100, "instances per account and region")
	flag.StringVar(&c.RoleName, "role-name", "metrics-reader", "roles that can be assumed in every account, separated by commas")
	flag.StringVar(&c.ExternalID, "external-id", "", "external id that AssumeRole demands")
	flag.DurationVar(&c.SessionLife, "session-life", 0, "life of a session, whatever is asked (0: as asked)")
	flag.DurationVar(&c.MaxSession, "max-session", 12*time.Hour, "MaxSessionDuration of the roles")
	flag.Float64Var(&c.RequestsPerSecond, "requests", 0, "quota of GetMetricData requests per second, account and region (0: none)")
	flag.Float64Var(&c.DatapointsPerSecond, "datapoints", 0, "quota of estimated datapoints per second (0: none)")
	flag.DurationVar(&c.Latency, "latency", 0, "added to every answer")
	flag.DurationVar(&c.Jitter, "jitter", 0, "random part of the latency")
	clock := flag.Duration("clock", 0, "what its clock is ahead of this machine's")
	flag.Uint64Var(&c.Seed, "seed", 0, "of every random choice")
	flag.BoolVar(&c.TrackRepeats, "track-repeats", false, "remember every series-window answered")
	flag.Parse()
	c.Now = func() time.Time { return time.Now().Add(*clock) }
	c.Accounts, c.Regions = strings.Split(*accounts, ","), strings.Split(*regions, ",")
	url := "http://" + *address
	if strings.HasSuffix(url, ":0") {
		url = "http://ADDRESS" // which it says when it listens
	}
	fmt.Fprintln(os.Stderr, strings.Join(awssim.Environment(c, url), "\n"))
	return awssim.Serve(ctx, c, *address, os.Stdout)
}
