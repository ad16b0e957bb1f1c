package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"cwharvest/cmd/cwharvest/demo"
	"cwharvest/pipeline/awssim"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
)

// corpusDir holds harvest directories as an earlier program left them, complete
// or killed at some point. Each directory is an archive, NAME.tar.zst, beside its
// manifest, NAME.json. The manifest holds the commands that made the directory, the
// simulated AWS to continue it, and the rows that it holds when it is complete.
// TestMakeCorpus makes both.
const corpusDir = "testdata/corpus"

// corpusManifest describes one directory of the corpus.
type corpusManifest struct {
	About    string         // the special property of the directory
	Program  string         // the version that wrote it
	Commands []string       // the commands that wrote it
	Clock    time.Time      // the time of the program and of the simulated AWS at the last command
	AWS      awssim.Config  // the simulated AWS it was harvested from
	Expect   []corpusRows   // rows of the directory when it is complete
	Runs     [][]string     // arguments of `run` that complete it
	Replans  []any          // listed by its manifests when it is complete
	Verify   int            // exit code of `verify` before that
	Redo     []string       // arguments of `run --redo`
	Status   map[string]any // printed by the program before that, without the fields that change every second
}

// corpusRows describes rows of a directory: every datapoint that the simulated
// AWS has for some instances, metrics and statistics.
type corpusRows struct {
	Namespace  string
	Accounts   []string // nil: all accounts of the simulated AWS
	Regions    []string // nil: all
	By         []string // dimension names, for every instance that publishes them; nil: InstanceId of the whole fleet
	Sets       []string // instead of By: dimension sets as Name=Value,...
	Metrics    []string
	Statistics map[string]string // by column name
	Start, End time.Time
	Period     int64 // seconds
}

// corpusRow identifies one row.
type corpusRow struct {
	account, region, namespace, dimensions, metric string
	at, period                                     int64
}

// expected returns the values of all rows, by column name.
func (m *corpusManifest) expected() map[corpusRow]map[string]float64 {
	rows := map[corpusRow]map[string]float64{}
	for _, e := range m.Expect {
		aws := m.AWS
		if e.Accounts != nil {
			aws.Accounts = e.Accounts
		}
		if e.Regions != nil {
			aws.Regions = e.Regions
		}
		for _, account := range aws.Accounts {
			for _, region := range aws.Regions {
				for _, set := range e.sets(aws, account, region) {
					e.add(rows, &aws, account, region, set)
				}
			}
		}
	}
	return rows
}

func (e *corpusRows) sets(aws awssim.Config, account, region string) (sets []string) {
	switch {
	case e.Sets != nil:
		return e.Sets
	case e.By != nil:
		return aws.Published(account, region, e.Namespace, e.By)
	}
	for i := range aws.Instances {
		sets = append(sets, "InstanceId="+aws.Instance(account, region, i).ID)
	}
	return sets
}

func (e *corpusRows) add(rows map[corpusRow]map[string]float64, aws *awssim.Config, account, region, set string) {
	for _, metric := range e.Metrics {
		for at := e.Start; at.Before(e.End); at = at.Add(time.Duration(e.Period) * time.Second) {
			for column, statistic := range e.Statistics {
				value, ok := aws.Datapoint(account, region, e.Namespace, metric, set, statistic, at, time.Duration(e.Period)*time.Second)
				if !ok {
					continue
				}
				row := corpusRow{account, region, e.Namespace, set, metric, at.Unix(), e.Period}
				if rows[row] == nil {
					rows[row] = map[string]float64{}
				}
				rows[row][column] = value
			}
		}
	}
}

// columns returns the names of all columns with statistics.
func (m *corpusManifest) columns() (columns []string) {
	for _, e := range m.Expect {
		for column := range e.Statistics {
			columns = append(columns, column)
		}
	}
	slices.Sort(columns)
	return slices.Compact(columns)
}

// corpusCase is an unpacked directory of the corpus with its simulated AWS.
type corpusCase struct {
	*testing.T
	corpusManifest
	dir string
	env []string
}

// TestCorpus reads each directory with the current program, completes, verifies,
// redoes, exports and repairs it, and compares every row with the simulated AWS. The
// program and the simulated AWS run at the time of the manifest, so that CloudWatch's
// retention never ends for the corpus.
func TestCorpus(t *testing.T) {
	manifests, err := filepath.Glob(corpusDir + "/*.json")
	if err != nil || len(manifests) == 0 {
		t.Fatal("no corpus", err)
	}
	for _, path := range manifests {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			t.Parallel()
			c := openCorpus(t, path)
			c.read()
			c.complete()
			c.redo()
			c.export()
			c.repair()
		})
	}
}

