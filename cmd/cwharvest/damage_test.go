package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// damagePage is the page size of databases.
const damagePage = 16 << 10

// damages are ways to damage a database.
var damages = map[string]func(r *rand.Rand, b []byte) []byte{
	"cut at a page": func(r *rand.Rand, b []byte) []byte { return b[:damagePage*r.IntN(len(b)/damagePage)] },
	"cut anywhere":  func(r *rand.Rand, b []byte) []byte { return b[:r.IntN(len(b))] },
	"one bit":       func(r *rand.Rand, b []byte) []byte { b[r.IntN(len(b))] ^= 1 << r.IntN(8); return b },
	"many bits": func(r *rand.Rand, b []byte) []byte {
		for range 100 {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
		return b
	},
	"pages swapped": func(r *rand.Rand, b []byte) []byte {
		p, q := somePage(r, b), somePage(r, b)
		copied := bytes.Clone(p)
		copy(p, q)
		copy(q, copied)
		return b
	},
	"page over page": func(r *rand.Rand, b []byte) []byte {
		at := damagePage * r.IntN(len(b)/damagePage)
		id := bytes.Clone(b[at : at+8])
		copy(b[at:], somePage(r, b))
		copy(b[at:], id)
		return b
	},
	"page of zeros":  func(r *rand.Rand, b []byte) []byte { clear(somePage(r, b)); return b },
	"page of noise":  func(r *rand.Rand, b []byte) []byte { noise(r, somePage(r, b)); return b },
	"head of a page": func(r *rand.Rand, b []byte) []byte { noise(r, somePage(r, b)[8:16]); return b },
	"a reference": func(r *rand.Rand, b []byte) []byte {
		b, page := forge(b, nil), somePage(r, b)
		binary.NativeEndian.PutUint64(page[24+16*r.IntN(4):], uint64(r.IntN(len(b)/damagePage)))
		return b
	},
	"a length":        func(r *rand.Rand, b []byte) []byte { noise(r, somePage(r, b)[16+4*r.IntN(40):][:4]); return b },
	"both metas zero": func(_ *rand.Rand, b []byte) []byte { clear(b[:2*damagePage]); return b },
	"metas forged": func(r *rand.Rand, b []byte) []byte {
		at := 8 * (1 + r.IntN(6)) // page size, root, sequence, list of free pages, end, transaction
		value := []uint64{r.Uint64(), r.Uint64N(40), 0, 1<<64 - 1, 1 << 32}[r.IntN(5)]
		return forge(b, func(meta []byte) { binary.NativeEndian.PutUint64(meta[at:], value) })
	},
	"noise": func(r *rand.Rand, b []byte) []byte { noise(r, b); return b },
	"empty": func(*rand.Rand, []byte) []byte { return nil },
}

// inUse returns the pages that were ever used. bbolt makes files larger in advance.
func inUse(b []byte) []byte {
	end := max(binary.NativeEndian.Uint64(b[16+40:]), binary.NativeEndian.Uint64(b[damagePage+16+40:]))
	return b[:damagePage*end]
}

func somePage(r *rand.Rand, b []byte) []byte {
	at := damagePage * r.IntN(len(b)/damagePage)
	return b[at : at+damagePage]
}

func noise(r *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

// forge changes both meta pages and makes their checksums right.
func forge(b []byte, change func(meta []byte)) []byte {
	for _, at := range []int{16, damagePage + 16} {
		meta := b[at : at+64]
		if change != nil {
			change(meta)
		}
		sum := fnv.New64a()
		sum.Write(meta[:56])
		binary.NativeEndian.PutUint64(meta[56:], sum.Sum64())
	}
	return b
}

// damaged counts the outcomes of cases.
type damaged struct {
	*corpusCase
	cases, sound, repaired, completed, crashed int
	memory                                     int64 // in KiB, of the largest process
	slowest                                    time.Duration
}

// TestDamagedDatabases proves that no content of a database crashes the program, that
// repair makes of it a directory that verify finds sound, and that a run completes it
// with every row once.
func TestDamagedDatabases(t *testing.T) {
	needsProcesses(t)
	besideOthers(t)
	cases, names := sized(45, 10_000), []string{"csv-spool", "intent", "csv-gzip"}
	kinds := slices.Sorted(mapKeys(damages))
	for n, name := range names {
		d := damaged{corpusCase: openCorpus(t, corpusDir+"/"+name+".json")}
		whole := filepath.Join(t.TempDir(), "whole")
		if err := os.CopyFS(whole, os.DirFS(d.dir)); err != nil {
			t.Fatal(err)
		}
		for i := n; i < cases; i += len(names) {
			kind := kinds[i/len(names)%len(kinds)]
			d.one(whole, kind, rand.New(rand.NewPCG(uint64(i), 17)), i%sized(15, 50) < len(names))
		}
		t.Logf("%s: %d cases: %d sound, %d repaired, %d crashed; %d of them completed by a run with every row once; at most %d MiB and %s a command",
			name, d.cases, d.sound, d.repaired, d.crashed, d.completed, d.memory>>10, d.slowest.Round(time.Millisecond))
	}
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// one damages a database in one way, and checks every command that reads it.
func (d *damaged) one(whole, kind string, r *rand.Rand, complete bool) {
	d.Helper()
	if err := errors.Join(os.RemoveAll(d.dir), os.CopyFS(d.dir, os.DirFS(whole))); err != nil {
		d.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(d.dir, "harvest/jobs/*.db"))
	if err != nil || len(paths) == 0 {
		d.Fatal("no database", err)
	}
	path := paths[r.IntN(len(paths))]
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, damages[kind](r, inUse(data)), 0o600)
	}
	if err != nil {
		d.Fatal(err)
	}
	d.cases++
	d.survives(kind, "status", "harvest")
	d.survives(kind, "verify", "harvest")
	if complete {
		if code, out := d.survives(kind, "run", "-c", "harvest.yaml"); code != 0 && (code != exitFatal || !strings.Contains(out, "cwharvest repair") && !strings.Contains(out, "cwharvest verify")) {
			d.Errorf("%s: run: exit code %d\n%s", kind, code, out)
		}
	}
	code, out := d.survives(kind, "repair", "harvest", "--json")
	if code != 0 {
		d.Errorf("%s: repair: exit code %d\n%s", kind, code, out)
		return
	}
	if !strings.Contains(out, `"rebuilt": 0`) {
		d.repaired++
	} else {
		d.sound++
	}
	if code, out := d.survives(kind, "verify", "harvest"); code != 0 {
		d.Errorf("%s: verify after repair: exit code %d\n%s", kind, code, out)
	}
	if complete {
		d.complete()
		d.completed++
	}
}

// survives runs a command on a damaged directory. It may fail with one line and a hint, and
// must not crash, hang or need much memory.
func (d *damaged) survives(kind string, args ...string) (code int, out string) {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), hangAfter)
	defer cancel()
	cmd := exec.CommandContext(ctx, "cwharvest", args...)
	cmd.Dir, cmd.Env = d.dir, append(slices.Clone(d.env), "GOTRACEBACK=crash") // a crash raises SIGABRT
	started := time.Now()
	printed, err := cmd.CombinedOutput()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		d.Fatal(err)
	}
	d.slowest = max(d.slowest, time.Since(started))
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		d.memory = max(d.memory, int64(usage.Maxrss))
	}
	code, out = cmd.ProcessState.ExitCode(), string(printed)
	if code < 0 || code == exitUsage || strings.Contains(out, "goroutine ") || strings.Contains(out, "fatal error") || strings.Contains(out, "panic") {
		d.crashed++
		d.Errorf("%s: %v crashed: %v\n%.2000s", kind, args, cmd.ProcessState, out)
	}
	report := args[0] == "run" || args[0] == "verify" // has a line for each problem
	if code == exitFatal && !report && strings.Count(strings.TrimSpace(out), "\n") > 0 {
		d.Errorf("%s: %v printed more than a line\n%s", kind, args, out)
	}
	return code, out
}
