package config

import (
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Parse reads a specification; name is for errors, env looks up ${NAME}.
func Parse(name string, data []byte, env func(string) (string, bool)) (Config, error) {
	c := Default()
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return c, &Error{yamlError(name, err)}
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
	var doc document
	if err == nil && body != nil {
		err = yaml.NewDecoder(strings.NewReader(""), yaml.Strict()).DecodeFromNode(body, &doc)
	}
	if err != nil {
		return c, &Error{yamlError(name, err)}
	}
	return c, c.fill(&doc)
}

// body returns the one document of a file; nil for an empty one. A second
// document would be ignored silently, so it is refused.
func body(file *ast.File) (ast.Node, error) {
	var first ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.CommentType:
		case first == nil:
			first = doc.Body
		default:
			return nil, nodeError(doc.Body, "more than one YAML document: a specification is one; remove this one and the --- before it")
		}
	}
	return first, nil
}
