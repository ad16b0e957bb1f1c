package main

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"
)

// report is what an examining command found: for people, for programs, and as an
// exit code.
type report interface {
	print(io.Writer)
	exitCode() int
}

// show prints a report, as JSON on demand, and ends with its exit code.
func show(c *cobra.Command, r report, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(c.OutOrStdout())
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			return err
		}
	} else {
		r.print(c.OutOrStdout())
	}
	if code := r.exitCode(); code != exitComplete {
		return &outcomeError{code}
	}
	return nil
}
