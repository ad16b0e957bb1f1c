package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Error is a setting that cannot be meant. Its text is one line, without the
// control characters of the file that it may quote.
type Error struct{ text string }

func (e *Error) Error() string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, e.text)
}

// bad returns an Error about a setting, with its place in the file.
func (c *Config) errorAt(path, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if by := c.overriddenBy(path); by != "" {
		return &Error{by + ": " + text}
	}
	if c.position != nil {
		if at := c.position(path); at != "" {
			text = at + ": " + text
		}
	}
	return &Error{text}
}

// Override remembers that a setting, such as $.defaults.regions, comes from a
// flag or a variable of the environment, for errors and Print.
func (c *Config) Override(path, by string) {
	if c.overrides == nil {
		c.overrides = map[string]string{}
	}
	c.overrides[path] = by
}

// overridden is what overrides a setting, or one that it is part of; else "".
func (c *Config) overriddenBy(path string) string {
	for path != "" {
		if by := c.overrides[path]; by != "" {
			return by
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return ""
}

// IsError reports whether an error is about the specification.
func IsError(err error) bool { return errors.As(err, new(*Error)) }
