package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/cmd/cwharvest/harvest"
	"cwharvest/pipeline/config"
	"cwharvest/store"
	"cwharvest/store/record"
)

// presenter shows the jobs of a run to people and to systemd: their progress, and one last line for each.
type presenter struct {
	out      io.Writer
	dir      string    // the harvest directory
	shown    *progress // nil off a terminal
	log      *slog.Logger
	stats    time.Duration     // between two lines of progress; 0: none
	share    float64           // of the quota that the run uses
	patience time.Duration     // of the watchdog
	lines    map[string]string // the last line of each job, by id
	files    int               // of the jobs reported
	failed   bool              // whether one of them was not complete

	// current returns the status of the latest night that the run works, with the other open ones.
	current func() (*record.Status, error)

	mu        sync.Mutex // guards the fields below
	following int        // jobs that are being worked
	unfollow  func()
}

// follow shows the progress of the run from the start of its first job until the end of its last one. Jobs that are
// worked side by side have one display and one watchdog.
func (p *presenter) follow(ctx context.Context, _ *store.Job) (stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.following++; p.following == 1 {
		stopNotifier := newNotifier().follow(ctx, p.current, p.patience)
		f := &follower{status: p.current, dir: p.dir, shown: p.shown, log: p.log, stats: p.stats, share: p.share}
		f.start()
		p.unfollow = func() { f.stop(); stopNotifier() }
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.following--; p.following == 0 {
			p.unfollow()
		}
	}
}

// report prints the last line of a job.
func (p *presenter) report(r harvest.JobReport) {
	code := exitCode(r.Err)
	if r.Incomplete {
		code = exitIncomplete
	}
	line := lastLine(r.Status, r.Took, code)
	p.lines[r.Status.Job] = line
	fmt.Fprintln(p.out, line)
	p.files += r.Status.Parts
	p.failed = p.failed || code == exitIncomplete || code != exitComplete && r.Status.Instances.Failed+r.Status.Targets.Denied > 0
}

// conclude prints after the last job where the files are, and the command that shows what is in them or missing.
func (p *presenter) conclude(s *config.Config) {
	if len(p.lines) == 0 {
		return
	}
	next := "show the job: " + choice{}.look("status", s.Dir)
	if p.failed {
		next = "show the reasons: " + failedCommand(s.Dir)
	}
	if p.files > 0 {
		engine := "duckdb"
		if record.IsRemote(s.Out) {
			engine = "athena"
		}
		next = fmt.Sprintf("files in %s; define tables: %s; %s", cmp.Or(s.Out, filepath.Join(s.Dir, "data")), choice{}.look("ddl "+engine, s.Dir), next)
	}
	fmt.Fprintln(p.out, next)
}

// idle prints the reason why a run had nothing to do. A service of Type=notify must report that it is ready before it ends.
func (p *presenter) idle(i *harvest.Idle, only accounts.Selection, shard record.Shard) {
	text := "nothing due: " + i.Finished + " is finished"
	if i.Elsewhere {
		text = fmt.Sprintf("nothing to do: --only %s selects targets of other shards than %s", only, shard)
	}
	text += changesText(i.Changes)
	if !i.Next.IsZero() {
		text += "; next at " + i.Next.UTC().Format("2006-01-02 15:04 UTC")
	}
	fmt.Fprintln(p.out, text)
	newNotifier().ready()
}

// changesText describes the changes of the configuration that wait for the next job.
func changesText(changes []string) string {
	if len(changes) == 0 {
		return ""
	}
	return ", with another plan (" + strings.Join(changes, "; ") + "); the changes apply from the next job, or now in another --dir"
}
