package main

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"
)

// report is the result of plan, doctor or another command that only examines: as text, as JSON, and as an exit code.
type report interface {
	print(io.Writer)
	exitCode() int
}

// show prints a report, as JSON if asked, and returns its exit code as an outcomeError.
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
