package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"cwharvest/store/record"

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
	s := &statusCommand{}
	c := &cobra.Command{
		Use:   "status [DIR...]",
		Short: "Show the progress of the current or most recent job",
		Long: `Shows the progress of the job that a run is working on, or how the most recent one ended. It
never disturbs a run: beside one, it reads the snapshot that the run publishes about once a
second. With --json it prints one object for each directory.`,
		RunE: func(c *cobra.Command, args []string) error {
			if s.dirs = args; len(args) == 0 {
				s.dirs = []string{defaultDir}
			}
			s.out = c.OutOrStdout()
			s.width, _ = sizeOf(s.out)
			if s.watch {
				return s.follow(c.Context())
			}
			_, err := s.show()
			return err
		},
	}
	c.Flags().BoolVar(&s.json, "json", false, "print one JSON object")
	c.Flags().BoolVar(&s.failed, "failed", false, "list failed and denied instances and targets, with reasons and remedies")
	c.Flags().BoolVar(&s.watch, "watch", false, "refresh every second until no run is working")
	return c
}

// statusCommand is one `cwharvest status`.
type statusCommand struct {
	dirs                []string
	out                 io.Writer
	json, failed, watch bool
	width               int // of the terminal; 0 without one
}

// show prints the status of each directory and reports whether a run is working in any. An unreadable directory does not hide the
// others.
func (s *statusCommand) show() (running bool, errs error) {
	for i, dir := range s.dirs {
		if i > 0 && !s.json {
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
	case s.json:
		return encodeJSON(s.out, status)
	case s.failed:
		all, err := record.ReadFailed(dir, status)
		if err == nil {
			printFailed(s.out, status, all)
		}
		return err
	}
	printStatus(s.out, status, s.width)
	return nil
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
