package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"cwharvest/store/claim"
	"cwharvest/store/durable"
	"cwharvest/store/encode"
	"cwharvest/store/place"
	"cwharvest/store/record"
)

// Export selects jobs and the format of an export.
type Export struct {
	Out    string // a directory
	Format encode.Format
	// Job selects jobs; nil: all.
	Job func(*record.Plan) bool
}

// Exported counts the files of an export.
type Exported struct {
	Files, Kept int // Kept: existing files
	Removed     int // files of parts that no longer exist
	Rows        int64
}

// ExportParts writes the published parts of a directory in another format, part by
// part under the same names, without fetching anything. Each part must have the SHA-256
// of the manifest. A file of an earlier export is kept if it still has the SHA-256 with
// which it was written, and written again otherwise.
func ExportParts(ctx context.Context, dir string, remote record.Remote, e Export) (done Exported, err error) {
	d, err := record.OpenDir(dir, remote)
	if err != nil {
		return done, err
	}
	ids, err := record.JobIDs(d.Path)
	if err != nil {
		return done, err
	}
	selected := 0
	for _, id := range ids {
		x := exporting{Export: e, dir: d, to: place.NewLocal(e.Out, &d.Files), done: &done}
		if x.plan, err = d.ReadPlan(id); err != nil {
			return done, err
		}
		if e.Job != nil && !e.Job(&x.plan) {
			continue
		}
		if !d.WasCreated(id) {
			continue
		}
		if err := d.CheckFormat(id); err != nil {
			return done, fmt.Errorf("cannot export job %s: %w", id, err)
		}
		if err := claim.CheckPresent(ctx, d, x.plan.Out, x.plan.Shard); err != nil {
			return done, err
		}
		selected++
		if err := x.job(ctx); err != nil {
			return done, fmt.Errorf("cannot export job %s: %w", id, err)
		}
	}
	if selected == 0 {
		return done, fmt.Errorf("%s: %w", dir, record.ErrNoJob)
	}
	return done, nil
}

// ExportError reports a directory to which a job cannot be exported.
type ExportError struct{ Out, Problem, hint string }

func (e *ExportError) Error() string { return fmt.Sprintf("cannot export to %s: %s", e.Out, e.Problem) }

// Hint returns what to do next.
func (e *ExportError) Hint() string { return e.hint }

// exporting is the export of one job.
type exporting struct {
	Export
	dir  *record.Dir
	plan record.Plan
	to   place.Place
	done *Exported
	log  exportLog
}

// exportLogName is the file in which exports record their files. Its name begins with a
// dot, so that query engines skip it.
const exportLogName = ".cwharvest-export.json"

// exportLog holds the exported files by name.
type exportLog map[string]exportedFile

type exportedFile struct {
	Of     string `json:"of"` // SHA-256 of the part
	SHA256 string `json:"sha256"`
}

