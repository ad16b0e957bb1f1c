package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"cwharvest/cmd/cwharvest/docs"

	"github.com/spf13/cobra"
)

func topicNames() (names []string) {
	for _, t := range docs.Topics {
		names = append(names, t.Name)
	}
	return names
}

// newHelp replaces cobra's help command, which knows no topics.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [TOPIC | COMMAND]",
		Short: "Print a topic of the manual, or the help of a command",
		ValidArgsFunction: func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return append(topicNames(), commandNames(c.Root())...), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			name := strings.Join(args, " ")
			if text := docs.Terminal(name); text != "" {
				_, err := io.WriteString(c.OutOrStdout(), text)
				return err
			}
			about, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				near := meant(name, append(topicNames(), commandNames(c.Root())...), "")
				return usageError{error: fmt.Errorf("unknown help topic %q%s", name, near), hint: "list the topics with: cwharvest help"}
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

func commandNames(root *cobra.Command) (names []string) {
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

// addHelp adds the topics of the manual to the help of the program, and the exit codes to that of run.
func addHelp(root *cobra.Command) {
	help := root.HelpFunc()
	root.SetHelpFunc(func(c *cobra.Command, args []string) {
		help(c, args)
		switch {
		case c == root:
			printTopics(c.OutOrStdout())
		case c.Name() == "run":
			printExitCodes(c.OutOrStdout())
		}
	})
}

func printTopics(w io.Writer) {
	fmt.Fprint(w, "\nTopics of the manual, printed by cwharvest help TOPIC:\n")
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, t := range docs.Topics {
		fmt.Fprintf(table, "  %s\t%s\n", t.Name, t.Short)
	}
	table.Flush()
}

func printExitCodes(w io.Writer) {
	fmt.Fprint(w, "\nExit codes, and whether a scheduler should run the command again:\n")
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, e := range exitTable {
		fmt.Fprintf(table, "  %d\t%s\t%s\n", e.code, retryText(e.code, e.retry), e.meaning)
	}
	table.Flush()
}
