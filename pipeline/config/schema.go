package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
)

// object is a JSON object.
type object = map[string]any

// Schema returns the JSON Schema (draft 2020-12) of harvest.yaml. Parse and
// Validate refuse everything that it refuses, and Validate also checks rules that
// involve several keys.
func Schema() ([]byte, error) {
	schema, err := schemaOf(documentType, "")
	if err != nil {
		return nil, err
	}
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "harvest.yaml of cwharvest"
	text, err := json.MarshalIndent(schema, "", "  ")
	return append(text, '\n'), err
}

func schemaOf(t reflect.Type, path string) (object, error) {
	properties := object{}
	for f := range t.Fields() {
		at := strings.TrimPrefix(path+"."+f.Tag.Get("yaml"), ".")
		s, known := settingOf(at)
		if !known {
			return nil, fmt.Errorf("key %s has no description", at)
		}
		value, err := valueOf(f.Type, at, s)
		if err != nil {
			return nil, err
		}
		value["description"] = s.Doc
		if s.Default != "" {
			value["default"] = s.defaultValue()
		}
		properties[f.Tag.Get("yaml")] = value
	}
	return object{"type": "object", "additionalProperties": false, "properties": properties}, nil
}

func valueOf(t reflect.Type, path string, s *Setting) (object, error) {
	switch t.Kind() {
	case reflect.Pointer:
		return valueOf(t.Elem(), path, s)
	case reflect.Struct:
		return schemaOf(t, path)
	case reflect.Slice:
		items, err := valueOf(t.Elem(), path, s)
		return object{"type": "array", "items": items}, err
	case reflect.Map:
		return object{"type": "object", "additionalProperties": object{"type": []string{"string", "number", "boolean"}}}, nil
	case reflect.Bool:
		return object{"type": "boolean"}, nil
	case reflect.Int:
		return limited("integer", s), nil
	case reflect.Float64:
		return limited("number", s), nil
	case reflect.String:
		return textSchema(s), nil
	}
	switch key := path[strings.LastIndex(path, ".")+1:]; key {
	case "range":
		return rangeSchema(), nil
	case "on_finish":
		return hookSchema(), nil
	case "regions":
		return object{"anyOf": []object{textSchema(s), {"type": "array", "items": textSchema(s)}}}, nil
	}
	return nil, fmt.Errorf("key %s has a type without a schema", path)
}

// inVariable matches text with a ${NAME}, which can expand to any value.
const inVariable = `\$\{[A-Za-z_][A-Za-z0-9_]*\}`

// limited returns the schema of a number, which may be in quotes.
func limited(kind string, s *Setting) object {
	return object{"anyOf": []object{s.bound(object{"type": kind}), {"type": "string", "pattern": `^\d+(\.\d+)?$|` + inVariable}}}
}

// bound adds the limits of a number to a schema.
func (s *Setting) bound(schema object) object {
	for keyword, limit := range map[string]any{"minimum": s.minimum, "maximum": s.maximum, "multipleOf": s.multiple} {
		if limit != nil {
			schema[keyword] = limit
		}
	}
	return schema
}

// textSchema returns the schema of a text value.
func textSchema(s *Setting) object {
	form := s.form
	if form == nil && s.kind != nil {
		form = s.kind.form
	}
	switch {
	case s.values != nil:
		return object{"anyOf": []object{{"enum": s.values}, {"type": "string", "pattern": inVariable}}}
	case form == nil:
		return object{"type": []string{"string", "number", "boolean"}}
	case form.number:
		return s.bound(object{"type": []string{"string", "integer"}, "minimum": 0, "pattern": ecma(form.pattern) + "|" + inVariable})
	}
	return object{"type": "string", "pattern": ecma(form.pattern) + "|" + inVariable}
}

// defaultValue returns the default as YAML reads it: a number, a truth value, or text.
func (s *Setting) defaultValue() any {
	if json.Valid([]byte(s.Default)) {
		return json.RawMessage(s.Default)
	}
	return s.Default
}

var unmarked = regexp.MustCompile(`\\([=,@:])`)

// ecma returns a pattern in the dialect of JSON Schema.
func ecma(pattern string) string { return unmarked.ReplaceAllString(pattern, "$1") }

func hookSchema() object {
	words := object{"anyOf": []object{{"type": "string", "minLength": 1}, {"type": "array", "minItems": 1, "items": object{"type": []string{"string", "number", "boolean"}}}}}
	timeout := textSchema(&Setting{form: durations})
	either := func(key string, value object) object {
		return object{"type": "object", "additionalProperties": false, "required": []string{key}, "properties": object{key: value, "timeout": timeout}}
	}
	hooks := []object{{"type": "string", "minLength": 1}, either("command", words), either("webhook", object{"type": "string", "pattern": "^https?://|" + inVariable})}
	return object{"anyOf": append(hooks, object{"type": "array", "items": object{"anyOf": hooks}})}
}

func rangeSchema() object {
	part := func(key string) object {
		s, _ := settingOf("range." + key)
		value := textSchema(s)
		value["description"] = s.Doc
		return value
	}
	form := &form{pattern: `^(yesterday|since_last|\d{4}-\d{2}-\d{2}|` + strings.Trim(durations.pattern, `^$`) + `)$`, number: true}
	return object{"anyOf": []object{
		textSchema(&Setting{form: form}),
		{"type": "object", "additionalProperties": false, "required": []string{"last"}, "properties": object{"last": part("last")}},
		{"type": "object", "additionalProperties": false, "required": []string{"from", "to"}, "properties": object{"from": part("from"), "to": part("to")}},
	}}
}

// Reference returns the table of all keys as Markdown, for the manual.
func Reference() string {
	var b strings.Builder
	b.WriteString("| key | meaning | type | default | flag | variable |\n|---|---|---|---|---|---|\n")
	code := func(text string) string {
		if text == "" {
			return ""
		}
		return "`" + text + "`"
	}
	for i := range settings {
		s := &settings[i]
		flag := ""
		if s.Flag != "" {
			flag = "--" + s.Flag
		}
		cells := []string{code(s.Key), s.Doc, s.typeName(), code(s.Default), code(flag), code(s.Variable())}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	return b.String()
}

// typeName describes the type of the key in the file.
func (s *Setting) typeName() string {
	switch t := typeOf(s.Key); {
	case s.values != nil:
		return strings.Join(s.values, ", ")
	case s.kind != nil && s.kind != list:
		return s.kind.name
	case s.form == durations:
		return "duration"
	case s.form == times:
		return "time"
	case t == nil || t.Kind() == reflect.String:
		return text.name
	case t.Kind() == reflect.Interface:
		return "several types"
	case t.Kind() == reflect.Bool:
		return boolean.name
	case t.Kind() == reflect.Float64:
		return number.name
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return "list of mappings"
	case t.Kind() == reflect.Slice:
		return list.name
	}
	return "mapping"
}

// typeOf returns the type of a key in the document, or nil if it is a part of a key
// with several types.
func typeOf(key string) reflect.Type {
	t := documentType
	for _, part := range strings.Split(key, ".") {
		for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return nil
		}
		for f := range t.Fields() {
			if f.Tag.Get("yaml") == part {
				t = f.Type
				break
			}
		}
	}
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}