// readLog reads the record of earlier exports. Without it, or if it is damaged, every
// file is compared with a new one.
func (x *exporting) readLog() error {
	x.log = exportLog{}
	data, err := os.ReadFile(filepath.Join(x.Out, exportLogName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && json.Unmarshal(data, &x.log) != nil {
		x.log = exportLog{}
	}
	return err
}

func (x *exporting) writeLog() error {
	data, err := json.MarshalIndent(x.log, "", "  ")
	if err != nil {
		return err
	}
	if err := x.dir.Files.MakeDir(x.Out, 0o777); err != nil {
		return err
	}
	return x.dir.Files.Write(filepath.Join(x.Out, exportLogName), append(data, '\n'), 0o666)
}

// job exports the parts in the manifest file. That file is always replaced as a whole,
// so a run may continue meanwhile.
func (x *exporting) job(ctx context.Context) error {
	m, err := record.ReadManifest(x.dir.Path, x.plan.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no parts are published yet
	}
	if err != nil {
		return err
	}
	from, err := x.dir.Place(x.plan.Out)
	if err != nil {
		return err
	}
	if path.Clean(filepath.ToSlash(x.Out)) == path.Clean(from.String()) {
		return &ExportError{Out: x.Out, Problem: "it holds the data of the job", hint: "export to another directory"}
	}
	names, err := x.to.List(ctx, "date=*/"+x.plan.ID+"-*")
	if err != nil {
		return err
	}
	if err := x.refuseOther(names); err != nil {
		return err
	}
	if err := x.readLog(); err != nil {
		return err
	}
	exported, err := x.parts(ctx, from, m.Parts)
	for _, p := range m.Lost { // its rows are not exported again yet
		exported[x.nameOf(p)] = true
	}
	if err == nil {
		err = x.removeOld(ctx, names, exported)
	}
	return errors.Join(err, x.writeLog())
}

func (x *exporting) nameOf(p record.Part) string {
	return strings.TrimSuffix(p.Name, x.plan.OutputFormat().Suffix()) + x.Format.Suffix()
}

// parts exports parts and returns the names of their files.
func (x *exporting) parts(ctx context.Context, from place.Place, parts []record.Part) (map[string]bool, error) {
	exported := map[string]bool{}
	for _, p := range parts {
		name := x.nameOf(p)
		if err := x.part(ctx, from, p, name); err != nil {
			return exported, fmt.Errorf("%s: %w", p.Name, err)
		}
		exported[name] = true
	}
	return exported, nil
}

// refuseOther refuses a directory that has these rows in the same format with another
// compression. Query engines would read every row twice.
func (x *exporting) refuseOther(names []string) error {
	for _, compression := range []string{"none", "gzip", "zstd"} {
		other := encode.Format{Name: x.Format.Name, Compression: compression}.Suffix()
		i := slices.IndexFunc(names, func(name string) bool { return strings.HasSuffix(name, other) })
		if i >= 0 && other != x.Format.Suffix() {
			return &ExportError{Out: x.Out, Problem: fmt.Sprintf("it has these rows with another compression (%s)", names[i]), hint: "export to another directory, or remove them"}
		}
	}
	return nil
}

// removeOld removes exported files of parts that a redo or a repair has replaced.
func (x *exporting) removeOld(ctx context.Context, names []string, exported map[string]bool) error {
	for _, name := range names {
		if exported[name] || !strings.HasSuffix(name, x.Format.Suffix()) {
			continue
		}
		if err := x.to.Remove(ctx, name); err != nil {
			return err
		}
		delete(x.log, name)
		x.done.Removed++
	}
	return nil
}

// part exports one part unless its file is there already.
func (x *exporting) part(ctx context.Context, from place.Place, p record.Part, name string) error {
	current, _, err := x.to.Sum(ctx, name, true)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if was, known := x.log[name]; known && was == (exportedFile{Of: p.SHA256, SHA256: current}) {
		x.done.Kept++
		return nil
	}
	if sum, _, err := from.Sum(ctx, p.Name, true); err != nil || sum != p.SHA256 {
		return damagedPart(x.dir.Path, from, p.Name, err)
	}
	is := record.Part{Name: name}
	err = build(x.to, &x.dir.Files, &is, func(w io.Writer) error {
		return x.convert(ctx, w, from, p)
	})
	if err != nil {
		return err
	}
	x.log[name] = exportedFile{Of: p.SHA256, SHA256: is.SHA256}
	if current == is.SHA256 { // of an export that kept no record
		x.done.Kept++
	} else {
		x.done.Files++
		x.done.Rows += p.Rows
	}
	path := filepath.Join(x.Out, filepath.FromSlash(name))
	return x.dir.Files.Publish(durable.Temporary(path), path)
}

func (x *exporting) convert(ctx context.Context, w io.Writer, from place.Place, p record.Part) (err error) {
	statistics := x.plan.Statistics()
	out, err := x.Format.NewWriter(w, statistics, map[string]string{"cwharvest.job": x.plan.ID, "cwharvest.plan": string(x.plan.Settings)})
	if err != nil {
		return err
	}
	rows := int64(0)
	err = record.ReadRuns(ctx, from, x.plan.OutputFormat(), p.Name, func(run *encode.Run, columns []string) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := sameColumns(columns, statistics); err != nil {
			return err
		}
		rows += int64(run.Rows())
		return out.WriteRun(run)
	})
	if err == nil && rows != p.Rows {
		err = fmt.Errorf("it has %d rows, but %d in the manifest", rows, p.Rows)
	}
	return errors.Join(err, out.Close())
}

func sameColumns(columns, statistics []string) error {
	want := make([]string, len(statistics))
	for i, s := range statistics {
		want[i] = encode.Column(s)
	}
	if !slices.Equal(columns, want) {
		return fmt.Errorf("it has the columns %s, want %s", strings.Join(columns, ","), strings.Join(want, ","))
	}
	return nil
}
