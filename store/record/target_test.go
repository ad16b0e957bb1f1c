package record

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// Every target is of one shard, whatever their number, and shards are of about
// one size.
func TestShardsHoldEachTargetOnce(t *testing.T) {
	const targets = 20_000
	for _, of := range []int{1, 2, 3, 4, 7, 16} {
		sizes := make([]int, of)
		for i := range targets {
			target := Target{Account: fmt.Sprintf("%012d", 100_000_000_000+i/20*7919), Region: fmt.Sprintf("region-%d", i%20)}
			holders := 0
			for n := range of {
				if (Shard{n + 1, of}).Holds(target) {
					holders++
					sizes[n]++
				}
			}
			if holders != 1 {
				t.Fatalf("%v is of %d shards of %d", target, holders, of)
			}
		}
		if least, most := slices.Min(sizes), slices.Max(sizes); float64(most-least) > 0.15*targets/float64(of) {
			t.Errorf("%d shards have %d to %d targets", of, least, most)
		}
	}
}

// Which shard holds a target is the same in every version: shards of one place
// may be upgraded one after the other.
func TestShardsStay(t *testing.T) {
	var got []int
	for _, region := range []string{"us-east-1", "us-west-2", "eu-west-1", "eu-central-1", "ap-south-1", "sa-east-1"} {
		for n := 1; n <= 4; n++ {
			if (Shard{n, 4}).Holds(Target{"111122223333", region}) {
				got = append(got, n)
			}
		}
	}
	if want := []int{2, 2, 3, 1, 4, 3}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Ids of jobs show whether they belong to another shard of the division.
func TestSiblings(t *testing.T) {
	epoch := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	alike := "a-shard-1-of-4-2026-11-20" // a name, as people may give it
	day := Plan{Name: "a job", Start: epoch, End: epoch.AddDate(0, 0, 1)}
	part := Plan{Name: "a job", Start: epoch, End: epoch.Add(6 * time.Hour)}
	own := Shard{2, 4}
	for _, c := range []struct {
		plan  Plan
		shard Shard
		want  bool
	}{
		{day, Shard{1, 4}, true}, {part, Shard{4, 4}, true}, {day, Shard{2, 4}, false},
		{Plan{Name: alike, Start: epoch, End: epoch.AddDate(0, 0, 1)}, Shard{2, 4}, false},
		{Plan{Name: alike, Start: epoch, End: epoch.AddDate(0, 0, 7)}, Shard{3, 4}, true},
		{Plan{Name: alike, Start: epoch, End: epoch.AddDate(0, 0, 1)}, Shard{}, false},
		{day, Shard{1, 3}, false}, {day, Shard{1, 14}, false}, {day, Shard{}, false},
	} {
		c.plan.Shard = c.shard
		id, err := NewJobID(c.plan)
		if err != nil {
			t.Fatal(err)
		}
		if own.sibling(id) != c.want || (Shard{}).sibling(id) {
			t.Errorf("%s: sibling %v, want %v", id, own.sibling(id), c.want)
		}
	}
}
