package main

import (
	"cwharvest/cmd/cwharvest/human"
	"fmt"
	"time"

	"cwharvest/pipeline/config"
	"cwharvest/store"

	"github.com/spf13/cobra"
)

func newPrune() *cobra.Command {
	var keep string
	c := &cobra.Command{
		Use:   "prune [DIR] --keep 90d",
		Short: "Remove the databases of jobs that ended long ago",
		Long: `Removes the databases of finished jobs that ended longer ago than --keep, and keeps their
specification, manifest and summary: their ranges stay held and their files can still be
verified, but what failed in them cannot be tried again. Data are not touched. The latest
job stays whole.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			age, err := config.ParseDuration(keep)
			if err != nil {
				return usageError{error: fmt.Errorf("--keep: %w", err)}
			}
			if age > 0 && age < 24*time.Hour {
				return usageError{error: fmt.Errorf("--keep %s is less than a day, and what is pruned does not come back: write 90d", keep)}
			}
			pruned, err := store.Prune(dirOf(args), now().Add(-age), store.Config{})
			bytes := int64(0)
			for _, p := range pruned {
				fmt.Fprintf(c.OutOrStdout(), "%s  pruned, %s bytes\n", p.Job, human.Number(p.Bytes))
				bytes += p.Bytes
			}
			if err == nil {
				fmt.Fprintf(c.OutOrStdout(), "%d jobs pruned, %s bytes\n", len(pruned), human.Number(bytes))
			}
			return err
		},
	}
	c.Flags().StringVar(&keep, "keep", "90d", "age of the jobs to keep whole")
	return c
}
