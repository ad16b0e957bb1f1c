package config

import (
	"fmt"
	"regexp"

	"github.com/goccy/go-yaml/ast"
)

// mostAliased bounds what aliases stand for: of anchors that hold aliases of
// anchors, and so on, a page of text is more than any memory has room for.
const maxAliased = 1 << 20

func checkAliases(body ast.Node) error {
	w := aliasCounter{anchors: map[string]int{}}
	ast.Walk(&w, body)
	if w.aliased > maxAliased {
		return nodeError(body, "its aliases stand for more than %d values", maxAliased)
	}
	return nil
}

// weigher counts nodes, those that an alias stands for as often as it does.
type aliasCounter struct {
	nodes, aliased int
	anchors        map[string]int // nodes of those that are whole
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

// refuse returns an error about a node, in the form of the YAML library's.
func nodeError(node ast.Node, format string, args ...any) error {
	at := node.GetToken().Position
	return fmt.Errorf("[%d:%d] %s", at.Line, at.Column, fmt.Sprintf(format, args...))
}

// verbatim makes numbers the text that they are written as: YAML would read an
// external id 0123 as 83, and 1.50 as 1.5.
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

// expand replaces ${NAME} in every string value below a node.
func expand(node ast.Node, env func(string) (string, bool)) error {
	e := &expander{env: env}
	ast.Walk(e, node)
	return e.err
}

type expander struct {
	env func(string) (string, bool)
	err error // of the first variable that is not set
}

func (e *expander) Visit(node ast.Node) ast.Visitor {
	switch node := node.(type) {
	case *ast.MappingValueNode: // keys are left as they are
		ast.Walk(e, node.Value)
		return nil
	case *ast.StringNode:
		node.Value = variable.ReplaceAllStringFunc(node.Value, func(ref string) string {
			value, set := e.env(ref[2 : len(ref)-1])
			if !set && e.err == nil {
				e.err = nodeError(node, "%s is not set in the environment: export it, or write the value", ref)
			}
			return value
		})
	}
	return e
}
