package main

import (
	"archive/tar"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"

	"github.com/klauspost/compress/zstd"
	bolt "go.etcd.io/bbolt"
)

// TestMakeCorpus writes the corpus with an earlier program. It needs that program's
// test binary, because only the test binary can use a clock other than the machine's:
//
//	git worktree add /tmp/earlier b5677ab
//	(cd /tmp/earlier && go test -c -o /tmp/earlier-bin/cwharvest ./cmd/cwharvest)
//	CWHARVEST_CORPUS_PROGRAM=/tmp/earlier-bin/cwharvest CWHARVEST_CORPUS_VERSION=b5677ab \
//		go test -count=1 -run '^TestMakeCorpus$' ./cmd/cwharvest
//
// CWHARVEST_CORPUS_ONLY=NAME makes only one directory. CWHARVEST_CORPUS_TO=DIR writes
// to DIR instead of testdata/corpus. CWHARVEST_CORPUS_CLOCK is the RFC 3339 time at
// which the program runs, by default this morning. A program of b5677ab needs the
// default, because it computes CloudWatch's retention from the machine's clock.
//
// Job names and times differ from run to run. The archives are otherwise
// reproducible: names are sorted, and times and owners are left out.
func TestMakeCorpus(t *testing.T) {
	program := os.Getenv("CWHARVEST_CORPUS_PROGRAM")
	if program == "" {
		t.Skip("set CWHARVEST_CORPUS_PROGRAM to make the corpus anew")
	}
	clock := time.Now().UTC().Truncate(24 * time.Hour).Add(6 * time.Hour)
	if text := os.Getenv("CWHARVEST_CORPUS_CLOCK"); text != "" {
		if err := clock.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range corpusCases {
		if only := os.Getenv("CWHARVEST_CORPUS_ONLY"); only != "" && only != c.name {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			m := newCorpusMaker(t, program, clock)
			m.About = c.about
			c.make(m)
			m.finish(filepath.Join(cmp.Or(os.Getenv("CWHARVEST_CORPUS_TO"), corpusDir), c.name))
		})
	}
}

// corpusMaker makes one directory of the corpus.
type corpusMaker struct {
	*testing.T
	corpusManifest
	program string
	dir     string
	today   time.Time // midnight before the clock
	sim     *awssim.Server
	http    *httptest.Server
}

// newCorpusMaker works in a directory with a fixed name, because the claim of an
// output directory holds the path.
func newCorpusMaker(t *testing.T, program string, clock time.Time) *corpusMaker {
	m := &corpusMaker{T: t, program: program, dir: filepath.Join(os.TempDir(), "cwharvest-corpus"), today: clock.Truncate(24 * time.Hour)}
	if err := os.Mkdir(m.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(m.dir); err != nil {
			t.Error(err)
		}
	})
	m.Program, m.Clock, m.Runs = os.Getenv("CWHARVEST_CORPUS_VERSION"), clock, [][]string{nil}
	m.Redo = []string{"--only", "111122223333/us-east-1"}
	return m
}

// serve starts a simulated AWS of two accounts in two regions.
func (m *corpusMaker) serve(instances int) {
	m.AWS = awssim.Config{
		Accounts: []string{"111122223333", "444455556666"}, Regions: []string{"us-east-1", "eu-west-1"}, Instances: instances,
		RoleName: "metrics-reader", ExternalID: "x1", Distinct: true,
	}
	m.at(m.Clock)
}

// at sets all clocks.
func (m *corpusMaker) at(clock time.Time) {
	m.Clock = clock
	if m.http != nil {
		m.sim.Clear("")
		m.http.Close()
	}
	started, aws := time.Now(), m.AWS
	aws.Now = func() time.Time { return clock.Add(time.Since(started)) }
	m.sim = awssim.New(aws)
	m.http = httptest.NewServer(m.sim)
	m.Cleanup(m.http.Close)
}

func (m *corpusMaker) fault(f awssim.Fault) {
	m.Helper()
	if err := m.sim.Inject(f); err != nil {
		m.Fatal(err)
	}
}

const twoMetrics = "metrics: [{namespace: AWS/EC2, names: [CPUUtilization, NetworkIn], statistics: [Average, Maximum]}]\n"

