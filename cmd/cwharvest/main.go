// Command cwharvest exports CloudWatch metrics of EC2 fleets. The same command runs every night: it resumes an interrupted job, or
// starts the one that is due, or reports that nothing is. `cwharvest status` shows the progress.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"cwharvest/pipeline/config"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func main() {
	os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs one command line and returns its exit code. Data go to stdout, messages to stderr. Every error is printed here, once.
func execute(args []string, stdout, stderr io.Writer) int {
	if p := newProgress(stderr); p != nil {
		stderr = p // so that no output breaks the display
	}
	ctx, stop := interruptible()
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	c, err := root.ExecuteContextC(ctx)
	if by, signalled := context.Cause(ctx).(interruptedError); signalled && err != nil && endedBy(by, err) {
		err = by // the interrupt is the only error
	}
	if err != nil {
		printError(stderr, err, choiceOf(c))
	}
	return exitCode(err)
}

// endedBy reports whether an error says nothing but that the signal ended the calls: each of several must.
func endedBy(by interruptedError, err error) bool {
	if several, joined := err.(interface{ Unwrap() []error }); joined {
		return !slices.ContainsFunc(several.Unwrap(), func(e error) bool { return !endedBy(by, e) })
	}
	if inner := errors.Unwrap(err); inner != nil {
		return endedBy(by, inner)
	}
	return err == context.Canceled || err == error(by)
}

// printError prints a line for each thing that happened: the fact, and the hint behind a semicolon.
func printError(w io.Writer, err error, by choice) {
	if usage, ok := err.(usageError); ok {
		if several, joined := usage.error.(interface{ Unwrap() []error }); joined {
			for _, e := range several.Unwrap() {
				printError(w, usageError{error: e, hint: usage.hint}, by)
			}
			return
		}
	}
	if several, joined := err.(interface{ Unwrap() []error }); joined && strings.Contains(err.Error(), "\n") {
		for _, e := range several.Unwrap() {
			printError(w, e, by)
		}
		return
	}
	if errors.As(err, new(*outcomeError)) {
		return // its reason has been printed
	}
	fmt.Fprintf(w, "cwharvest: %s\n", withHint(err, by))
}

// withHint returns the fact and the hint of an error on one line.
func withHint(err error, by choice) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if next := hint(err, by); next != "" {
		text += "; " + next
	}
	return text
}

// newRoot sets no Version: cobra's template for it calls methods by their names, so that the linker could drop none and the program
// would be twice as large.
func newRoot() *cobra.Command {
	var version bool
	root := &cobra.Command{
		Use:           "cwharvest",
		Short:         "Exports the CloudWatch metrics of an EC2 fleet every night, and finishes.",
		Args:          usage(cobra.NoArgs),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			if !version {
				return c.Help()
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), readBuild().line())
			return err
		},
	}
	root.Flags().BoolVar(&version, "version", false, "print the version")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{error: fmt.Errorf("%w%s; see %s --help", err, meantFlag(c, err), c.CommandPath())}
	})
	addGroup(root, "harvest", "Harvest:", newRun(), newPlan(), newStatus())
	addGroup(root, "data", "Work with the results:", newVerify(), newExport(), newDDL(), newRepair(), newPrune())
	addGroup(root, "setup", "Set up:", newInit(), newDoctor(), newPolicy(), newSchema(), newDemo())
	addGroup(root, "other", "About the program:", newVersion(), newMan())
	root.SetHelpCommand(newHelp())
	root.SetHelpCommandGroupID("other")
	root.SetCompletionCommandGroupID("other")
	addHelp(root)
	return root
}

// addGroup adds commands under a heading of the help.
func addGroup(root *cobra.Command, id, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: id, Title: title})
	for _, c := range commands {
		c.GroupID = id
		root.AddCommand(c)
	}
}

// usage turns the errors of an argument check into usage errors.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			var names []string
			for _, sub := range c.Commands() {
				names = append(names, sub.Name())
			}
			return usageError{error: fmt.Errorf("%w%s; see %s --help", err, meant(strings.Join(args, " "), names, ""), c.CommandPath())}
		}
		return nil
	}
}

// meantFlag names the other commands that have an unknown flag, or the nearest flag of this one.
func meantFlag(c *cobra.Command, err error) string {
	var missing *pflag.NotExistError
	if !errors.As(err, &missing) {
		return ""
	}
	name := missing.GetSpecifiedName()
	var others, names []string
	for _, other := range c.Root().Commands() {
		if other != c && other.Flags().Lookup(name) != nil {
			others = append(others, other.CommandPath())
		}
	}
	if len(others) > 0 {
		return fmt.Sprintf("; it is a flag of %s", strings.Join(others, ", "))
	}
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return meant(name, names, "--")
}

func meant(word string, names []string, prefix string) string {
	if near := config.Nearest(word, names); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", prefix+near)
	}
	return ""
}

// echoes is how long after a SIGTERM another one is the same request: timeout(1) sends it to its command and at once to the process
// group, which the command is in.
const echoes = time.Second

// interruptible returns a context that the first SIGINT or SIGTERM cancels, so that the run drains and commits. The second signal
// ends the process at once, which loses as much as kill -9: the requests in flight and at most one group commit.
func interruptible() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		sig, open := <-signals
		if !open {
			return
		}
		cancel(interruptedError{sig.(syscall.Signal)})
		for first := time.Now(); open; {
			var again os.Signal
			again, open = <-signals
			isEcho := sig == syscall.SIGTERM && again == sig && time.Since(first) < echoes
			if open && !isEcho {
				os.Exit(128 + int(sig.(syscall.Signal)))
			}
		}
	}()
	return ctx, func() { signal.Stop(signals); close(signals); cancel(nil) }
}
