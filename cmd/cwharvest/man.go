package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newMan writes the man pages; `make install` calls it.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages into a directory",
		Hidden: true,
		Args:   usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			date, err := time.Parse(time.RFC3339, readBuild().Time)
			if err != nil {
				date = time.Unix(0, 0).UTC() // not the day of the build, so that the same source gives the same bytes
			}
			if err := os.MkdirAll(args[0], 0o777); err != nil {
				return fmt.Errorf("manual: %w", err)
			}
			root := c.Root()
			root.DisableAutoGenTag = true
			header := &doc.GenManHeader{Title: "CWHARVEST", Section: "1", Source: "cwharvest " + version, Manual: "cwharvest", Date: &date}
			return doc.GenManTree(root, header, args[0])
		},
	}
}
