package config

import (
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var durationPart = regexp.MustCompile(`^(\d+(?:\.\d+)?)(ms|s|m|h|d|w)`)

var units = map[string]time.Duration{
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
}

// form is the syntax of a text value.
type form struct {
	pattern string
	number  bool   // a whole number is valid, too
	hint    string // for a text that has another form
}

func (f *form) matches(text string) bool { return regexp.MustCompile(f.pattern).MatchString(text) }

const withUnits = `\d+(\.\d+)?(ms|s|m|h|d|w)(\s*\d+(\.\d+)?(ms|s|m|h|d|w))*`

var (
	durations = &form{pattern: `^\s*(\d+|` + withUnits + `)\s*$`, number: true}
	periods   = &form{pattern: `^\s*(0*[6-9]\d|0*[1-9]\d{2,}|` + withUnits + `)\s*$`, number: true} // see parsePeriod
	sizes     = &form{pattern: `^\s*\d+(\.\d+)?\s*([kKMG]i?)?B?\s*$`, number: true}
	times     = &form{pattern: `^\s*\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?\s*$`}
	ids       = &form{pattern: accountForm.String(), number: true}
	roles     = &form{pattern: roleForm.String()}
	roleNames = &form{pattern: roleNameForm.String()}
	secrets   = &form{pattern: externalIDForm.String(), number: true}
	regions   = &form{pattern: `^(enabled|[a-z0-9-]*[*?][a-z0-9*?-]*|[a-z]{2,}(-[a-z]+)+-\d{1,2})$`}
	parents   = &form{pattern: parentForm.String()}
	spaces    = &form{pattern: namespaceForm.String()}
	lengths   = &form{pattern: `^(auto|never|` + strings.Trim(durations.pattern, `^$`) + `)$`, number: true}
)

// kind is a type of values: how YAML and flags give them, and how they are printed.
type kind struct {
	name  string
	yaml  reflect.Type // pointer, in which nil is a key that is not set
	form  *form        // syntax, for the schema
	parse func(to any, text string) error
	print func(from any) any // pointer to a value of the type yaml
}

var (
	text     = kindOf("text", nil, parseText, func(s string) string { return s })
	location = kindOf("location", nil, parseText, func(s string) string { return s })
	whole    = kindOf("whole number", nil, strconv.Atoi, func(n int) int { return n })
	number   = kindOf("number", nil, parseNumber, func(n float64) float64 { return n })
	boolean  = kindOf("true or false", nil, strconv.ParseBool, func(b bool) bool { return b })
	duration = kindOf("duration", durations, ParseDuration, formatDuration)
	interval = kindOf("duration", periods, parsePeriod, formatDuration)
	session  = kindOf("duration or auto", lengths, parseSessionDuration, formatSessionDuration)
	patience = kindOf("duration or never", lengths, parsePatience, formatPatience)
	size     = kindOf("size", sizes, ParseSize, formatSize)
	list     = &kind{name: "list"}
)

// kindOf returns the kind of settings that are a T in a Config and a Y in the file.
func kindOf[T, Y any](name string, form *form, parse func(string) (T, error), print func(T) Y) *kind {
	return &kind{
		name: name, form: form, yaml: reflect.TypeFor[*Y](),
		parse: func(to any, text string) error {
			v, err := parse(text)
			if err == nil {
				*to.(*T) = v
			}
			return err
		},
		print: func(from any) any { return pointer(print(*from.(*T))) },
	}
}

// set applies the values of a flag. It cleans paths as ReadFile does, so that a
// job's plan does not depend on where the path was given.
func (k *kind) set(to any, values []string) error {
	if k == list {
		*to.(*[]string) = values
		return nil
	}
	value := values[0]
	if k == location && !strings.Contains(value, "://") {
		value = filepath.Clean(value)
	}
	return k.parse(to, value)
}

// fill applies a value of the file. A number or a truth value is decoded already.
func (k *kind) fill(to any, from reflect.Value) error {
	if text, isText := from.Interface().(*string); isText {
		return k.parse(to, *text)
	}
	reflect.ValueOf(to).Elem().Set(from.Elem())
	return nil
}

func parseText(text string) (string, error)    { return text, nil }
func parseNumber(text string) (float64, error) { return strconv.ParseFloat(text, 64) }

// parseSessionDuration reads a duration, or auto as Auto.
func parseSessionDuration(text string) (time.Duration, error) {
	if text == "auto" {
		return Auto, nil
	}
	return ParseDuration(text)
}

func formatSessionDuration(d time.Duration) string {
	if d == Auto {
		return "auto"
	}
	return formatDuration(d)
}

// parsePatience reads a duration, or never as 0.
func parsePatience(text string) (time.Duration, error) {
	if text == "never" {
		return 0, nil
	}
	return ParseDuration(text)
}

func formatPatience(d time.Duration) string {
	if d == 0 {
		return "never"
	}
	return formatDuration(d)
}

const durationHint = "write 300, 5m, 24h or 7d"

// ParseDuration reads a duration such as 300 (seconds), 5m, 1h30m, 7d or 2w. It
// rounds to milliseconds, so that a printed duration is read back unchanged.
func ParseDuration(s string) (time.Duration, error) {
	rest := strings.ReplaceAll(strings.TrimSpace(s), " ", "")
	if n, err := strconv.ParseInt(rest, 10, 32); err == nil {
		if n < 0 {
			return 0, invalid("duration %q is negative", s).withHint(durationHint)
		}
		return time.Duration(n) * time.Second, nil
	}
	milliseconds := 0.0
	for first := true; rest != "" || first; first = false {
		part := durationPart.FindStringSubmatch(rest)
		if part == nil {
			return 0, invalid("duration %q is not valid", s).withHint(durationHint)
		}
		n, err := strconv.ParseFloat(part[1], 64)
		if err != nil {
			return 0, invalid("duration %q is not valid: %v", s, err).withHint(durationHint)
		}
		milliseconds += math.Round(n * float64(units[part[2]]/time.Millisecond))
		rest = rest[len(part[0]):]
	}
	if milliseconds > math.MaxInt64/2/1e6 {
		return 0, invalid("duration %q is too long", s).withHint(durationHint)
	}
	return time.Duration(milliseconds) * time.Millisecond, nil
}

// parsePeriod reads a duration. A bare number below 60 is refused, because 5 may
// mean minutes.
func parsePeriod(text string) (time.Duration, error) {
	bare := strings.TrimSpace(text)
	if n, err := strconv.Atoi(bare); err == nil && n > 0 && n < 60 {
		return 0, invalid("period %s has no unit", bare).withHint("write %ds or %dm", n, n)
	}
	return ParseDuration(text)
}

// formatDuration prints a duration in its largest whole unit, as ParseDuration
// reads it.
func formatDuration(d time.Duration) string {
	for _, unit := range []struct {
		name string
		d    time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if d >= unit.d && d%unit.d == 0 {
			return strconv.FormatInt(int64(d/unit.d), 10) + unit.name
		}
	}
	return d.String()
}

// formatSize prints a number of bytes as ParseSize reads it.
func formatSize(n int64) string {
	for _, unit := range []struct {
		name  string
		bytes int64
	}{{"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}} {
		if n >= unit.bytes && n%unit.bytes == 0 {
			return strconv.FormatInt(n/unit.bytes, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// ParseTime reads a date or a time. It is in UTC unless it has an offset.
func ParseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, strings.TrimSpace(s)); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, invalid("time %q is not valid", s).withHint("write 2026-11-01, 2026-11-01T06:00 or 2026-11-01T06:00:00Z")
}

var sizeForm = regexp.MustCompile(`^(\d+(?:\.\d+)?)\s*([kKMG]?i?)B?$`)

const sizeHint = "write 128MB, 64MiB or a number of bytes"

// ParseSize reads a number of bytes, such as 128MB, 64MiB or 1000000.
func ParseSize(s string) (int64, error) {
	m := sizeForm.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return 0, invalid("size %q is not valid", s).withHint(sizeHint)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, invalid("size %q is not valid: %v", s, err).withHint(sizeHint)
	}
	unit := map[string]float64{"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "ki": 1 << 10, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}[m[2]]
	if unit == 0 || n*unit > 1<<50 {
		return 0, invalid("size %q is not valid", s).withHint(sizeHint)
	}
	return int64(n * unit), nil
}

// ParseRange reads a range in one word: yesterday, since_last, a duration such
// as 24h, or a UTC day such as 2026-11-01.
func ParseRange(s string) (Range, error) {
	switch kind := RangeKind(s); kind {
	case Yesterday, SinceLast:
		return Range{Kind: kind}, nil
	}
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		return Range{Kind: Fixed, From: day, To: day.AddDate(0, 0, 1)}, nil
	}
	if last, err := ParseDuration(s); err == nil {
		return Range{Kind: Last, Last: last}, nil
	}
	return Range{}, invalid("range %q is not valid", s).
		withHint("write yesterday, since_last, 24h, 2026-11-01, {last: 24h} or {from: ..., to: ...}")
}

// Nearest returns the candidate closest to a misspelt word, or "" if none is close.
// An abbreviation or its plural, such as stats for statistics, is closer than two
// wrong letters.
func Nearest(word string, candidates []string) string {
	best, least := "", len(word)/2+1
	for _, c := range candidates {
		if d := distance(strings.ToLower(word), strings.ToLower(c)); d < least {
			best, least = c, d
		}
	}
	if short := strings.TrimSuffix(word, "s"); least > 1 && len(short) > 2 {
		i := slices.IndexFunc(candidates, func(c string) bool { return strings.HasPrefix(c, short) })
		if i >= 0 {
			return candidates[i]
		}
	}
	return best
}

// distance returns the Levenshtein distance of two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j+1]+1, row[j]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

// didYouMean returns a suggestion in parentheses, with a space before it, or "".
func didYouMean(word string, candidates []string) string {
	if c := Nearest(word, candidates); c != "" {
		return fmt.Sprintf(" (did you mean %q?)", c)
	}
	return ""
}
