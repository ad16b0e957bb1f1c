package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// logFlags configure the log of a run.
type logFlags struct {
	format, level, file string
	verbose, quiet      bool
	stats               time.Duration
}

func (f *logFlags) register(c *cobra.Command) {
	fs := c.Flags()
	fs.StringVar(&f.format, "log-format", "text", "text or json")
	fs.StringVar(&f.level, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&f.file, "log-file", "", "append the log to this file instead of stderr")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "log only errors and show no progress")
	durationVar(fs, &f.stats, "stats", time.Minute, "interval of progress lines in the log, without a terminal; 0 is never")
}

// open returns the log and a function that closes it. On a terminal the log scrolls above the progress display; with --log-file
// only warnings do.
func (f *logFlags) open(stderr io.Writer, shown *progress) (*slog.Logger, func() error, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.level)); err != nil {
		return nil, nil, usageError{error: fmt.Errorf("--log-level %q: choose debug, info, warn or error", f.level)}
	}
	switch {
	case f.verbose:
		level = slog.LevelDebug
	case f.quiet:
		level = slog.LevelError
	}
	w, closeIt := stderr, func() error { return nil }
	if shown != nil {
		w = shown
	}
	if f.file != "" {
		file, err := os.OpenFile(f.file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return nil, nil, usageError{error: fmt.Errorf("--log-file: %w", err)}
		}
		w, closeIt = file, file.Close
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: forPeople}
	if shown != nil && f.file == "" {
		options.ReplaceAttr = timeOfDay
	}
	var handler slog.Handler
	switch f.format {
	case "text":
		handler = slog.NewTextHandler(w, options)
	case "json":
		handler = slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: inUTC})
	default:
		return nil, nil, errors.Join(usageError{error: fmt.Errorf("--log-format %q: choose text or json", f.format)}, closeIt())
	}
	if shown != nil && f.file != "" { // a person at the terminal sees warnings without opening the file
		warnings := &slog.HandlerOptions{Level: max(level, slog.LevelWarn), ReplaceAttr: timeOfDay}
		handler = slog.NewMultiHandler(handler, slog.NewTextHandler(shown, warnings))
	}
	return slog.New(handler), closeIt, nil
}

// mostReason bounds the characters of an error or a reason in a line of a text log. The status has the whole text.
const mostReason = 300

// forPeople gives a line of a text log the time in UTC, and leaves out the middle of long errors and reasons.
func forPeople(groups []string, a slog.Attr) slog.Attr {
	if a = inUTC(groups, a); a.Key == "error" || a.Key == "reason" {
		if text := []rune(a.Value.String()); len(text) > mostReason {
			const start, end = mostReason * 3 / 5, mostReason*2/5 - 3 // the cause stands at the end
			a.Value = slog.StringValue(string(text[:start]) + "..." + string(text[len(text)-end:]))
		}
	}
	return a
}

// inUTC gives a line of a log the time in UTC.
func inUTC(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		a.Value = slog.TimeValue(a.Value.Time().UTC())
	}
	return a
}

// timeOfDay shortens the time of a log line for a terminal.
func timeOfDay(groups []string, a slog.Attr) slog.Attr {
	if a = forPeople(groups, a); len(groups) == 0 && a.Key == slog.TimeKey {
		a.Value = slog.StringValue(a.Value.Time().Format("15:04:05Z"))
	}
	return a
}

func newLogger(w io.Writer, verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: forPeople}))
}
