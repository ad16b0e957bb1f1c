package main

import (
	"fmt"

	"cwharvest/cmd/cwharvest/human"
	"cwharvest/store/check"

	"github.com/spf13/cobra"
)

func newRepair() *cobra.Command {
	access := &placeFlags{}
	c := &cobra.Command{
		Use:   "repair [DIR]",
		Short: "Rebuild damaged databases from specification, manifest and parts",
		Long: `Looks at every page of every job's database, and rebuilds those that are damaged or lost
from the job's specification, its manifest and its parts. What is published counts as done
and is not fetched again; what was fetched and not published yet, was empty or had failed is
asked for again by the next run. The damaged file is kept beside the new one.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			remote, closeIt, err := access.remote(c)
			if err != nil {
				return err
			}
			defer closeIt()
			jobs, err := check.Repair(c.Context(), dirOf(args), remote)
			for i := range jobs {
				printRepaired(c, &jobs[i])
			}
			return err
		},
	}
	access.register(c)
	return c
}

func printRepaired(c *cobra.Command, r *check.Repaired) {
	line := func(format string, args ...any) { fmt.Fprintf(c.OutOrStdout(), format+"\n", args...) }
	if r.Sound && r.Files == "" {
		line("%s  sound", r.Job)
		return
	}
	if r.Sound {
		line("%s  sound, and what lies beside its database is made anew, now or by the next run: %s", r.Job, r.Files)
		return
	}
	line("%s  REBUILT  %s rows are published and stay; `cwharvest run` goes on with the rest", r.Job, human.Number(r.Rows))
	line("  because  %s", r.Problem)
	if r.Backup != "" {
		line("  kept     %s", r.Backup)
	}
	for _, name := range r.Dropped {
		line("  dropped  %s: it is removed, and its rows are fetched again", name)
	}
}
