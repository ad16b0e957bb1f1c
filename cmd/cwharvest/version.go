package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// The linker sets version in releases, and revision where git is missing.
var (
	version  = "dev"
	revision string
)

// build is the output of `version --json`. A field that the build did not record is empty.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision"` // of git
	Time     string `json:"time"`     // of that commit
	Modified bool   `json:"modified"` // built from a tree with uncommitted changes
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

func newVersion() *cobra.Command {
	var asJSON *bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			b := readBuild()
			if *asJSON {
				return encodeJSON(c.OutOrStdout(), b)
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), b.line())
			return err
		},
	}
	asJSON = jsonFlag(c)
	return c
}

// String returns the version and, if known, the commit.
func (b build) String() string {
	if b.Revision == "" {
		return b.Version
	}
	return b.Version + " " + b.Revision[:min(12, len(b.Revision))]
}

// line returns the output of `version` and of --version.
func (b build) line() string { return fmt.Sprintf("cwharvest %s %s %s/%s", b, b.Go, b.OS, b.Arch) }

func readBuild() build {
	b := build{Version: version, Revision: revision, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}
