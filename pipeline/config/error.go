package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Error is an invalid setting, an invalid value, or an input file that cannot be
// used. Error returns the fact and Hint the next step for the user; each is one
// line without control characters, although both may quote a file.
type Error struct {
	fact, hint string

	Remedy Remedy
	File   string // of CreateFile
}

// Remedy is a next step that needs a command of the program. The command line
// makes the hint from it.
type Remedy int

const (
	NoRemedy    Remedy = iota
	CreateFile         // File does not exist; an initial harvest.yaml can be written there
	ShowExample        // the commented harvest.yaml shows every key in its place
)

func (e *Error) Error() string { return printable(e.fact) }

// Hint returns an imperative sentence, or "" if there is none or if Remedy is set.
func (e *Error) Hint() string { return printable(e.hint) }

func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// invalid returns an Error without a position.
func invalid(format string, args ...any) *Error { return &Error{fact: fmt.Sprintf(format, args...)} }

// withHint sets the hint.
func (e *Error) withHint(format string, args ...any) *Error {
	e.hint = fmt.Sprintf(format, args...)
	return e
}

// errorAt returns an Error about a setting. The fact begins with the flag or
// variable that set it, or with its position in the file.
func (c *Config) errorAt(path, format string, args ...any) *Error {
	text := fmt.Sprintf(format, args...)
	if by := c.overriddenBy(path); by != "" {
		return &Error{fact: by + ": " + text}
	}
	if c.position != nil {
		if at := c.position(path); at != "" {
			text = at + ": " + text
		}
	}
	return &Error{fact: text}
}

// wrapAt returns an Error about a setting with the text and hint of another error.
func (c *Config) wrapAt(path string, err error) *Error {
	return c.errorAt(path, "%v", err).withHintOf(err)
}

// wrap returns an Error with a prefix and the text and hint of another error.
func wrap(prefix string, err error) *Error { return invalid("%s: %v", prefix, err).withHintOf(err) }

func (e *Error) withHintOf(err error) *Error {
	if hinted := (interface{ Hint() string })(nil); errors.As(err, &hinted) {
		e.hint = hinted.Hint()
	}
	return e
}

// overridden records that a flag or an environment variable sets the value at a
// path such as $.defaults.regions. Errors and Print show it.
func (c *Config) overridden(path, by string) {
	if c.overrides == nil {
		c.overrides = map[string]string{}
	}
	c.overrides[path] = by
}

// overriddenBy returns the flag or variable that sets a value or one of its
// parents, or "".
func (c *Config) overriddenBy(path string) string {
	for path != "" {
		if by := c.overrides[path]; by != "" {
			return by
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return ""
}

// IsError reports whether an error is about the configuration.
func IsError(err error) bool { return errors.As(err, new(*Error)) }