// configure writes harvest.yaml with both accounts and the settings.
func (m *corpusMaker) configure(settings string) {
	if !strings.Contains(settings, "period: ") {
		settings = "period: 1h\n" + settings
	}
	m.write("harvest.yaml", "dir: harvest\n"+settings+
		"defaults: {role_name: metrics-reader, external_id: x1, regions: [us-east-1, eu-west-1]}\n"+
		"accounts: [{id: \"111122223333\"}, {id: \"444455556666\"}]\n")
}

func (m *corpusMaker) write(name, text string) {
	m.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o666); err != nil {
		m.Fatal(err)
	}
}

// yesterday returns a range that does not move with the clock.
func (m *corpusMaker) yesterday() string { return m.days(1, 0) }

func (m *corpusMaker) days(from, to int) string {
	return fmt.Sprintf("range: {from: %s, to: %s}\n", m.day(from), m.day(to))
}

// day returns the date some days ago.
func (m *corpusMaker) day(ago int) string { return m.ago(ago).Format(time.DateOnly) }

func (m *corpusMaker) ago(days int) time.Time { return m.today.AddDate(0, 0, -days) }

// expect adds the usual rows of some days to the manifest.
func (m *corpusMaker) expect(from, to int) {
	m.Expect = append(m.Expect, corpusRows{
		Namespace: "AWS/EC2", Metrics: []string{"CPUUtilization", "NetworkIn"},
		Statistics: map[string]string{"average": "Average", "maximum": "Maximum"},
		Start:      m.ago(from), End: m.ago(to), Period: 3600,
	})
}

func (m *corpusMaker) command(args ...string) (*exec.Cmd, *strings.Builder) {
	var output strings.Builder
	c := exec.Command(m.program, args...)
	c.Dir, c.Env, c.Stdout, c.Stderr = m.dir, corpusEnvironment(m.AWS, m.http.URL, m.Clock), &output, &output
	return c, &output
}

func (m *corpusMaker) note(what string, args []string) {
	m.Commands = append(m.Commands, strings.Join(append([]string{"cwharvest"}, args...), " ")+what)
}

// run runs the earlier program and checks its exit code.
func (m *corpusMaker) run(code int, args ...string) string {
	m.Helper()
	m.note("", args)
	return m.quietly(code, args...)
}

