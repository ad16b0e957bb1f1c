package docs

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
)

var subheading = regexp.MustCompile(`(?m)^##`)

// ManPage renders a topic as a page of section 7. The sections of the document are the sections of the page. The source names the
// program and its version.
func ManPage(t Topic, source string, date time.Time) []byte {
	_, text, _ := strings.Cut(Markdown(t.Name), "\n") // without the title
	head := fmt.Sprintf("%% \"CWHARVEST-%s\" \"7\" %q %q \"cwharvest\"\n# NAME\ncwharvest-%s - %s\n\n# DESCRIPTION\n",
		strings.ToUpper(t.Name), date.Format("Jan 2006"), source, t.Name, t.Short)
	return md2man.Render([]byte(head + subheading.ReplaceAllString(replaceTables(text, definitions), "#")))
}
