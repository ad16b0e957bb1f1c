package docs

import (
	"fmt"
	"regexp"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

var (
	tableBlock = regexp.MustCompile(`(?m)(^\|.*\n)+`)
	fence      = regexp.MustCompile("(?ms)^```[a-z]*\n(.*?)^```\n")
	comment    = regexp.MustCompile(`(?m)^<!--.*-->\n`)
	heading    = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// Terminal renders a page for a terminal: without fences and comments, with tables that fit. It returns "" if there is no such topic.
func Terminal(name string) string {
	var b strings.Builder
	text := replaceTables(comment.ReplaceAllString(Markdown(name), ""), columnsOrLists)
	at := 0
	for _, block := range fence.FindAllStringSubmatchIndex(text, -1) {
		b.WriteString(headings(text[at:block[0]]))
		for line := range strings.Lines(text[block[2]:block[3]]) {
			b.WriteString(strings.TrimRight("    "+line, " \n") + "\n")
		}
		at = block[1]
	}
	b.WriteString(headings(text[at:]))
	return b.String()
}

func headings(text string) string {
	return heading.ReplaceAllStringFunc(text, func(line string) string {
		return strings.ToUpper(strings.TrimLeft(line, "# "))
	})
}

// replaceTables replaces each table of a Markdown text by what render returns for its header and rows.
func replaceTables(markdown string, render func(header []string, rows [][]string) string) string {
	return tableBlock.ReplaceAllStringFunc(markdown, func(block string) string {
		var rows [][]string
		for line := range strings.Lines(block) {
			cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		}
		if len(rows) < 3 {
			return block
		}
		return render(rows[0], rows[2:])
	})
}

// columnsOrLists aligns a table in columns if its lines fit, and prints each row as a list otherwise.
func columnsOrLists(header []string, rows [][]string) string {
	const widest = 100
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, cells := range append([][]string{header}, rows...) {
		fmt.Fprintf(table, "  %s\n", strings.Join(cells, "\t"))
	}
	table.Flush()
	for line := range strings.Lines(b.String()) {
		if utf8.RuneCountInString(line) > widest {
			return lists(header, rows)
		}
	}
	return b.String()
}

func lists(header []string, rows [][]string) string {
	var b strings.Builder
	for _, cells := range rows {
		fmt.Fprintf(&b, "  %s\n", cells[0])
		for _, text := range labelled(header, cells) {
			fmt.Fprintf(&b, "      %s\n", text)
		}
	}
	return b.String()
}

// definitions writes a table as a definition list, which man pages can wrap.
func definitions(header []string, rows [][]string) string {
	var b strings.Builder
	for _, cells := range rows {
		fmt.Fprintf(&b, "%s\n: %s\n\n", cells[0], strings.Join(labelled(header, cells), "; "))
	}
	return b.String()
}

// labelled returns the cells of a row after the first one. From the third column on they have the header of their column.
func labelled(header, cells []string) (texts []string) {
	for i := 1; i < len(cells); i++ {
		text := cells[i]
		if i > 1 && i < len(header) && header[i] != "" && text != "" {
			text = header[i] + ": " + text
		}
		if text != "" {
			texts = append(texts, text)
		}
	}
	return texts
}
