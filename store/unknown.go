package store

import (
	"context"
	"fmt"

	"cwharvest/store/record"
)

// checkStrangers refuses a place with parts that no job of the directory knows.
func (d *Dir) checkStrangers(ctx context.Context, out string, shard record.Shard) error {
	at, err := d.disk.Place(out)
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
	all, err := at.List(ctx, record.EveryPart)
	if names := record.UnknownParts(all, known, shard); err == nil && len(names) > 0 {
		next := "move away what is there, or choose another out"
		if len(known) > 0 {
			next = fmt.Sprintf("try `cwharvest repair %s`, or move away what it tells", d.disk.Path)
		}
		err = fmt.Errorf("%s/%s is a part of a job that %s does not know: its rows might come twice; %s", at, names[0], d.disk.Path, next)
	}
	return err
}
