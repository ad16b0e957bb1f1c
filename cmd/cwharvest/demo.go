package main

import (
	"fmt"

	"cwharvest/cmd/cwharvest/demo"

	"github.com/spf13/cobra"
)

func newDemo() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Harvest a simulated AWS, killed half way, and check every row",
		Long: `Serves a simulated AWS as a process of its own, harvests 400 instances in 2 accounts
x 2 regions from it with sessions that live 5 seconds, kills the run half way with
SIGKILL, resumes it, and compares every row of the files with the simulator's function.
Needs no AWS account and talks to loopback only.`,
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := demo.Run(c.Context(), dir, c.OutOrStdout()); err != nil {
				return fmt.Errorf("demo: %w", err)
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "where to harvest to (default: a new temporary directory)")
	c.AddCommand(newDemoAWS())
	return c
}

// newDemoAWS serves the simulated AWS in the process that demo.Run starts.
func newDemoAWS() *cobra.Command {
	return &cobra.Command{
		Use:    "aws CONFIG",
		Hidden: true,
		Args:   usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return demo.Serve(c.Context(), args[0], c.OutOrStdout())
		},
	}
}
