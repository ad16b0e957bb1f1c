package record

import (
	"crypto/rand"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// NewJobID returns a readable and unique id. It is unique because parts of
// different directories may have the same place of output.
func NewJobID(plan Plan) (string, error) {
	var suffix [3]byte
	if _, err := rand.Read(suffix[:]); err != nil {
		return "", err
	}
	name := safeName(plan.Name)
	if plan.Shard != (Shard{}) {
		name += "-" + plan.Shard.Name()
	}
	return strings.Join([]string{name, rangeName(plan.Start, plan.End), hex.EncodeToString(suffix[:])}, "-"), nil
}

// safeName replaces characters so that a name stays in its directory and is not
// hidden there.
func safeName(name string) string {
	safe := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '-'
	}, name)
	safe = strings.TrimLeft(safe, "-_")
	if safe == "" {
		return "job"
	}
	return safe[:min(len(safe), 64)]
}

func rangeName(start, end time.Time) string {
	start, end = start.UTC(), end.UTC()
	midnight := start.Truncate(24*time.Hour).Equal(start) && end.Truncate(24*time.Hour).Equal(end)
	switch {
	case midnight && end.Sub(start) == 24*time.Hour:
		return start.Format(time.DateOnly)
	case midnight:
		return start.Format(time.DateOnly) + "-to-" + end.Format(time.DateOnly)
	default:
		const minute = "2006-01-02T1504Z"
		return start.Format(minute) + "-to-" + end.Format(minute)
	}
}

// siblingForm matches the id of a shard's job: see NewJobID. The job's name may
// contain the same text, so the last match counts.
var siblingForm = regexp.MustCompile(`^.*-shard-([1-9]\d*)-of-([1-9]\d*)-` + timeForm + `(?:-to-` + timeForm + `)?-[0-9a-f]{6}$`)

const timeForm = `\d{4}-\d\d-\d\d(?:T\d{4}Z)?`

// sibling reports whether a job belongs to another shard of the same division.
func (s Shard) sibling(job string) bool {
	if s == (Shard{}) {
		return false
	}
	m := siblingForm.FindStringSubmatch(job)
	return m != nil && m[1] != strconv.Itoa(s.Number) && m[2] == strconv.Itoa(s.Of)
}
