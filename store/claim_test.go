package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"cwharvest/store/claim"
	"cwharvest/store/durable"
	"cwharvest/store/place"
	"cwharvest/store/record"
)

// Of those that claim the same place at once, one division gets it, and each of
// its shards once; also where there are no hard links. Shards of one division all
// get theirs.
func TestClaimsAtOnce(t *testing.T) {
	for round := range 50 {
		out := filepath.Join(t.TempDir(), "out")
		wants := []record.Shard{{}, {Number: 1, Of: 2}, {Number: 2, Of: 2}, {Number: 1, Of: 2}, {Number: 3, Of: 3}, {Number: 1, Of: 3}, {}}
		alike := round%4 > 1
		if alike {
			wants = []record.Shard{{Number: 1, Of: 4}, {Number: 2, Of: 4}, {Number: 3, Of: 4}, {Number: 4, Of: 4}}
		}
		errs := make([]error, len(wants))
		var all sync.WaitGroup
		for i, s := range wants {
			all.Go(func() {
				d, err := Open(t.TempDir(), Config{})
				if err != nil {
					errs[i] = err
					return
				}
				d.disk.Files.Fault = func(step durable.Step, after bool) error {
					if step.Name == "link" && !after && round%2 == 1 {
						return syscall.EPERM
					}
					return nil
				}
				errs[i] = errors.Join(d.claimOut(t.Context(), out, s), d.Close())
			})
		}
		all.Wait()
		claims, divisions := map[record.Shard]int{}, map[int]bool{}
		for i, s := range wants {
			if errs[i] == nil {
				claims[s]++
				divisions[s.Of] = true
			} else if !errors.As(errs[i], new(*claim.ClaimedError)) || alike {
				t.Fatal(errs[i])
			}
		}
		if len(divisions) != 1 {
			t.Fatalf("round %d: one place is claimed by %v", round, claims)
		}
		for s, n := range claims {
			if n != 1 {
				t.Fatalf("round %d: one place is claimed by %d shards %q", round, n, s)
			}
		}
	}
}

// A claim that a process left empty when it died, on a file system without hard
// links, is made by the next one. While its creator may be alive, others wait.
func TestClaimOfAProcessThatDied(t *testing.T) {
	for content, name := range map[string]string{"": "empty", "\x00\x00\x00": "zeros"} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			file := filepath.Join(out, claim.Name)
			if err := os.WriteFile(file, []byte(content), 0o666); err != nil {
				t.Fatal(err)
			}
			d, err := Open(t.TempDir(), Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if err := d.claimOut(ctx, out, record.Shard{}); !errors.Is(err, durable.ErrUnfinished) {
				t.Errorf("beside a process that is creating the claim: %v", err)
			}
			old := time.Now().Add(-time.Minute)
			if err := os.Chtimes(file, old, old); err != nil {
				t.Fatal(err)
			}
			if err := d.claimOut(t.Context(), out, record.Shard{}); err != nil {
				t.Fatal(err)
			}
			own, err := claim.Identify(t.Context(), &d.disk)
			if err != nil {
				t.Fatal(err)
			}
			if err := claim.For(own, record.Shard{})[0].Check(t.Context(), place.NewLocal(out, &d.disk.Files)); err != nil {
				t.Error(err)
			}
		})
	}
}

// A directory finds its own output claimed when another one, which names it from
// outside, came first.
func TestOutputInsideIsClaimed(t *testing.T) {
	d, err := Open(t.TempDir(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	other, err := Open(t.TempDir(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.acquireOut(t.Context(), filepath.Join(d.disk.Path, "data"), record.Shard{Number: 1, Of: 2}); err != nil {
		t.Fatal(err)
	}
	if err := d.acquireOut(t.Context(), "data", record.Shard{Number: 2, Of: 2}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []record.Shard{{}, {Number: 1, Of: 2}, {Number: 1, Of: 3}} {
		if err := d.acquireOut(t.Context(), "data", s); !errors.As(err, new(*claim.ClaimedError)) {
			t.Errorf("shard %q: %v", s, err)
		}
	}
}