func (m *corpusMaker) quietly(code int, args ...string) string {
	m.Helper()
	c, output := m.command(args...)
	_ = c.Run() // the exit code is checked below
	if got := c.ProcessState.ExitCode(); got != code {
		m.Fatalf("%s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, output)
	}
	return output.String()
}

var runArgs = []string{"run", "-c", "harvest.yaml"}

// killWhen starts a run and kills it as soon as its status meets a condition.
func (m *corpusMaker) killWhen(wanted func(status map[string]any) bool, flags ...string) {
	m.Helper()
	args := append(slices.Clone(runArgs), flags...)
	c, output := m.command(args...)
	if err := c.Start(); err != nil {
		m.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if s := m.status(); s != nil && s["source"] == "snapshot" && s["pid"] == float64(c.Process.Pid) && wanted(s) {
			break
		}
		if time.Now().After(deadline) {
			_ = c.Process.Kill()
			m.Fatalf("not within half a minute: %v\n%s", m.status(), output)
		}
	}
	if err := c.Process.Kill(); err != nil {
		m.Fatalf("the run has ended: %v\n%s", err, output)
	}
	_ = c.Wait() // killed
	m.note("  # kill -9", args)
}

// status returns the status that the earlier program prints, or nil if there is no job.
func (m *corpusMaker) status() map[string]any {
	c, _ := m.command("status", "harvest", "--json")
	c.Stdout, c.Stderr = nil, nil
	data, err := c.Output()
	var s map[string]any
	if err != nil || json.Unmarshal(data, &s) != nil {
		return nil
	}
	return s
}

// done returns a condition: at least n instances are done.
func done(n float64) func(map[string]any) bool {
	return func(s map[string]any) bool { return s["instances"].(map[string]any)["done"].(float64) >= n }
}

// killUntil kills runs in copies of the directory, each a little later than the
// previous one, until a killed run leaves a database that meets a condition.
func (m *corpusMaker) killUntil(wanted func(r corpusRecord) bool, flags ...string) {
	m.Helper()
	args := append(slices.Clone(runArgs), flags...)
	origin := filepath.Join(m.TempDir(), "origin")
	m.copy(m.dir, origin)
	for life, tries := 30*time.Millisecond, 0; tries < 2000; tries++ {
		if life += 500 * time.Microsecond; life > 250*time.Millisecond {
			life = 30 * time.Millisecond
		}
		if err := os.RemoveAll(m.dir); err != nil {
			m.Fatal(err)
		}
		m.copy(origin, m.dir)
		c, _ := m.command(args...)
		if err := c.Start(); err != nil {
			m.Fatal(err)
		}
		timer := time.AfterFunc(life, func() { _ = c.Process.Kill() })
		_ = c.Wait() // killed, or complete
		timer.Stop()
		if r, ok := m.record(); ok && wanted(r) {
			m.Logf("killed after %v, try %d", life, tries)
			m.note("  # kill -9", args)
			return
		}
	}
	m.Fatal("no kill met the moment")
}

func (m *corpusMaker) copy(from, to string) {
	m.Helper()
	if out, err := exec.Command("cp", "-a", "--sparse=always", from, to).CombinedOutput(); err != nil {
		m.Fatalf("cp: %v\n%s", err, out)
	}
}

// corpusRecord is the part of a database that the conditions for kills use.
type corpusRecord struct {
	Intents []corpusIntent
	Redo    *struct{ Prepared bool }
	Replans []any
}

type corpusIntent struct {
	Parts  []struct{ Name, SHA256 string }
	Staged bool
}

// record reads the database of the latest job.
func (m *corpusMaker) record() (r corpusRecord, ok bool) {
	m.Helper()
	paths, err := filepath.Glob(filepath.Join(m.dir, "harvest/jobs/*.db"))
	if err != nil || len(paths) == 0 {
		return r, false
	}
	db, err := bolt.Open(paths[len(paths)-1], 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		return r, false
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		meta, intents := tx.Bucket([]byte("meta")), tx.Bucket([]byte("intents"))
		if meta == nil || intents == nil {
			return errors.New("not a job's database yet")
		}
		if err := json.Unmarshal(meta.Get([]byte("job")), &r); err != nil {
			return err
		}
		return intents.ForEach(func(_, value []byte) error {
			var in corpusIntent
			err := json.Unmarshal(value, &in)
			r.Intents = append(r.Intents, in)
			return err
		})
	})
	return r, err == nil
}

// published reports whether a part has been published under its name.
func (m *corpusMaker) published(name string) bool {
	_, err := os.Stat(filepath.Join(m.dir, "harvest/data", name))
	return err == nil
}

// finish records the earlier program's status and packs the directory.
func (m *corpusMaker) finish(to string) {
	m.Helper()
	m.Status = m.status()
	for _, changing := range []string{"written", "age_seconds", "eta_seconds"} {
		delete(m.Status, changing)
	}
	if m.Status == nil {
		m.Fatal("no status")
	}
	c, output := m.command("verify", "harvest")
	_ = c.Run() // the exit code is recorded below
	if m.Verify = c.ProcessState.ExitCode(); m.Verify != 0 {
		m.Logf("verify: exit code %d\n%s", m.Verify, output)
	}
	text, err := json.MarshalIndent(m.corpusManifest, "", "  ")
	if err != nil {
		m.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		m.Fatal(err)
	}
	if err := os.WriteFile(to+".json", append(text, '\n'), 0o666); err != nil {
		m.Fatal(err)
	}
	if err := packCorpus(to+".tar.zst", m.dir); err != nil {
		m.Fatal(err)
	}
}

// packCorpus packs a directory; the same files give the same bytes.
func packCorpus(archive, dir string) error {
	file, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	encoder, err := zstd.NewWriter(file, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	entries := tar.NewWriter(encoder)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return packFile(entries, filepath.ToSlash(name), path, d)
	})
	if err != nil {
		return err
	}
	if err := entries.Close(); err != nil {
		return err
	}
	if err := encoder.Close(); err != nil {
		return err
	}
	return file.Close()
}

func packFile(entries *tar.Writer, name, path string, d fs.DirEntry) error {
	if d.IsDir() {
		return entries.WriteHeader(&tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755})
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := entries.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: int64(info.Mode().Perm())}); err != nil {
		return err
	}
	_, err = entries.Write(data)
	return err
}
