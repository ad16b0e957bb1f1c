package store

import (
	"context"
	"errors"
	"io/fs"

	"cwharvest/store/claim"
	"cwharvest/store/place"
	"cwharvest/store/record"
)

// claimsOf returns the claims of a job of the shard.
func (d *Dir) claimsOf(ctx context.Context, shard record.Shard) (all []claim.Claim, err error) {
	err = retryTransient(ctx, d.reportBlocked, func() error {
		own, err := claim.Identify(ctx, &d.disk)
		all = claim.For(own, shard)
		return err
	})
	return all, err
}

// checkClaims refuses a place of output that belongs to another directory.
func (d *Dir) checkClaims(ctx context.Context, out string, shard record.Shard) error {
	return d.eachClaim(ctx, out, shard, func(at place.Place, c claim.Claim) error {
		err := c.Check(ctx, at)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// claimOut makes a place of output the directory's own.
func (d *Dir) claimOut(ctx context.Context, out string, shard record.Shard) error {
	return d.eachClaim(ctx, out, shard, func(at place.Place, c claim.Claim) error { return c.Make(ctx, at) })
}

func (d *Dir) eachClaim(ctx context.Context, out string, shard record.Shard, do func(place.Place, claim.Claim) error) error {
	all, err := d.claimsOf(ctx, shard)
	if err != nil {
		return err
	}
	for _, c := range all {
		err := retryTransient(ctx, d.reportOf(out), func() error {
			at, err := d.disk.Place(out)
			if err != nil {
				return err
			}
			return do(at, c)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// reportOf returns the function that logs why a place of output cannot be used yet.
func (d *Dir) reportOf(out string) func(error) {
	if record.IsRemote(out) {
		return d.reportUnanswered
	}
	return d.reportBlocked
}

// checkPresent returns an error unless the place of output of a job is there and
// belongs to the directory. It waits through outages until the context ends.
func (d *Dir) checkPresent(ctx context.Context, plan *record.Plan) error {
	return retryTransient(ctx, d.reportOf(plan.Out), func() error { return claim.CheckPresent(ctx, &d.disk, plan.Out, plan.Shard) })
}

// checkKnown is checkPresent for a place that may be new: only one with jobs of the
// directory must be there.
func (d *Dir) checkKnown(ctx context.Context, out string) error {
	jobs, err := d.Jobs()
	if err != nil {
		return err
	}
	for i := range jobs {
		if jobs[i].Plan.Out == out {
			return d.checkPresent(ctx, &jobs[i].Plan)
		}
	}
	return nil
}
