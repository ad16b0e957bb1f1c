package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"

	"cwharvest/cmd/cwharvest/human"
	"cwharvest/store/check"

	"github.com/spf13/cobra"
)

func newRepair() *cobra.Command {
	var asJSON *bool
	var gone bool
	find := &finder{}
	c := &cobra.Command{
		Use:   "repair [DIR]",
		Short: "Rebuild damaged databases from plan, manifest and parts",
		Long: `Checks every page of every job's database, and rebuilds damaged and lost ones from the job's
plan, its manifest and its parts. Published rows count as done and are not fetched again. The
next run requests data again that were not published yet, that were empty or that failed. A
backup of the damaged file stays beside the new one.

If the place of output is not there, for example because its disk is not mounted, repair
changes nothing and exits 6. Only if the output was moved or deleted on purpose, add
--output-is-gone: the next run then fetches all of its rows again that CloudWatch still keeps.`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			dir, err := find.dir(c, args)
			if err != nil {
				return err
			}
			remote, closeIt, err := find.remote(c, dir)
			if err != nil {
				return err
			}
			defer closeIt()
			jobs, err := check.Repair(c.Context(), dir, remote, gone)
			if err != nil && len(jobs) == 0 {
				return err
			}
			return errors.Join(show(c, newRepaired(dir, jobs, find.run(c)), *asJSON), err)
		},
	}
	find.registerAccess(c)
	asJSON = jsonFlag(c)
	c.Flags().BoolVar(&gone, "output-is-gone", false, "the output was moved or deleted on purpose: fetch its rows again")
	return c
}

// repaired is the output of `repair --json`.
type repaired struct {
	Version int           `json:"version"`
	Dir     string        `json:"dir"`
	Rebuilt int           `json:"rebuilt"` // of the jobs
	Jobs    []repairedJob `json:"jobs"`
	Next    string        `json:"next,omitempty"` // the command that continues after a rebuild, if the configuration is known
}

type repairedJob struct {
	Job     string   `json:"job"`
	Sound   bool     `json:"sound"`             // the database was not rebuilt
	Problem string   `json:"problem,omitempty"` // the reason for rebuilding it
	Files   string   `json:"files,omitempty"`   // the problem of plan, manifest or inventory
	Backup  string   `json:"backup,omitempty"`  // path of the damaged database
	Rows    int64    `json:"rows"`              // published, of a rebuilt database
	Dropped []string `json:"dropped"`           // parts whose rows are fetched again
}

func newRepaired(dir string, jobs []check.Repaired, next string) *repaired {
	r := &repaired{Version: 1, Dir: dir, Jobs: []repairedJob{}}
	for _, j := range jobs {
		j.Dropped = append([]string{}, j.Dropped...)
		r.Jobs = append(r.Jobs, repairedJob(j))
		if !j.Sound {
			r.Rebuilt, r.Next = r.Rebuilt+1, next
		}
	}
	return r
}

func (*repaired) exitCode() int { return exitComplete }

func (r *repaired) print(w io.Writer) {
	for i := range r.Jobs {
		r.Jobs[i].print(w, r.Next)
	}
}

func (r *repairedJob) print(w io.Writer, next string) {
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	if r.Sound && r.Files == "" {
		line("%s  sound", r.Job)
		return
	}
	if r.Sound {
		line("%s  sound; its other files are written again, now or by the next run: %s", r.Job, r.Files)
		return
	}
	line("%s  REBUILT  %s rows are published and stay; continue with: %s", r.Job, human.Number(r.Rows), cmp.Or(next, "the command that started the job"))
	line("  because  %s", r.Problem)
	if r.Backup != "" {
		line("  backup   %s", r.Backup)
	}
	for _, name := range r.Dropped {
		line("  dropped  %s: the next run fetches its rows again, and removes it only after that", name)
	}
}
