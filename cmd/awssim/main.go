// Command awssim serves the simulated AWS, for tests and benchmarks that need it in
// a process of its own. It prints the environment of a client to standard error, and
// its address to standard output.
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
	accounts := flag.String("accounts", "111122223333", "account ids, separated by commas")
	regions := flag.String("regions", "us-east-1", "regions, separated by commas")
	c := awssim.Config{}
	flag.IntVar(&c.Instances, "instances", 100, "instances per account and region")
	flag.StringVar(&c.RoleName, "role-name", "metrics-reader", "roles of every account, separated by commas")
	flag.StringVar(&c.ExternalID, "external-id", "", "external id that AssumeRole requires (default none)")
	flag.DurationVar(&c.SessionLife, "session-life", 0, "duration of every session (0: as requested)")
	flag.DurationVar(&c.MaxSession, "max-session", 12*time.Hour, "maximum session duration of the roles")
	flag.Float64Var(&c.RequestsPerSecond, "requests", 0, "quota of GetMetricData requests per second, account and region (0: no limit)")
	flag.Float64Var(&c.DatapointsPerSecond, "datapoints", 0, "quota of GetMetricData datapoints per second, account and region (0: no limit)")
	flag.DurationVar(&c.Latency, "latency", 0, "added to every response")
	flag.DurationVar(&c.Jitter, "jitter", 0, "largest random addition to the latency")
	clock := flag.Duration("clock", 0, "how far its clock is ahead of this machine's")
	flag.Uint64Var(&c.Seed, "seed", 0, "seed of the random number generator")
	flag.BoolVar(&c.TrackRepeats, "track-repeats", false, "count repeated queries, which takes memory")
	flag.Parse()
	c.Now = func() time.Time { return time.Now().Add(*clock) }
	c.Accounts, c.Regions = strings.Split(*accounts, ","), strings.Split(*regions, ",")
	url := "http://" + *address
	if strings.HasSuffix(url, ":0") {
		url = "http://ADDRESS" // Serve prints the address that it gets
	}
	fmt.Fprintln(os.Stderr, strings.Join(awssim.Environment(c, url), "\n"))
	return awssim.Serve(ctx, c, *address, os.Stdout)
}
