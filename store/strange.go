package store

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
)

// partForm is the name of a part, after its job's.
var partForm = regexp.MustCompile(`^(.+-[0-9a-f]{6})-\d{6}(-r\d{6})?\.(parquet|csv|jsonl)(\.gz|\.zst)?$`)

// dataForm is the name of a file that readers of a place take for data.
var dataForm = regexp.MustCompile(`^[^_.].*\.(parquet|csv|jsonl)(\.gz|\.zst)?$`)

// everyPart is where the parts of a place are.
const everyPart = "date=*/*"

// strangers are those of the names whose jobs are not among the known ones, nor
// another shard's: a place belongs to one directory or to the shards of one, so
// that their database and their manifest are lost, and a new job would bring
// their rows twice.
func strangers(all, known []string, shard Shard) (names []string) {
	for _, name := range all {
		if m := partForm.FindStringSubmatch(path.Base(name)); m != nil && !slices.Contains(known, m[1]) && !shard.sibling(m[1]) {
			names = append(names, name)
		}
	}
	return names
}

// checkStrangers refuses a place with parts that no job of the directory knows.
func (d *Dir) checkStrangers(ctx context.Context, out string, shard Shard) error {
	at, err := d.place(out)
	if err != nil {
		return err
	}
	jobs, err := d.Jobs()
	if err != nil {
		return err
	}
	known := make([]string, len(jobs))
	for i := range jobs {
		known[i] = jobs[i].Plan.ID
	}
	all, err := at.List(ctx, everyPart)
	if names := strangers(all, known, shard); err == nil && len(names) > 0 {
		next := "move away what is there, or choose another out"
		if len(known) > 0 {
			next = fmt.Sprintf("try `cwharvest repair %s`, or move away what it tells", d.path)
		}
		err = fmt.Errorf("%s/%s is a part of a job that %s does not know: its rows might come twice; %s", at, names[0], d.path, next)
	}
	return err
}
