package pipeline

import (
	"context"
	"errors"
	"slices"
	"time"

	"cwharvest/store"
	"cwharvest/store/record"

	"github.com/aws/smithy-go"
)

// enumerate lists the target's instances and sends them to the writer page by
// page. The target is enumerated when every page is durable.
func (t *target) enumerate(ctx context.Context) error {
	for ctx.Err() == nil {
		page, last, err := t.list()
		if err != nil {
			t.listingFailed(err)
			return nil
		}
		t.succeed()
		durable := make(chan struct{})
		t.run.out <- entry{
			discovery: &store.Discovery{Target: t.key, Instances: page, Complete: last, Failed: t.pages.failed},
			committed: durable,
		}
		select {
		case <-durable:
			t.enumerated = last
		case <-ctx.Done():
		}
		if last {
			return t.checkPlan()
		}
	}
	return nil
}

// checkPlan checks the budget again, now that the target is enumerated. During the
// listing, the run checks it once at the end.
func (t *target) checkPlan() error {
	if t.run.listing {
		return nil
	}
	return t.run.checkPlan()
}

// resolve finds the targets that a pattern stands for and reports whether they are
// durable. They replace the pattern.
func (t *target) resolve(ctx context.Context) bool {
	found, err := t.standsFor()
	switch {
	case err != nil:
		t.listingFailed(err)
		return false
	case len(found) == 0:
		t.deny(record.Failure{Class: "no_region", Message: "none of the account's enabled regions is " + t.key.Region})
		return false
	}
	found = slices.DeleteFunc(found, func(o record.Target) bool { return !t.run.Shard.Holds(o) })
	t.succeed()
	durable := make(chan struct{})
	t.run.out <- entry{resolution: &store.Resolution{Target: t.key, Targets: found}, committed: durable}
	select {
	case <-durable:
		t.found, t.finished = found, true
		return true
	case <-ctx.Done():
		return false
	}
}

func (t *target) standsFor() ([]record.Target, error) {
	ctx, cancel := context.WithTimeout(t.run.calls, t.run.CallTimeout)
	defer cancel()
	return standsFor(ctx, &t.run.Config, t.key)
}

func (t *target) list() ([]record.Instance, bool, error) {
	ctx, cancel := context.WithTimeout(t.run.calls, t.run.CallTimeout)
	defer cancel()
	return t.pages.next(ctx)
}

// listingRefused gives up one source, or the target if the refusal is not about the
// listing alone.
func (t *target) listingRefused(c class, err error) {
	f := failure(c, err)
	if t.pages == nil {
		t.deny(f)
		return
	}
	listed := len(t.pages.failed)
	switch {
	case c == invalid && t.pages.restart(err):
		t.log.Warn("listing starts again from its first page", "error", describe(err))
	case !isOfOperation(c, err) || !t.pages.giveUp(f):
		t.deny(f)
	default:
		for _, m := range t.pages.failed[listed:] {
			t.warn("listing fails; the other metrics go on", m.Class, m.Name()+": "+m.Message)
		}
	}
}

// foreignListing repeats a listing until it is clear that the server has another
// protocol. Without CloudWatch, nothing can be fetched; EC2 is one of several sources.
func (t *target) foreignListing(err error) {
	var op *smithy.OperationError
	switch {
	case !t.distrust(time.Now(), err):
	case errors.As(err, &op) && op.Operation() == "ListMetrics":
		t.deny(foreignFailure(err))
	default:
		t.foreign = 0
		t.listingRefused(invalid, err)
	}
}

func (t *target) listingFailed(err error) {
	if t.pages != nil && isForeign(err) && t.pages.spoke == 0 && !t.answered {
		t.foreignListing(err)
		return
	}
	c := classify(err)
	if errors.Is(err, errPages) { // as if AWS had refused the token
		c = invalid
	}
	switch c {
	case cancelled:
	case refused, invalid:
		if c == refused && t.waitForRole(time.Now(), err) {
			break
		}
		t.listingRefused(c, err)
	case throttled:
		t.run.meter.throttled.Add(1)
		t.pause(time.Now(), c, err)
	default:
		if t.pages != nil && c == transient && t.pages.suspect() {
			t.listingRefused(poison, err)
			break
		}
		t.pause(time.Now(), c, err)
	}
	t.giveUp()
}
