package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"cwharvest/cmd/cwharvest/human"
	"cwharvest/pipeline/config"
	"cwharvest/store"

	"github.com/spf13/cobra"
)

func newPrune() *cobra.Command {
	var keep string
	var asJSON *bool
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
			remote, closeIt, err := find.remote(c, dir)
			if err != nil {
				return err
			}
			defer closeIt()
			jobs, err := store.Prune(c.Context(), dir, now().Add(-age), store.Config{Remote: remote})
			if err != nil && len(jobs) == 0 {
				return err
			}
			return errors.Join(show(c, newPruned(dir, jobs), *asJSON), err)
		},
	}
	find.registerAccess(c)
	asJSON = jsonFlag(c)
	c.Flags().StringVar(&keep, "keep", "90d", "keep the databases of jobs younger than this")
	return c
}

// pruned is the output of `prune --json`.
type pruned struct {
	Version int         `json:"version"`
	Dir     string      `json:"dir"`
	Jobs    []prunedJob `json:"jobs"`
	Bytes   int64       `json:"bytes"` // of all
}

type prunedJob struct {
	Job   string `json:"job"`
	Bytes int64  `json:"bytes"` // of its database
}

func newPruned(dir string, jobs []store.Pruned) *pruned {
	p := &pruned{Version: 1, Dir: dir, Jobs: []prunedJob{}}
	for _, j := range jobs {
		p.Jobs = append(p.Jobs, prunedJob(j))
		p.Bytes += j.Bytes
	}
	return p
}

func (*pruned) exitCode() int { return exitComplete }

func (p *pruned) print(w io.Writer) {
	for _, j := range p.Jobs {
		fmt.Fprintf(w, "%s  pruned, %s bytes\n", j.Job, human.Number(j.Bytes))
	}
	fmt.Fprintf(w, "%d jobs pruned, %s bytes\n", len(p.Jobs), human.Number(p.Bytes))
}
