package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Parse reads a configuration. Errors begin with name; env looks up ${NAME}. The
// result is not validated yet.
func Parse(name string, data []byte, env func(string) (string, bool)) (Config, error) {
	c := Default()
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return c, yamlError(name, err)
	}
	c.position = func(path string) string { return positionOf(name, file, path) }
	c.line = func(path string) string { return lineOf(name, file, path) }
	body, err := body(file)
	if err == nil && body != nil {
		err = checkAliases(body)
	}
	if err == nil && body != nil {
		if err = expand(body, env); err == nil {
			ast.Walk(numbersAsText{}, body)
		}
	}
	doc := reflect.New(documentType)
	if err == nil && body != nil {
		err = decode(body, doc.Interface())
	}
	if unknown := (*yaml.UnknownFieldError)(nil); errors.As(err, &unknown) {
		err = &keyError{error: err, beside: keysBeside(body, unknown.Token)}
	}
	if err != nil {
		return c, yamlError(name, err)
	}
	return c, c.fill(doc.Elem())
}

// decode reads a document. The library panics on a tag such as !!str in place of a
// list, so that a panic is an error in the document.
func decode(body ast.Node, to any) (err error) {
	defer func() {
		if recover() != nil {
			err = &nodeError{body, "the document cannot be decoded", "remove tags, such as !!str, and write plain values"}
		}
	}()
	return yaml.NewDecoder(strings.NewReader(""), yaml.Strict()).DecodeFromNode(body, to)
}

// body returns the document of a file, or nil if the file is empty. A second
// document is an error, because the decoder would ignore it silently.
func body(file *ast.File) (ast.Node, error) {
	var first ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.CommentType:
		case first == nil:
			first = doc.Body
		default:
			return nil, &nodeError{doc.Body, "more than one YAML document", "remove this document and the --- before it"}
		}
	}
	return first, nil
}

// maxAliased bounds the nodes that aliases expand to. Nested aliases multiply, so
// a page of text could otherwise exhaust the memory.
const maxAliased = 1 << 20

func checkAliases(body ast.Node) error {
	w := aliasCounter{anchors: map[string]int{}}
	ast.Walk(&w, body)
	if w.aliased > maxAliased {
		return &nodeError{body, fmt.Sprintf("aliases expand to more than %d values", maxAliased), "write the values instead"}
	}
	return nil
}

// aliasCounter counts the nodes of a document as if every alias were expanded.
type aliasCounter struct {
	nodes, aliased int            // all nodes; those that come from aliases
	anchors        map[string]int // nodes of every complete anchor, by name
}

func (w *aliasCounter) Visit(node ast.Node) ast.Visitor {
	w.nodes++
	switch node := node.(type) {
	case *ast.AnchorNode:
		inner := aliasCounter{anchors: w.anchors}
		ast.Walk(&inner, node.Value)
		w.anchors[node.Name.GetToken().Value] = min(inner.nodes, maxAliased+1)
		w.nodes += inner.nodes
		w.aliased += inner.aliased
		return nil
	case *ast.AliasNode:
		n := w.anchors[node.Value.GetToken().Value]
		w.nodes += n
		w.aliased += n
		return nil
	}
	return w
}

// nodeError is an error about a node of the document.
type nodeError struct {
	node       ast.Node
	fact, hint string
}

func (e *nodeError) Error() string { return e.fact }

// keyError is an error about an unknown key.
type keyError struct {
	error
	beside []string // keys that its mapping may have
}

func (e *keyError) Unwrap() error { return e.error }

// keysBeside returns the keys that the mapping around a key may have, or every key
// of the file if the mapping has none of its own.
func keysBeside(body ast.Node, key *token.Token) []string {
	at := pathFinder{key: key}
	ast.Walk(&at, body)
	t := documentType
	parents := strings.Split(at.path, ".")
	for _, part := range parents[min(1, len(parents)):max(1, len(parents)-1)] {
		name, _, _ := strings.Cut(part, "[")
		field, ok := fieldOf(structOf(t), name)
		if !ok {
			return allKeys()
		}
		t = field.Type
	}
	if t = structOf(t); t == nil {
		return allKeys()
	}
	var keys []string
	for f := range t.Fields() {
		keys = append(keys, f.Tag.Get("yaml"))
	}
	return keys
}

// pathFinder finds the path of a key, such as $.metrics[0].names.
type pathFinder struct {
	key  *token.Token
	path string
}

func (w *pathFinder) Visit(node ast.Node) ast.Visitor {
	if m, ok := node.(*ast.MappingValueNode); ok && m.Key.GetToken() == w.key {
		w.path = m.Key.GetPath()
	}
	return w
}

// numbersAsText replaces numbers by their text where YAML would change them: it
// reads an external id 0123 as 83, and 1.50 as 1.5.
type numbersAsText struct{}

