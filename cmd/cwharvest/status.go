package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"cwharvest/cmd/cwharvest/human"
	"cwharvest/store/record"

	"github.com/spf13/cobra"
)

func newStatus() *cobra.Command {
	s, find := &statusCommand{}, &finder{}
	c := &cobra.Command{
		Use:   "status [DIR...]",
		Short: "Show the progress of the current or most recent job",
		Long: `Shows the progress of the job that a run is working on, or how the most recent one ended. It
never disturbs a run: beside one, it reads the snapshot that the run publishes about once a
second. With --json it prints one object for each directory.

With --check it prints one line for each directory and exits 6 if its output is not there or
cannot be reached, otherwise 3 if the job, or another one of the last --max-age, is incomplete
or has denied targets, and otherwise 10 if no night finished within --max-age. Without --check it exits 0 in every state of a job.`,
		Example: "  cwharvest status --check --max-age 26h ./harvest",
		RunE: func(c *cobra.Command, args []string) error {
			if err := s.checkFlags(c); err != nil {
				return usageError{error: err}
			}
			dir, err := find.dir(c, args)
			if err != nil {
				return err
			}
			s.dirs = []string{dir}
			for _, arg := range args[min(1, len(args)):] {
				s.dirs = append(s.dirs, harvestAbove(arg))
			}
			if s.check {
				find.patience = checkPatience
				s.present = func(dir string, jobs []record.JobInfo) error { return find.checkPresent(c, dir, jobs) }
			}
			s.out = c.OutOrStdout()
			s.width, _ = sizeOf(s.out)
			if s.watch {
				return s.follow(c.Context())
			}
			_, err = s.show()
			return err
		},
	}
	find.register(c)
	c.Flags().BoolVar(&s.json, "json", false, "print one JSON object")
	c.Flags().BoolVar(&s.failed, "failed", false, "list failed and denied instances and targets, with reasons and remedies")
	c.Flags().BoolVar(&s.watch, "watch", false, "refresh every second until no run is working")
	c.Flags().BoolVar(&s.check, "check", false, "for monitoring: exit 6 if the output is not there, 3 if the harvest is incomplete, 10 if no night finished within --max-age")
	durationVar(c.Flags(), &s.maxAge, "max-age", defaultMaxAge, "with --check: the age that the last finished night may have")
	return c
}

// statusCommand is one `cwharvest status`.
type statusCommand struct {
	dirs                []string
	out                 io.Writer
	json, failed, watch bool
	check               bool
	maxAge              time.Duration
	width               int // of the terminal; 0 without one

	// present returns an error if the output of a directory is not there. Only --check asks: a status alone makes no call.
	present func(dir string, jobs []record.JobInfo) error
}

// checkPatience is the time for which --check tries to reach output in S3.
const checkPatience = 10 * time.Second

func (s *statusCommand) checkFlags(c *cobra.Command) error {
	switch {
	case s.check && (s.watch || s.failed):
		return errors.New("--check goes with neither --watch nor --failed")
	case !s.check && c.Flags().Changed("max-age"):
		return errors.New("--max-age needs --check")
	case s.maxAge <= 0:
		return errors.New("--max-age must be positive: write 26h for example")
	}
	return nil
}

// show prints the status of each directory and reports whether a run is working in any. An unreadable directory does not hide the
// others.
func (s *statusCommand) show() (running bool, errs error) {
	for i, dir := range s.dirs {
		if i > 0 && !s.json && !s.check {
			fmt.Fprintln(s.out)
		}
		status, err := record.ReadStatus(dir)
		if err == nil {
			err = s.print(dir, status)
			running = running || status.Source == "snapshot"
		}
		errs = errors.Join(errs, err)
	}
	return running, errs
}

func (s *statusCommand) print(dir string, status *record.Status) error {
	switch {
	case s.check:
		return s.judge(dir, status)
	case s.json:
		return encodeJSON(s.out, status)
	case s.failed:
		all, err := record.ReadFailed(dir, status)
		if err == nil {
			printFailed(s.out, status, all)
		}
		return err
	}
	printStatus(s.out, status, dir, s.width)
	return nil
}

// judge prints the result of --check and returns its exit code.
func (s *statusCommand) judge(dir string, status *record.Status) error {
	jobs, err := readFreeJobs(dir, status)
	if err != nil {
		return err
	}
	result := checkStatus(status, jobs, now(), s.maxAge)
	if err := s.present(dir, jobs); err != nil {
		result = checked{exitCode(err), err.Error()}
	}
	if s.json {
		err = encodeJSON(s.out, struct {
			*record.Status
			Check checked `json:"check"`
		}{status, result})
	} else {
		_, err = fmt.Fprintf(human.Writer{Writer: s.out}, "%s  %s: %s\n", result.word(), dir, human.Printable(result.Reason))
	}
	if err == nil && result.Exit != exitComplete {
		err = &outcomeError{result.Exit}
	}
	return err
}

// follow refreshes the status until no run is working or ctx ends.
func (s *statusCommand) follow(ctx context.Context) error {
	out := s.out
	clear := ""
	if isTerminal(out) {
		clear = "\x1b[H\x1b[2J"
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var page bytes.Buffer // one write, so that the screen does not flicker
		page.WriteString(clear)
		s.out = &page
		s.width, _ = sizeOf(out)
		running, err := s.show()
		if _, err := page.WriteTo(out); err != nil {
			return err
		}
		if err != nil || !running {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
