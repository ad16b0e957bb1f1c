package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cwharvest/cmd/cwharvest/docs"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newMan writes the man pages; `make install` calls it.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the man pages into DIR/man1 and DIR/man7",
		Long: `Writes a page for each command into DIR/man1 and one for each topic of the manual into
DIR/man7. With /usr/local/share/man as DIR, man finds them.`,
		Example: "  cwharvest man /usr/local/share/man",
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			if err := writeManual(c.Root(), args[0]); err != nil {
				return fmt.Errorf("manual: %w", err)
			}
			return nil
		},
	}
}

// manDate is the date of the source, so that the same source gives the same bytes on every day.
func manDate() time.Time {
	date, err := time.Parse(time.RFC3339, readBuild().Time)
	if err != nil {
		return time.Unix(0, 0).UTC()
	}
	return date
}

func writeManual(root *cobra.Command, dir string) error {
	for _, section := range []string{"man1", "man7"} {
		if err := os.MkdirAll(filepath.Join(dir, section), 0o777); err != nil {
			return err
		}
	}
	for _, t := range docs.Topics {
		path := filepath.Join(dir, "man7", "cwharvest-"+t.Name+".7")
		if err := os.WriteFile(path, docs.ManPage(t, "cwharvest "+version, manDate()), 0o666); err != nil {
			return err
		}
	}
	return writeCommandPages(root, filepath.Join(dir, "man1"))
}

func writeCommandPages(root *cobra.Command, dir string) error {
	for _, c := range append(root.Commands(), root) {
		if c == root || c.IsAvailableCommand() {
			if err := writeCommandPage(c, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeCommandPage(c *cobra.Command, dir string) error {
	c.DisableAutoGenTag = true
	date := manDate()
	var page bytes.Buffer
	header := &doc.GenManHeader{Section: "1", Source: "cwharvest " + version, Manual: "cwharvest", Date: &date}
	if err := doc.GenMan(c, header, &page); err != nil {
		return err
	}
	name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
	return os.WriteFile(filepath.Join(dir, name), addSections(page.String()), 0o666)
}

// addSections adds the sections that every command's page has, the last ones before SEE ALSO, which lists the topics as well.
func addSections(page string) []byte {
	const also = ".SH SEE ALSO\n"
	body, others, _ := strings.Cut(page, also)
	var b bytes.Buffer
	b.WriteString(body)
	b.WriteString(".SH EXIT STATUS\n")
	for _, e := range exitTable {
		text := e.meaning
		if e.retry {
			text += ". A scheduler should run the command again"
		}
		fmt.Fprintf(&b, ".TP\n\\fB%d\\fP\n%s.\n", e.code, text)
	}
	for _, section := range manSections {
		fmt.Fprintf(&b, ".SH %s\n", section.title)
		for _, item := range section.items {
			fmt.Fprintf(&b, ".TP\n\\fB%s\\fP\n%s\n", item[0], item[1])
		}
	}
	b.WriteString(also)
	if others = strings.TrimSpace(others); others != "" {
		b.WriteString(others + ",\n")
	}
	for i, name := range topicNames() {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, "\\fBcwharvest-%s(7)\\fP", name)
	}
	b.WriteString("\n")
	return b.Bytes()
}

var manSections = []struct {
	title string
	items [][2]string
}{
	{"ENVIRONMENT", [][2]string{
		{"CWHARVEST_FLAG", "The value of a setting's flag: \\-\\-max\\-cost 5 is CWHARVEST_MAX_COST=5. Flags override variables, which override harvest.yaml."},
		{"AWS_PROFILE, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...", "The variables of the AWS SDK; see cwharvest\\-credentials(7)."},
		{"AWS_CA_BUNDLE, HTTPS_PROXY, NO_PROXY", "Certificates to trust, and proxies; see cwharvest\\-security(7)."},
		{"GOMEMLIMIT, GOGC", "Limits of the garbage collector; see cwharvest\\-performance(7)."},
	}},
	{"FILES", [][2]string{
		{"harvest.yaml", "The configuration, named by \\-c; see cwharvest\\-configuration(7)."},
		{"harvest/", "The harvest directory, named by dir or \\-\\-dir."},
		{"harvest/jobs/", "The database, plan and manifest of each job."},
		{"harvest/data/, harvest/instances/", "The rows and the inventory; see cwharvest\\-output(7)."},
		{"harvest/lock, harvest/status.json", "The process that works there, and its progress."},
	}},
}
