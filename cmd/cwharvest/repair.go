package main

import (
	"fmt"

	"cwharvest/cmd/cwharvest/human"
	"cwharvest/store/check"

	"github.com/spf13/cobra"
)

func newRepair() *cobra.Command {
	find := &finder{}
	c := &cobra.Command{
		Use:   "repair [DIR]",
		Short: "Rebuild damaged databases from plan, manifest and parts",
		Long: `Checks every page of every job's database, and rebuilds damaged and lost ones from the job's
plan, its manifest and its parts. Published rows count as done and are not fetched again. The
next run requests data again that were not published yet, that were empty or that failed. A
backup of the damaged file stays beside the new one.`,
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
			jobs, err := check.Repair(c.Context(), dir, remote)
			for i := range jobs {
				printRepaired(c, &jobs[i])
			}
			return err
		},
	}
	find.registerAccess(c)
	return c
}

func printRepaired(c *cobra.Command, r *check.Repaired) {
	line := func(format string, args ...any) { fmt.Fprintf(c.OutOrStdout(), format+"\n", args...) }
	if r.Sound && r.Files == "" {
		line("%s  sound", r.Job)
		return
	}
	if r.Sound {
		line("%s  sound; its other files are written again, now or by the next run: %s", r.Job, r.Files)
		return
	}
	line("%s  REBUILT  %s rows are published and stay; continue with: cwharvest run", r.Job, human.Number(r.Rows))
	line("  because  %s", r.Problem)
	if r.Backup != "" {
		line("  backup   %s", r.Backup)
	}
	for _, name := range r.Dropped {
		line("  dropped  %s: the next run removes it and fetches its rows again", name)
	}
}
