package config

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestDurationsComeBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		unit := []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour}[rng.IntN(4)]
		want := unit * time.Duration(rng.IntN(1000))
		text := formatDuration(want)
		if got, err := ParseDuration(text); got != want || err != nil {
			t.Fatalf("%v is written %s and read %v, %v", want, text, got, err)
		}
	}
}

func TestTimes(t *testing.T) {
	for text, want := range map[string]string{
		"2026-11-01": "2026-11-01T00:00:00Z", "2026-11-22T06:00": "2026-11-22T06:00:00Z", "2026-11-22 06:00:01": "2026-11-22T06:00:01Z",
		"2026-11-22T06:00:00Z": "2026-11-22T06:00:00Z", "2026-11-22T06:00:00+02:00": "2026-11-22T04:00:00Z",
	} {
		if got, err := ParseTime(text); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "yesterday", "2026-13-01", "2026-02-30", "01.11.2026", "2026-11-01T25:00"} {
		if got, err := ParseTime(text); err == nil {
			t.Errorf("%q: %v without an error", text, got)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"1000000": 1e6, "128MB": 128e6, "64MiB": 64 << 20, "1.5 GB": 15e8, "100kB": 1e5, "2Gi": 2 << 30, "5B": 5} {
		if got, err := ParseSize(text); got != want || err != nil {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "-5MB", "5mb", "5i", "5 parsecs", "99999999999GB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q: %d without an error", text, got)
		}
	}
}
