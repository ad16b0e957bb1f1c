package config

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

var positionedError = regexp.MustCompile(`^\[(\d+):(\d+)\] (.*)`)

var unknownField = regexp.MustCompile(`unknown field "([^"]*)"`)

var wrongType = regexp.MustCompile(`cannot unmarshal .* of type (\S+)$`)

// typeNames are what people call the types of settings.
var typeNames = map[string]string{"bool": "true or false", "int": "a whole number", "float64": "a number", "string": "one value"}

// position puts an error of the YAML library into one line with its place.
func yamlError(name string, err error) string {
	text, _, _ := strings.Cut(yaml.FormatError(err, false, false), "\n")
	m := positionedError.FindStringSubmatch(text)
	if m == nil {
		return name + ": " + text
	}
	text = m[3]
	u, w := unknownField.FindStringSubmatch(text), wrongType.FindStringSubmatch(text)
	switch {
	case strings.Contains(text, "cannot start any token"):
		text = "no YAML begins with this, such as a tab: indent with blanks"
	case u != nil && slices.Contains(allKeys(), u[1]):
		text = fmt.Sprintf("key %q belongs elsewhere; `cwharvest init -` shows where", u[1])
	case u != nil:
		text = fmt.Sprintf("unknown key %q%s", u[1], cmp.Or(didYouMean(u[1], allKeys()), "; `cwharvest init -` shows those there are"))
	case w != nil:
		text = "write " + cmp.Or(typeNames[w[1]], "a list or keys") + " here"
	case errors.As(err, new(yaml.Error)):
		text += "; `cwharvest init -` shows how it is written"
	}
	return fmt.Sprintf("%s:%s:%s: %s", name, m[1], m[2], text)
}

// locate returns NAME:LINE:COLUMN of a path like $.metrics[0].names.
func positionOf(name string, file *ast.File, path string) string {
	for path != "" && path != "$" {
		if p, err := yaml.PathString(path); err == nil {
			if node, err := p.FilterFile(file); err == nil && node.GetToken() != nil {
				at := node.GetToken().Position
				return fmt.Sprintf("%s:%d:%d", name, at.Line, at.Column)
			}
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return name
}

// lineOf returns NAME:LINE of a path that the file itself has, else "".
func lineOf(name string, file *ast.File, path string) string {
	p, err := yaml.PathString(path)
	if err != nil {
		return ""
	}
	node, err := p.FilterFile(file)
	if err != nil || node == nil || node.GetToken() == nil {
		return ""
	}
	return fmt.Sprintf("%s:%d", name, node.GetToken().Position.Line)
}
