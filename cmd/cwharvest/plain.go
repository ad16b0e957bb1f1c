package main

import (
	"io"
	"strings"
	"unicode"
)

// plain is text without control characters but line breaks: what services and
// tags say is shown on terminals, which obey them.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// plainWriter writes what is plain of whole lines.
type plainWriter struct{ io.Writer }

func (w plainWriter) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.Writer, plain(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}
