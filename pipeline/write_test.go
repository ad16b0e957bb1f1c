package pipeline

import (
	"testing"

	"cwharvest/store"
	"cwharvest/store/record"
)

// A group commit of short series, or of discovered instances, takes no more
// memory than one of long series.
func TestGroupCommitsAreBounded(t *testing.T) {
	hours := make([]float64, 500*24)
	for name, c := range map[string]struct {
		entry entry
		most  int // entries in a commit
	}{
		"a day of hours":       {entry{results: make([]store.Result, 500), buffer: &hours}, 24},
		"discovered instances": {entry{discovery: &store.Discovery{Instances: make([]record.Instance, 1000)}}, 3},
	} {
		in := make(chan entry, 100)
		for range cap(in) {
			in <- c.entry
		}
		w := writer{in: in}
		if batch := w.gather(<-in); len(batch) > c.most || len(batch) < c.most/2 {
			t.Errorf("%s: %d answers in one commit, want at most %d", name, len(batch), c.most)
		}
	}
}
