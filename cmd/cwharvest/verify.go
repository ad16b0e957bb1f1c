package main

import (
	"fmt"
	"io"
	"strings"

	"cwharvest/cmd/cwharvest/human"
	"cwharvest/store/check"
	"cwharvest/store/record"

	"github.com/spf13/cobra"
)

func newVerify() *cobra.Command {
	var deep bool
	var asJSON *bool
	find := &finder{}
	c := &cobra.Command{
		Use:   "verify [DIR]",
		Short: "Prove that counts, files and checksums of a harvest directory agree",
		Long: `Recounts every job: instances planned = done + empty + failed + denied + pending, the
parts are those of the manifest with their size and SHA-256, and their rows and those in
the spool are the rows that were committed. With --deep every row is read: parts are sorted,
no row is there twice, and each instance has the rows that were committed for it. Exit 1 if
anything disagrees.`,
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
			report, err := check.Verify(c.Context(), dir, remote, deep)
			if err != nil {
				return err
			}
			return show(c, newVerified(dir, deep, report, choiceOf(c).look("repair", dir)), *asJSON)
		},
	}
	c.Flags().BoolVar(&deep, "deep", false, "read every row")
	asJSON = jsonFlag(c)
	find.registerAccess(c)
	return c
}

// verified is the output of `verify --json`.
type verified struct {
	Version   int                   `json:"version"`
	Dir       string                `json:"dir"`
	Agree     bool                  `json:"agree"`
	Deep      bool                  `json:"deep"` // every row was read
	Jobs      int                   `json:"jobs"`
	Parts     int                   `json:"parts"`
	Rows      int64                 `json:"rows"`
	Bytes     int64                 `json:"bytes"`
	Instances record.InstanceCounts `json:"instances"`
	Targets   record.TargetCounts   `json:"targets"`
	Problems  []verifiedProblem     `json:"problems"`
	Damaged   []string              `json:"damaged"`          // parts and inventories
	Remedy    string                `json:"remedy,omitempty"` // a command
}

type verifiedProblem struct {
	Fact string `json:"fact"`
	Hint string `json:"hint,omitempty"`
}

// newVerified returns the report of verify. The remedy of damage is the command repair.
func newVerified(dir string, deep bool, r *check.Report, repair string) *verified {
	v := &verified{
		Version: 1, Dir: dir, Agree: len(r.Problems) == 0, Deep: deep, Jobs: r.Jobs, Parts: r.Parts, Rows: r.Rows, Bytes: r.Bytes,
		Instances: r.Instances, Targets: r.Targets, Problems: []verifiedProblem{}, Damaged: append([]string{}, r.Damaged...),
	}
	for _, p := range r.Problems {
		next := map[check.Remedy]string{check.RepairJob: "repair the directory: " + repair, check.MoveFileAway: "move it away"}[p.Remedy]
		v.Problems = append(v.Problems, verifiedProblem{p.Fact, next})
	}
	if !v.Agree {
		v.Remedy = repair
	}
	return v
}

func (v *verified) exitCode() int {
	if v.Agree {
		return exitComplete
	}
	return exitFatal
}

func (v *verified) print(w io.Writer) {
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	for _, p := range v.Problems {
		line("PROBLEM  %s", strings.TrimSuffix(p.Fact+"; "+p.Hint, "; "))
	}
	i, t := v.Instances, v.Targets
	line("instances  %s = %s done + %s empty + %s failed + %s denied + %s pending",
		human.Number(i.Planned), human.Number(i.Done), human.Number(i.Empty), human.Number(i.Failed), human.Number(i.Denied), human.Number(i.Pending))
	line("targets    %s = %s done + %s denied + %s pending", human.Number(t.Planned), human.Number(t.Done), human.Number(t.Denied), human.Number(t.Pending))
	result := "all agree"
	if !v.Agree {
		result = fmt.Sprintf("%d problems\n  remedy:  %s, then run again", len(v.Problems), v.Remedy)
	}
	line("%d jobs, %d parts, %s rows, %s bytes: %s", v.Jobs, v.Parts, human.Number(v.Rows), human.Number(v.Bytes), result)
}
