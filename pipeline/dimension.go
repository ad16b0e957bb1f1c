package pipeline

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"cwharvest/store/record"
)

// longestKey bounds the key of an instance in a database (bbolt's MaxKeySize is
// 32,768 bytes).
const longestKey = 32<<10 - 128

// longestValue is the most characters of the value of a dimension (API reference of
// Dimension).
const longestValue = 1024

// checkInstance marks an instance with impossible dimensions as refused. They identify
// an instance in requests, in its key and as JSON, so that nothing can be asked for it,
// now or later.
func checkInstance(in *record.Instance) {
	why := ""
	for i := range in.Dimensions {
		d := &in.Dimensions[i]
		if isPossible(d.Value) {
			continue
		}
		why = fmt.Sprintf("listed with %s %.40q, which no dimension can be", d.Name, d.Value)
		d.Value = replacement(d.Value)
	}
	if n := len(in.Key()); n > longestKey {
		why = fmt.Sprintf("listed with dimensions of %d bytes, which are too long", n)
		for i := range in.Dimensions {
			in.Dimensions[i].Value = replacement(in.Dimensions[i].Value)
		}
	}
	if why != "" {
		in.Refused = &record.Failure{Class: "impossible_dimension", Message: why}
	}
}

// isPossible reports whether a dimension can have a value. CloudWatch allows printable
// ASCII (API reference of Dimension); other printable characters can be stored, so
// CloudWatch decides about them. A decoder puts U+FFFD in place of invalid bytes.
func isPossible(value string) bool {
	return value != "" && utf8.RuneCountInString(value) <= longestValue && !strings.ContainsFunc(value, func(r rune) bool {
		return r == utf8.RuneError || r != ' ' && !unicode.IsPrint(r)
	})
}

// replacement returns a value that can be stored and is different for each value. It
// begins with a character that no possible value contains.
func replacement(value string) string {
	const shown = 64 // bytes
	sum := sha256.Sum256([]byte(value))
	return fmt.Sprintf("%c%.*s %x", utf8.RuneError, shown, strconv.QuoteToASCII(value[:min(len(value), shown)]), sum[:6])
}
