package main

import (
	"cwharvest/cmd/cwharvest/human"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"cwharvest/store"
	"cwharvest/store/encode"

	"github.com/spf13/cobra"
)

func newExport() *cobra.Command {
	var format encode.Format
	var to, night string
	access := &placeFlags{}
	c := &cobra.Command{
		Use:   "export [DIR] --format FORMAT --to DIRECTORY",
		Short: "Write published data in another format, without fetching anything",
		Long: `Reads the published parts of a harvest directory and writes them in another format, part
by part. What is there already is kept, so the same command after another night adds what
is new. Works beside a run.`,
		Example: "  cwharvest export ./harvest --format csv --compression gzip --to ./csv",
		Args:    usage(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			e, err := exportOf(format, to, night)
			if err != nil {
				return usageError{error: err}
			}
			cfg, closeIt, err := access.storeConfig(c)
			if err != nil {
				return err
			}
			defer closeIt()
			done, err := store.ExportParts(c.Context(), dirOf(args), cfg, e)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%d files, %s rows written to %s, %d files kept, %d removed\n", done.Files, human.Number(done.Rows), to, done.Kept, done.Removed)
			return nil
		},
	}
	c.Flags().StringVar(&format.Name, "format", "", "parquet, csv or jsonl")
	c.Flags().StringVar(&format.Compression, "compression", "", "of csv and jsonl: none, gzip or zstd")
	c.Flags().StringVar(&to, "to", "", "directory to write to")
	c.Flags().StringVar(&night, "night", "", "only the jobs of this UTC day: 2026-11-20")
	access.register(c)
	return c
}

func exportOf(format encode.Format, to, night string) (e store.Export, err error) {
	if format.Name == "" {
		return e, fmt.Errorf("--format: name the format to write: parquet, csv or jsonl")
	}
	if err := format.Validate(); err != nil {
		return e, fmt.Errorf("--format: %w", err)
	}
	if to == "" {
		return e, fmt.Errorf("--to: name the directory to write to")
	}
	if strings.Contains(to, ":/") {
		return e, fmt.Errorf("--to %s: export writes to a directory; copy it from there", to)
	}
	if to, err = filepath.Abs(to); err != nil {
		return e, err
	}
	e = store.Export{Out: to, Format: format}
	if night != "" {
		day, err := time.Parse(time.DateOnly, night)
		if err != nil {
			return e, fmt.Errorf("--night %q: write 2026-11-20", night)
		}
		e.Job = func(s *store.Plan) bool { return s.Start.Before(day.AddDate(0, 0, 1)) && s.End.After(day) }
	}
	return e, nil
}
