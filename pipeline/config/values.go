package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var durationPart = regexp.MustCompile(`^(\d+(?:\.\d+)?)(ms|s|m|h|d|w)`)

var units = map[string]time.Duration{
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
}

// ParseDuration reads durations as people write them: 300 (seconds), 5m,
// 1h30m, 7d, 2w; rounded to milliseconds, so that what is written of one is read
// as the same.
func ParseDuration(s string) (time.Duration, error) {
	rest := strings.ReplaceAll(strings.TrimSpace(s), " ", "")
	if n, err := strconv.ParseInt(rest, 10, 32); err == nil {
		if n < 0 {
			return 0, fmt.Errorf("duration %q is negative: write 300, 5m, 24h or 7d", s)
		}
		return time.Duration(n) * time.Second, nil
	}
	milliseconds := 0.0
	for first := true; rest != "" || first; first = false {
		part := durationPart.FindStringSubmatch(rest)
		if part == nil {
			return 0, fmt.Errorf("duration %q: write 300, 5m, 24h or 7d", s)
		}
		n, err := strconv.ParseFloat(part[1], 64)
		if err != nil {
			return 0, fmt.Errorf("duration %q: %w", s, err)
		}
		milliseconds += math.Round(n * float64(units[part[2]]/time.Millisecond))
		rest = rest[len(part[0]):]
	}
	if milliseconds > math.MaxInt64/2/1e6 {
		return 0, fmt.Errorf("duration %q is too long", s)
	}
	return time.Duration(milliseconds) * time.Millisecond, nil
}

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

// formatSize writes bytes as ParseSize reads them.
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

// ParseTime reads a date or a time, in UTC unless it has an offset.
func ParseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, strings.TrimSpace(s)); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("time %q: write 2026-11-01, 2026-11-01T06:00 or 2026-11-01T06:00:00Z", s)
}

var sizeForm = regexp.MustCompile(`^(\d+(?:\.\d+)?)\s*([kKMG]?i?)B?$`)

// ParseSize reads bytes: 128MB, 64MiB, 1000000.
func ParseSize(s string) (int64, error) {
	m := sizeForm.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return 0, fmt.Errorf("size %q: write 128MB, 64MiB or a number of bytes", s)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, fmt.Errorf("size %q: %w", s, err)
	}
	unit := map[string]float64{"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "ki": 1 << 10, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}[m[2]]
	if unit == 0 || n*unit > 1<<50 {
		return 0, fmt.Errorf("size %q: write 128MB, 64MiB or a number of bytes", s)
	}
	return int64(n * unit), nil
}

// ParseRange reads a range as one word: yesterday, since_last, a length such as
// 24h, or a UTC day such as 2026-11-01.
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
	return Range{}, fmt.Errorf("range %q: write yesterday, since_last, 24h, 2026-11-01, {last: 24h} or {from: ..., to: ...}", s)
}
