package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"cwharvest/pipeline/config"

	"github.com/spf13/cobra"
)

const initialName = "harvest.yaml"

func newInit() *cobra.Command {
	force := false
	c := &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a commented harvest.yaml",
		Long: `Writes a harvest.yaml (or FILE, or - for standard output) that harvests the caller's own
account without further changes and lists the other settings as comments. It makes no calls
and does not overwrite a file.`,
		Example: "  cwharvest init\n  cwharvest init - | less",
		Args:    usage(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			path := strings.Join(append(args, initialName)[:1], "")
			if path == "-" {
				_, err := fmt.Fprint(c.OutOrStdout(), config.Initial)
				return err
			}
			if err := writeInitial(path, force); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "wrote %s; next:\n  cwharvest plan -c %[2]s\n  cwharvest run -c %[2]s\n", path, quoteShell(path))
			return nil
		},
	}
	c.Flags().BoolVar(&force, "force", false, "overwrite the file")
	return c
}

func writeInitial(path string, force bool) error {
	how := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		how = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	file, err := os.OpenFile(path, how, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return usageError{fmt.Errorf("%s already exists", path), "name another file, or overwrite it with --force"}
	}
	if err != nil {
		return usageError{error: err}
	}
	_, err = file.WriteString(config.Initial)
	return errors.Join(err, file.Close())
}

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of harvest.yaml, for editors",
		Long:    "Prints the JSON Schema (draft 2020-12) of harvest.yaml, with which editors complete and check it.",
		Example: "  cwharvest schema > harvest.schema.json",
		Args:    usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			schema, err := config.Schema()
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(schema)
			return err
		},
	}
}
