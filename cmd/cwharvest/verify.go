package main

import (
	"fmt"

	"cwharvest/cmd/cwharvest/human"
	"cwharvest/store/check"

	"github.com/spf13/cobra"
)

func newVerify() *cobra.Command {
	var deep bool
	find := &finder{}
	c := &cobra.Command{
		Use:   "verify [DIR]",
		Short: "Prove that counts, files and checksums of a harvest directory agree",
		Long: `Recounts every job: instances planned = done + empty + failed + denied + pending, the
parts are those of the manifest with their size and SHA-256, and their rows and those in
the spool are the rows that were committed. With --deep every row is read: parts are sorted,
no row is there twice, and each instance has the rows that were committed for it. Exit 1 if
anything disagrees.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			dir, err := find.dir(c, args)
			if err != nil {
				return err
			}
			remote, closeIt, err := find.remote(c, dir)
			if err != nil {
				return err
			}
			defer closeIt()
			report, err := check.Verify(c.Context(), dir, remote, deep)
			if err != nil {
				return err
			}
			for _, problem := range report.Problems {
				fmt.Fprintln(c.OutOrStdout(), "PROBLEM ", problem.Fact+remedyOf(problem.Remedy, dir))
			}
			i, t := report.Instances, report.Targets
			fmt.Fprintf(c.OutOrStdout(), "instances  %s = %s done + %s empty + %s failed + %s denied + %s pending\n",
				human.Number(i.Planned), human.Number(i.Done), human.Number(i.Empty), human.Number(i.Failed), human.Number(i.Denied), human.Number(i.Pending))
			fmt.Fprintf(c.OutOrStdout(), "targets    %s = %s done + %s denied + %s pending\n", human.Number(t.Planned), human.Number(t.Done), human.Number(t.Denied), human.Number(t.Pending))
			fmt.Fprintf(c.OutOrStdout(), "%d jobs, %d parts, %s rows, %s bytes: ",
				report.Jobs, report.Parts, human.Number(report.Rows), human.Number(report.Bytes))
			if len(report.Problems) > 0 {
				fmt.Fprintf(c.OutOrStdout(), "%d problems\n  remedy:  cwharvest repair %s, then run again\n", len(report.Problems), dir)
				return &outcomeError{code: exitFatal}
			}
			fmt.Fprintln(c.OutOrStdout(), "all agree")
			return nil
		},
	}
	c.Flags().BoolVar(&deep, "deep", false, "read every row")
	find.registerAccess(c)
	return c
}

// remedyOf returns the next step after a problem, to be appended to it.
func remedyOf(remedy check.Remedy, dir string) string {
	switch remedy {
	case check.RepairJob:
		return "; repair the directory: cwharvest repair " + dir
	case check.MoveFileAway:
		return "; move it away"
	}
	return ""
}
