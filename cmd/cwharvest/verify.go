package main

import (
	"errors"
	"fmt"
	"io"

	"cwharvest/store"

	"github.com/spf13/cobra"
)

func newVerify() *cobra.Command {
	var deep bool
	access := &placeFlags{}
	c := &cobra.Command{
		Use:   "verify [DIR]",
		Short: "Prove that counts, files and checksums of a harvest directory agree",
		Long: `Recounts every job: instances planned = done + empty + failed + denied + pending, the
parts are those of the manifest with their size and SHA-256, and their rows and those in
the spool are the rows that were committed. With --deep every row is read: parts are sorted,
no row is there twice, and each instance has the rows that were committed for it. Exit 1 if
anything disagrees. A directory that holds shards stands for them.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, closeIt, err := access.storeConfig(c)
			if err != nil {
				return err
			}
			defer closeIt()
			dirs, errs := dirsOf(args)
			if errs == nil { // all are here: what lies in a place that they share is of one of them, or of nobody
				cfg.Others = jobsOf(dirs)
			}
			for _, dir := range dirs {
				report, err := store.Verify(c.Context(), dir, cfg, deep)
				if err == nil {
					if len(dirs) > 1 {
						fmt.Fprintln(c.OutOrStdout(), dir)
					}
					err = printReport(c.OutOrStdout(), dir, report)
				} else if len(dirs) > 1 {
					err = ofDirectory(dir, err)
				}
				errs = errors.Join(errs, err)
			}
			return errs
		},
	}
	c.Flags().BoolVar(&deep, "deep", false, "read every row")
	access.register(c)
	return c
}

// jobsOf are those of the shards of a directory, nil when some cannot be read.
func jobsOf(dirs []string) (ids []string) {
	for _, dir := range dirs {
		jobs, err := store.ReadJobs(dir)
		if err != nil || len(dirs) == 1 {
			return nil
		}
		for i := range jobs {
			ids = append(ids, jobs[i].Spec.ID)
		}
	}
	return ids
}

// printReport is an error if anything disagrees.
func printReport(w io.Writer, dir string, report *store.Report) error {
	for _, problem := range report.Problems {
		fmt.Fprintln(w, "PROBLEM ", problem)
	}
	i, t := report.Instances, report.Targets
	fmt.Fprintf(w, "instances  %s = %s done + %s empty + %s failed + %s denied + %s pending\n",
		number(i.Planned), number(i.Done), number(i.Empty), number(i.Failed), number(i.Denied), number(i.Pending))
	fmt.Fprintf(w, "targets    %s = %s done + %s denied + %s pending\n", number(t.Planned), number(t.Done), number(t.Denied), number(t.Pending))
	fmt.Fprintf(w, "%d jobs, %d parts, %s rows, %s bytes: ", report.Jobs, report.Parts, number(report.Rows), number(report.Bytes))
	if len(report.Problems) > 0 {
		fmt.Fprintf(w, "%d problems\n  what to do:  cwharvest repair %s, then run again; what is still told, move away\n", len(report.Problems), dir)
		return &outcomeError{code: exitFatal}
	}
	fmt.Fprintln(w, "all agree")
	return nil
}
