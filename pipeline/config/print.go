package config

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cwharvest/store/record"
)

// Print writes the configuration as a harvest.yaml. A comment at each key names
// the origin of its value. External ids are redacted.
func (c *Config) Print(w io.Writer) error {
	defaults := Default()
	defaultLines := map[string]string{}
	for _, l := range lines(defaults.document(), "$") {
		defaultLines[l.path] = l.text
	}
	all := lines(c.document(), "$")
	width := 0
	for _, l := range all {
		width = max(width, min(len(l.text), 60))
	}
	var out strings.Builder
	for _, l := range all {
		if l.leaf {
			fmt.Fprintf(&out, "%-*s  # %s\n", width, l.text, c.origin(l.path, defaultLines[l.path] == l.text))
		} else {
			out.WriteString(l.text + "\n")
		}
	}
	for _, implied := range c.implied() {
		fmt.Fprintf(&out, "# %s\n", implied)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// origin returns the origin of a value: a flag, a variable, a line or default.
// unchanged reports that the value equals the default.
func (c *Config) origin(path string, unchanged bool) string {
	if by := c.overriddenBy(path); by != "" {
		return strings.Replace(by, "--", "flag --", 1)
	}
	if c.line != nil {
		for at := path; at != "$"; at = at[:strings.LastIndexAny(at, ".[")] {
			if line := c.line(at); line != "" {
				return line
			}
			if unchanged {
				break // a parent in the file does not set this key
			}
		}
	}
	return "default"
}

// implied describes the settings that have no value to print.
func (c *Config) implied() (all []string) {
	if c.Out == "" {
		all = append(all, "out: data/ in dir")
	}
	if len(c.Accounts) == 0 && c.Defaults.RoleARN == "" {
		all = append(all, "accounts: the caller's own account")
	}
	if len(c.Defaults.Regions) == 0 {
		all = append(all, "defaults.regions: the region of the profile, or AWS_REGION")
	}
	if n := len(c.OnFinish); n > 0 {
		all = append(all, fmt.Sprintf("on_finish: %d commands and webhooks, not printed because addresses may be secret", n))
	}
	if c.Shard != (record.Shard{}) {
		all = append(all, fmt.Sprintf("--shard: %s of the targets", c.Shard))
	}
	if !c.Night.IsZero() {
		all = append(all, fmt.Sprintf("this run only: %s harvests %s instead of the range", "--night", c.Night.Format(time.DateOnly)))
	}
	return all
}

// printedLine is one line of the output. A leaf is a line with a value.
type printedLine struct {
	text, path string
	leaf       bool
}

// lines returns the lines of a struct. It leaves out empty fields.
func lines(v reflect.Value, path string) (all []printedLine) {
	v = reflect.Indirect(v)
	for field, value := range v.Fields() {
		key := field.Tag.Get("yaml")
		at := path + "." + key
		given := value.Kind() == reflect.Pointer && !value.IsNil()
		if value = reflect.Indirect(value); !value.IsValid() || !given && value.IsZero() {
			continue
		}
		if text, ok := leaf(value); ok {
			all = append(all, printedLine{key + ": " + text, at, true})
			continue
		}
		var below []printedLine
		if value.Kind() == reflect.Struct {
			below = indent(lines(value, at), "  ", "  ")
		} else {
			below = items(value, at)
		}
		switch {
		case len(below) > 0:
			all = append(append(all, printedLine{key + ":", at, false}), below...)
		case given:
			all = append(all, printedLine{key + ": {}", at, true})
		}
	}
	return all
}

func items(list reflect.Value, path string) (all []printedLine) {
	for i := range list.Len() {
		at := fmt.Sprintf("%s[%d]", path, i)
		item := lines(list.Index(i), at)
		if len(item) == 0 {
			item = []printedLine{{"{}", at, true}}
		}
		all = append(all, indent(item, "  - ", "    ")...)
	}
	return all
}

func indent(all []printedLine, first, others string) []printedLine {
	for i := range all {
		if i == 0 {
			all[i].text = first + all[i].text
		} else {
			all[i].text = others + all[i].text
		}
	}
	return all
}

// leaf returns a value as one line, or false if the value has keys of its own.
func leaf(v reflect.Value) (string, bool) {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	switch value := v.Interface().(type) {
	case string:
		return scalar(value), true
	case bool:
		return strconv.FormatBool(value), true
	case int:
		return strconv.Itoa(value), true
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64), true
	case []string:
		words := make([]string, len(value))
		for i := range value {
			words[i] = scalar(value[i])
		}
		return "[" + strings.Join(words, ", ") + "]", true
	case map[string]string:
		words := make([]string, 0, len(value))
		for _, key := range slices.Sorted(maps.Keys(value)) {
			words = append(words, scalar(key)+": "+scalar(value[key]))
		}
		return "{" + strings.Join(words, ", ") + "}", true
	case documentRange:
		if value.last != "" {
			return "{last: " + scalar(value.last) + "}", true
		}
		return "{from: " + scalar(value.from) + ", to: " + scalar(value.to) + "}", true
	}
	return "", false
}

// plainForm matches text that every YAML parser reads as a string, except for the
// words in notText.
var plainForm = regexp.MustCompile(`^([A-Za-z./][\w./-]*|\d+(ms|s|m|h|d|[KMG]i?B))$`)

var notText = regexp.MustCompile(`(?i)^(true|false|yes|no|on|off|y|n|null|\.(inf|nan))$`)

// scalar quotes text that a YAML parser could read as another type.
func scalar(text string) string {
	if plainForm.MatchString(text) && !notText.MatchString(text) {
		return text
	}
	return strconv.Quote(text)
}

// Initial is the harvest.yaml for new users. It works as it is and shows the
// other settings in comments.
var Initial = initialHead + func() string {
	var b strings.Builder
	for i := range settings {
		s := &settings[i]
		if !s.isTop() {
			continue
		}
		if s.group != "" {
			b.WriteString("\n# --- " + s.group + " ---\n")
		}
		example := cmp.Or(s.init, "#"+s.Key+": "+s.Default)
		if s.values != nil {
			example += "    # " + strings.Join(s.values, " | ")
		}
		fmt.Fprintf(&b, "\n# %s.\n%s\n", s.Doc, example)
	}
	return b.String()
}()

const initialHead = `# Settings of cwharvest. This file works as it is: it harvests the account of the AWS
# credentials in use. To change a setting, remove the # in front of its key. The
# commented lines show the defaults, or an example if the default has no value.
#
# To let an editor complete and check the keys, run
#     cwharvest schema > harvest.schema.json
# and make this the first line, after a # and a space:
#     yaml-language-server: $schema=./harvest.schema.json
`
