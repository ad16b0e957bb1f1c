// Package human formats values for people who read a terminal.
package human

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// Number groups the digits of n by thousands: 13,800,000.
func Number(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// Short rounds large numbers to three or four digits: 13.8M.
func Short(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1fG", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1fM", float64(n)/1e6)
	}
	return Number(n)
}

// Printable replaces control characters other than line breaks. Error messages of services and values of tags reach terminals,
// which would interpret them.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// Writer makes all text printable on its way to another writer. Write needs whole characters.
type Writer struct{ io.Writer }

func (w Writer) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.Writer, Printable(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}
