package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"cwharvest/store"

	"github.com/spf13/cobra"
)

const defaultDir = "./harvest"

// dirOf is the one harvest directory that a command is about.
func dirOf(args []string) (string, error) {
	given := append(slices.Clip(args), defaultDir)[0]
	dirs, err := dirsOf([]string{given})
	if dirs[0] != given {
		err = usageError{fmt.Errorf("%s holds shards: name one of them, such as %s", given, dirs[0])}
	}
	return given, err
}

// dirsOf are harvest directories, with those of their shards in their place; that
// some shards are not there is an error, beside the others.
func dirsOf(args []string) (all []string, errs error) {
	if len(args) == 0 {
		args = []string{defaultDir}
	}
	for _, dir := range args {
		shards, err := store.Shards(dir)
		errs = errors.Join(errs, err)
		if len(shards) == 0 {
			all = append(all, dir)
			continue
		}
		missing := store.Shard{Number: 1, Of: shards[0].Of} // the first one
		for _, s := range shards {
			all = append(all, s.Dir(dir))
			if s == missing {
				missing.Number++
			}
		}
		if n := missing.Of - len(shards); n > 0 {
			errs = errors.Join(errs, fmt.Errorf("%s: %w of %d of its %d shards, such as %s; they have not begun, or lie on another disk",
				dir, store.ErrNoJob, n, missing.Of, missing))
		}
	}
	return all, errs
}

func newStatus() *cobra.Command {
	s := &statusCommand{}
	c := &cobra.Command{
		Use:   "status [DIR...]",
		Short: "Tell how far the open or the latest job of harvest directories is",
		Long: `Tells how far the open job of a harvest directory is, or how the one worked last ended.
It never disturbs a run: while one works, it reads the snapshot the run publishes about once
a second. A directory that holds shards stands for them. With --json it prints one object for each directory, one after the other.`,
		RunE: func(c *cobra.Command, args []string) error {
			s.args = args
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
	c.Flags().BoolVar(&s.failed, "failed", false, "list what failed or was denied, why, and what to do")
	c.Flags().BoolVar(&s.watch, "watch", false, "show it every second until nothing runs any more")
	return c
}

// statusCommand is one `cwharvest status`.
type statusCommand struct {
	args                []string
	out                 io.Writer
	json, failed, watch bool
	width               int // of the terminal; 0: of none
}

// show prints the status of each directory, and reports whether a run is at work
// in any. One that cannot be read does not hide the others.
func (s *statusCommand) show() (running bool, errs error) {
	dirs, errs := dirsOf(s.args)
	for i, dir := range dirs {
		if i > 0 && !s.json {
			fmt.Fprintln(s.out)
		}
		status, err := store.ReadStatus(dir)
		if err == nil {
			err = s.print(dir, status)
			running = running || status.Source == "snapshot"
		}
		if err != nil && len(dirs) > 1 {
			err = ofDirectory(dir, err)
		}
		errs = errors.Join(errs, err)
	}
	return running, errs
}

// ofDirectory says which of several directories an error is of.
func ofDirectory(dir string, err error) error {
	if strings.Contains(err.Error(), dir) {
		return err
	}
	return fmt.Errorf("%s: %w", dir, err)
}

func (s *statusCommand) print(dir string, status *store.Status) error {
	switch {
	case s.json:
		return encodeJSON(s.out, status)
	case s.failed:
		all, err := store.ReadFailed(dir, status)
		if err == nil {
			printFailed(s.out, status, all)
		}
		return err
	}
	printStatus(s.out, status, s.width)
	return nil
}

// follow shows the status until nothing runs any more, or somebody has enough.
func (s *statusCommand) follow(ctx context.Context) error {
	out := s.out
	clear := ""
	if isTerminal(out) {
		clear = "\x1b[H\x1b[2J"
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var page bytes.Buffer // written at once, so that nothing flickers
		page.WriteString(clear)
		s.out = &page
		s.width, _ = sizeOf(out)
		running, err := s.show()
		if running && err != nil { // of another directory
			tellError(&page, err)
		}
		if _, err := page.WriteTo(out); err != nil {
			return err
		}
		if !running {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
