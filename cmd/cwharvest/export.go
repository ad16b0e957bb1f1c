package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"cwharvest/cmd/cwharvest/human"
	"cwharvest/store"
	"cwharvest/store/encode"
	"cwharvest/store/record"

	"github.com/spf13/cobra"
)

func newExport() *cobra.Command {
	var format encode.Format
	var to, night string
	var asJSON *bool
	find := &finder{}
	c := &cobra.Command{
		Use:   "export [DIR] --format FORMAT --to DIRECTORY",
		Short: "Convert published data to another format",
		Long: `Reads the published parts of a harvest directory and writes each of them in another format.
It makes no calls to CloudWatch. Files of an earlier export are kept if they are unaltered, so
after another night the same command adds only the new ones. A part whose SHA-256 is not that
of the manifest is not exported. It may run beside a run.`,
		Example: "  cwharvest export ./harvest --format csv --compression gzip --to ./csv",
		Args:    usage(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := exportOf(format, to, night)
			if err != nil {
				return usageError{error: err}
			}
			dir, err := find.dir(c, args)
			if err != nil {
				return err
			}
			remote, closeIt, err := find.remote(c, dir)
			if err != nil {
				return err
			}
			defer closeIt()
			done, err := store.ExportParts(c.Context(), dir, remote, e)
			if errors.Is(err, record.ErrNoJob) && night != "" {
				return hintedError{err, fmt.Sprintf("harvest that day with: %s --night %s", choiceOf(c).run(choiceOf(c).dir), night)}
			}
			if err != nil {
				return err
			}
			return show(c, &exported{Version: 1, Dir: dir, To: to, Files: done.Files, Rows: done.Rows, Kept: done.Kept, Removed: done.Removed}, *asJSON)
		},
	}
	c.Flags().StringVar(&format.Name, "format", "", "parquet, csv or jsonl")
	c.Flags().StringVar(&format.Compression, "compression", "", "none, gzip or zstd, for csv and jsonl")
	c.Flags().StringVar(&to, "to", "", "directory to write to")
	c.Flags().StringVar(&night, "night", "", "only the jobs of this UTC day: 2026-11-20")
	find.registerAccess(c)
	asJSON = jsonFlag(c)
	return c
}

// exported is the output of `export --json`.
type exported struct {
	Version int    `json:"version"`
	Dir     string `json:"dir"`
	To      string `json:"to"`
	Files   int    `json:"files"` // written
	Rows    int64  `json:"rows"`  // in them
	Kept    int    `json:"kept"`
	Removed int    `json:"removed"`
}

func (*exported) exitCode() int { return exitComplete }

func (e *exported) print(w io.Writer) {
	fmt.Fprintf(w, "%d files, %s rows written to %s, %d files kept, %d removed\n", e.Files, human.Number(e.Rows), e.To, e.Kept, e.Removed)
}

func exportOf(format encode.Format, to, night string) (e store.Export, err error) {
	if format.Name == "" {
		return e, fmt.Errorf("--format is missing: choose parquet, csv or jsonl")
	}
	if err := format.Validate(); err != nil {
		return e, fmt.Errorf("--format: %w", err)
	}
	if to == "" {
		return e, fmt.Errorf("--to is missing: name the directory to write to")
	}
	if strings.Contains(to, ":/") {
		return e, usageError{fmt.Errorf("--to %s is not a directory", to), "export to a directory and copy the files from there"}
	}
	if to, err = filepath.Abs(to); err != nil {
		return e, err
	}
	e = store.Export{Out: to, Format: format}
	if night != "" {
		day, err := time.Parse(time.DateOnly, night)
		if err != nil {
			return e, fmt.Errorf("--night %q: write a UTC day, such as 2026-11-20", night)
		}
		e.Job = func(s *record.Plan) bool { return s.Start.Before(day.AddDate(0, 0, 1)) && s.End.After(day) }
	}
	return e, nil
}
