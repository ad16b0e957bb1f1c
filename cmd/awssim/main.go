// Command awssim serves the simulated AWS, for tests and benchmarks that need it in
// a process of its own. It prints the environment of a client as commands for a shell,
// and serves until it is interrupted. With -background it returns and leaves a process
// that serves, like ssh-agent:
//
//	eval "$(awssim -background)"
//	kill $AWSSIM_PID
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
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
	background := flag.Bool("background", false, "serve in a process in the background, and return")
	accounts := flag.String("accounts", "111122223333", "account ids, separated by commas")
	regions := flag.String("regions", "us-east-1", "regions that the accounts have enabled, separated by commas")
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
	listener, err := listen(*address)
	if err != nil {
		return err
	}
	if inherited := os.Getenv(inherit) != ""; *background && !inherited {
		return detach(listener, c)
	} else if !inherited {
		printEnvironment(os.Stdout, c, listener, os.Getpid())
	}
	return awssim.Serve(ctx, c, listener)
}

// inherit is the variable that makes the process serve on file descriptor 3.
const inherit = "AWSSIM_INHERIT"

func listen(address string) (net.Listener, error) {
	if os.Getenv(inherit) == "" {
		return net.Listen("tcp", address)
	}
	file := os.NewFile(3, "listener")
	listener, err := net.FileListener(file)
	return listener, errors.Join(err, file.Close())
}

// detach starts a process that serves on the listener, and prints its environment. The process has its own session and none of this
// one's output, so that the command substitution of a shell ends and an interrupt at the terminal does not reach it.
func detach(listener net.Listener, c awssim.Config) error {
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	path, err := os.Executable()
	if err != nil {
		return err
	}
	server := exec.Cmd{
		Path: path, Args: os.Args, Env: append(os.Environ(), inherit+"=1"), ExtraFiles: []*os.File{file},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := server.Start(); err != nil {
		return err
	}
	printEnvironment(os.Stdout, c, listener, server.Process.Pid)
	fmt.Fprintf(os.Stderr, "awssim: process %d listens on %s; end it with: kill $AWSSIM_PID\n", server.Process.Pid, urlOf(listener))
	return server.Process.Release()
}

// printEnvironment prints the environment of a client as commands for a shell. A variable without a value is unset, because the AWS CLI
// takes an empty AWS_PROFILE for the name of a profile.
func printEnvironment(w io.Writer, c awssim.Config, listener net.Listener, pid int) {
	more := []string{"AWS_DEFAULT_REGION=" + c.Regions[0], fmt.Sprintf("AWSSIM_PID=%d", pid)} // the region for the AWS CLI 1
	for _, variable := range append(awssim.Environment(c, urlOf(listener)), more...) {
		name, value, _ := strings.Cut(variable, "=")
		if value == "" {
			fmt.Fprintf(w, "unset %s;\n", name)
			continue
		}
		fmt.Fprintf(w, "export %s='%s';\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	fmt.Fprintf(w, "# listening on %s\n", urlOf(listener))
}

// urlOf returns the URL for a client on this machine.
func urlOf(listener net.Listener) string {
	address := *listener.Addr().(*net.TCPAddr)
	if address.IP.IsUnspecified() {
		address.IP = net.IPv4(127, 0, 0, 1)
	}
	return "http://" + address.String()
}
