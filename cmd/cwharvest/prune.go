package main

import (
	"fmt"
	"time"

	"cwharvest/cmd/cwharvest/human"
	"cwharvest/pipeline/config"
	"cwharvest/store"

	"github.com/spf13/cobra"
)

func newPrune() *cobra.Command {
	var keep string
	find := &finder{}
	c := &cobra.Command{
		Use:   "prune [DIR] --keep 90d",
		Short: "Remove the databases of old finished jobs",
		Long: `Removes the databases of jobs that finished longer ago than --keep. Plan, manifest and summary
stay: the ranges count as harvested and the files can still be verified, but failed instances
of these jobs cannot be retried. Data files are not touched, and the latest job keeps its
database.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			age, err := config.ParseDuration(keep)
			if err != nil {
				return usageError{error: fmt.Errorf("--keep: %w", err)}
			}
			if age > 0 && age < 24*time.Hour {
				return usageError{fmt.Errorf("--keep %s is less than a day, and pruning cannot be undone", keep), "write days, such as 90d"}
			}
			dir, err := find.dir(c, args)
			if err != nil {
				return err
			}
			pruned, err := store.Prune(dir, now().Add(-age), store.Config{})
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
	find.register(c)
	c.Flags().StringVar(&keep, "keep", "90d", "keep the databases of jobs younger than this")
	return c
}