// openCorpus unpacks a directory and serves its simulated AWS at the manifest's time.
func openCorpus(t *testing.T, manifest string) *corpusCase {
	t.Helper()
	c := &corpusCase{T: t, dir: t.TempDir()}
	data, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &c.corpusManifest); err != nil {
		t.Fatal(err)
	}
	if err := unpackCorpus(strings.TrimSuffix(manifest, ".json")+".tar.zst", c.dir); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	c.AWS.Distinct = true // a manifest of b5677ab does not say so: there was no other kind of values
	c.AWS.Now = func() time.Time { return c.Clock.Add(time.Since(started)) }
	server := httptest.NewServer(awssim.New(c.AWS))
	t.Cleanup(server.Close)
	c.env = corpusEnvironment(c.AWS, server.URL, c.Clock)
	return c
}

// corpusEnvironment returns the environment for calling a simulated AWS at a given time.
func corpusEnvironment(aws awssim.Config, url string, clock time.Time) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CWHARVEST_") })
	return append(append(env, awssim.Environment(aws, url)...), testClock+"="+clock.UTC().Format(time.RFC3339))
}

// cwharvest runs a command, checks its exit code and returns its output.
func (c *corpusCase) cwharvest(code int, args ...string) []byte {
	c.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("cwharvest", args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.dir, c.env, &stdout, &stderr
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		c.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		c.Fatalf("cwharvest %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, &stdout, &stderr)
	}
	return stdout.Bytes()
}

// read compares the status with the one that the earlier program printed, and
// verifies the parts published so far.
func (c *corpusCase) read() {
	c.Helper()
	var status map[string]any
	if err := json.Unmarshal(c.cwharvest(0, "status", "harvest", "--json"), &status); err != nil {
		c.Fatal(err)
	}
	for key, want := range c.Status {
		if got := status[key]; !reflect.DeepEqual(got, want) {
			c.Errorf("status: %s is %v, and the program that wrote the directory printed %v", key, got, want)
		}
	}
	c.cwharvest(0, "status", "harvest")
	c.cwharvest(c.Verify, "verify", "harvest")
}

// complete finishes the open jobs and compares all rows.
func (c *corpusCase) complete() {
	c.Helper()
	for _, args := range c.Runs {
		c.cwharvest(0, append([]string{"run", "-c", "harvest.yaml"}, args...)...)
	}
	c.compare("harvest/data")
	c.compareFiles()
	c.cwharvest(0, "verify", "harvest", "--deep")
}

// compareFiles checks the data that other programs read besides rows: the replans
// of the manifests and the metadata of Parquet files.
func (c *corpusCase) compareFiles() {
	c.Helper()
	manifests, err := filepath.Glob(filepath.Join(c.dir, "harvest/jobs/*.manifest.json"))
	if err != nil || len(manifests) == 0 {
		c.Fatal("no manifest", err)
	}
	var replans []any
	for _, path := range manifests {
		var m struct {
			Replans []any
		}
		data, err := os.ReadFile(path)
		if err = errors.Join(err, json.Unmarshal(data, &m)); err != nil {
			c.Fatal(err)
		}
		replans = append(replans, m.Replans...)
	}
	if !reflect.DeepEqual(replans, c.Replans) {
		c.Errorf("the manifests list the replans %v, want %v", replans, c.Replans)
	}
	parts, err := filepath.Glob(filepath.Join(c.dir, "harvest/data/date=*/*.parquet"))
	if err != nil {
		c.Fatal(err)
	}
	for _, path := range parts {
		c.checkMetadata(path)
	}
}

// checkMetadata checks that a Parquet file names its job and its plan.
func (c *corpusCase) checkMetadata(path string) {
	c.Helper()
	file, err := os.Open(path)
	if err != nil {
		c.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		c.Fatal(err)
	}
	reader, err := parquet.OpenFile(file, info.Size())
	if err != nil {
		c.Fatal(err)
	}
	job, _ := reader.Lookup("cwharvest.job")
	plan, _ := reader.Lookup("cwharvest.plan")
	if !strings.HasPrefix(strings.TrimPrefix(filepath.Base(path), "_"), job) || job == "" || !json.Valid([]byte(plan)) {
		c.Errorf("%s is of job %q with the plan %q", path, job, plan)
	}
}

// redo fetches a target once more.
func (c *corpusCase) redo() {
	c.Helper()
	c.cwharvest(0, append([]string{"run", "-c", "harvest.yaml", "--redo"}, c.Redo...)...)
	c.compare("harvest/data")
	c.cwharvest(0, "verify", "harvest", "--deep")
}

// export writes the rows in another format.
func (c *corpusCase) export() {
	c.Helper()
	format := []string{"--format", "parquet"}
	if found, err := filepath.Glob(filepath.Join(c.dir, "harvest/data/date=*/*.parquet")); err != nil || len(found) > 0 {
		format = []string{"--format", "csv", "--compression", "gzip"}
	}
	c.cwharvest(0, append([]string{"export", "harvest", "--to", "exported"}, format...)...)
	c.compare("exported")
}

// repair rebuilds the latest job's database from its other files and its parts.
func (c *corpusCase) repair() {
	c.Helper()
	databases, err := filepath.Glob(filepath.Join(c.dir, "harvest/jobs/*.db"))
	if err != nil || len(databases) == 0 {
		c.Fatal("no database", err)
	}
	if err := os.Remove(databases[len(databases)-1]); err != nil {
		c.Fatal(err)
	}
	c.cwharvest(0, "repair", "harvest")
	c.complete()
}

// compare checks that a directory of output holds each expected row once, with its
// values, and no other row.
func (c *corpusCase) compare(out string) {
	c.Helper()
	columns, want := c.columns(), c.expected()
	rows, wrong, unexpected := 0, 0, 0
	err := eachPublished(filepath.Join(c.dir, out), columns, func(r *demo.Row) {
		row := corpusRow{r.Account, r.Region, r.Namespace, r.Dimensions, r.Metric, r.At.Unix(), r.Period}
		values, known := want[row]
		rows++
		if !known {
			if unexpected++; unexpected == 1 {
				c.Errorf("%s: not expected, or there twice: %+v", out, row)
			}
			return
		}
		delete(want, row)
		for i, column := range columns {
			value, has := values[column]
			if has == math.IsNaN(r.Values[i]) || has && value != r.Values[i] {
				if wrong++; wrong == 1 {
					c.Errorf("%s: %+v: %s is %v, want %v", out, row, column, r.Values[i], value)
				}
			}
		}
	})
	if err != nil {
		c.Fatal(err)
	}
	if len(want)+wrong+unexpected > 0 || rows == 0 {
		c.Fatalf("%s: rows missing/unexpected/wrong %d/%d/%d of %d", out, len(want), unexpected, wrong, rows)
	}
}

// eachPublished yields the rows of every part below a directory of output.
func eachPublished(dir string, columns []string, yield func(*demo.Row)) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(path, "date=") || strings.HasPrefix(d.Name(), "_") {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := demo.ReadRows(file, columns, yield); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	})
}

