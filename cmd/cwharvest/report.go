package main

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"
)

// report is the result of a command that reports: as text, as JSON, and as an exit code. Its JSON has a version, which counts
// incompatible changes; docs/output.md lists the fields.
type report interface {
	print(io.Writer)
	exitCode() int
}

// jsonFlag adds --json.
func jsonFlag(c *cobra.Command) *bool { return c.Flags().Bool("json", false, "print one JSON object") }

// show prints a report, as JSON if asked, and returns its exit code as an outcomeError.
func show(c *cobra.Command, r report, asJSON bool) error {
	if asJSON {
		if err := encodeJSON(c.OutOrStdout(), r); err != nil {
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

// encodeJSON writes JSON in the form that all commands print.
func encodeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false) // SQL and commands stay readable
	return e.Encode(v)
}