func (v numbersAsText) Visit(node ast.Node) ast.Visitor {
	switch node := node.(type) {
	case *ast.MappingValueNode:
		node.Value = asWritten(node.Value)
	case *ast.SequenceNode:
		for i := range node.Values {
			node.Values[i] = asWritten(node.Values[i])
		}
	case *ast.AnchorNode:
		node.Value = asWritten(node.Value)
	}
	return v
}

func asWritten(node ast.Node) ast.Node {
	switch node := node.(type) {
	case *ast.IntegerNode:
		if fmt.Sprint(node.Value) == node.Token.Value {
			return node
		}
	case *ast.FloatNode:
	default:
		return node
	}
	text := ast.String(node.GetToken())
	text.Value = node.GetToken().Value
	return text
}

var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// expand replaces ${NAME} by the variable's value in every string value below a
// node. Keys are not changed.
func expand(node ast.Node, env func(string) (string, bool)) error {
	e := &expander{env: env}
	ast.Walk(e, node)
	return e.err
}

type expander struct {
	env func(string) (string, bool)
	err error // about the first variable that is not set
}

func (e *expander) Visit(node ast.Node) ast.Visitor {
	switch node := node.(type) {
	case *ast.MappingValueNode:
		ast.Walk(e, node.Value)
		return nil
	case *ast.StringNode:
		node.Value = variable.ReplaceAllStringFunc(node.Value, func(ref string) string {
			value, set := e.env(ref[2 : len(ref)-1])
			if !set && e.err == nil {
				e.err = &nodeError{node, ref + " is not set in the environment", "export it, or write the value"}
			}
			return value
		})
	}
	return e
}

var positionedError = regexp.MustCompile(`^\[(\d+):(\d+)\] (.*)`)

var unknownField = regexp.MustCompile(`unknown field "([^"]*)"`)

var wrongType = regexp.MustCompile(`cannot unmarshal .* of type (\S+)$`)

// typeNames describes the types of settings in messages.
var typeNames = map[string]string{"bool": "true or false", "int": "a whole number", "float64": "a number", "string": "one value"}

// yamlError turns an error of the YAML library, or a nodeError, into an Error
// with its position.
func yamlError(name string, err error) *Error {
	if refused := (*nodeError)(nil); errors.As(err, &refused) {
		at := refused.node.GetToken().Position
		return invalid("%s:%d:%d: %s", name, at.Line, at.Column, refused.fact).withHint("%s", refused.hint)
	}
	text, _, _ := strings.Cut(yaml.FormatError(err, false, false), "\n")
	m := positionedError.FindStringSubmatch(text)
	if m == nil {
		return invalid("%s: %s", name, text)
	}
	keys := allKeys()
	if unknown := (*keyError)(nil); errors.As(err, &unknown) {
		keys = unknown.beside
	}
	e := yamlProblem(m[3], keys)
	if e.fact == m[3] && errors.As(err, new(yaml.Error)) {
		e.Remedy = ShowExample
	}
	e.fact = fmt.Sprintf("%s:%s:%s: %s", name, m[1], m[2], e.fact)
	return e
}

// yamlProblem replaces the library's words for common mistakes. The keys are those
// that can stand in the place of an unknown one.
func yamlProblem(text string, keys []string) *Error {
	field, mismatch := unknownField.FindStringSubmatch(text), wrongType.FindStringSubmatch(text)
	switch {
	case strings.Contains(text, "cannot start any token"):
		return invalid("this character, such as a tab, cannot begin a YAML value").withHint("indent with spaces")
	case field != nil && slices.Contains(allKeys(), field[1]):
		if near := Nearest(field[1], keys); strings.HasPrefix(near, field[1]) {
			return invalid("unknown key %q here (did you mean %q?)", field[1], near)
		}
		if _, top := fieldOf(documentType, field[1]); top {
			return invalid("key %q belongs elsewhere", field[1]).withHint("move it to the top level of the file, without indentation")
		}
		e := invalid("key %q belongs elsewhere", field[1])
		e.Remedy = ShowExample
		return e
	case field != nil:
		e := invalid("unknown key %q%s", field[1], didYouMean(field[1], keys))
		if Nearest(field[1], keys) == "" {
			e.Remedy = ShowExample
		}
		return e
	case mismatch != nil:
		return invalid("value of the wrong type").withHint("write %s here", cmp.Or(typeNames[mismatch[1]], "a list or keys"))
	}
	return invalid("%s", text)
}

// positionOf returns NAME:LINE:COLUMN of a path such as $.metrics[0].names, or of
// its closest parent in the file.
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

// lineOf returns NAME:LINE of a path, or "" if the file does not contain it.
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