// TestCorpusOfFormat1IsRefused proves that every command refuses a directory of
// format 1, which no release wrote, and changes no file. testdata/script/older.txtar
// covers format 2.
func TestCorpusOfFormat1IsRefused(t *testing.T) {
	c := &corpusCase{T: t, dir: t.TempDir(), env: os.Environ()}
	fixture := os.DirFS("../../store/testdata/schema1")
	if err := os.CopyFS(filepath.Join(c.dir, "harvest"), fixture); err != nil {
		t.Fatal(err)
	}
	packed, err := filepath.Glob(filepath.Join(c.dir, "harvest/jobs/*.db.gz"))
	if err != nil || len(packed) != 1 {
		t.Fatal(packed, err)
	}
	if err := gunzip(packed[0]); err != nil {
		t.Fatal(err)
	}
	before := c.tree()
	role := []string{"--dir", "harvest", "--role-arn", "arn:aws:iam::111122223333:role/metrics-reader", "--region", "us-east-1"}
	for _, args := range [][]string{
		append([]string{"run"}, role...),
		append([]string{"run", "--redo", "--only", "111122223333"}, role...),
		{"status", "harvest"}, {"verify", "harvest"}, {"export", "harvest", "--format", "csv", "--to", "exported"}, {"repair", "harvest"},
	} {
		c.cwharvest(exitFatal, args...)
	}
	if !reflect.DeepEqual(c.tree(), before) {
		t.Error("a file was changed")
	}
}

// gunzip replaces NAME.gz with NAME.
func gunzip(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	from, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	return errors.Join(unpackSparse(strings.TrimSuffix(path, ".gz"), 0o600, from), os.Remove(path))
}

// tree returns the contents of all files except locks.
func (c *corpusCase) tree() map[string]string {
	c.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "lock" {
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = string(data)
		return err
	})
	if err != nil {
		c.Fatal(err)
	}
	return files
}

// unpackCorpus unpacks an archive. Blocks of zeros, which are most of a database,
// become holes.
func unpackCorpus(archive, dir string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	decoder, err := zstd.NewReader(file, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer decoder.Close()
	entries := tar.NewReader(decoder)
	for {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		path := filepath.Join(dir, filepath.FromSlash(entry.Name))
		if entry.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(path, 0o777); err != nil {
				return err
			}
			continue
		}
		if err := unpackSparse(path, fs.FileMode(entry.Mode), entries); err != nil {
			return err
		}
	}
}

func unpackSparse(path string, mode fs.FileMode, from io.Reader) (err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	block, zeros := make([]byte, 4096), make([]byte, 4096)
	for size := int64(0); ; {
		n, err := io.ReadFull(from, block)
		if n > 0 && !bytes.Equal(block[:n], zeros[:n]) {
			if _, err := file.WriteAt(block[:n], size); err != nil {
				return err
			}
		}
		size += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return file.Truncate(size)
		}
		if err != nil {
			return err
		}
	}
}
