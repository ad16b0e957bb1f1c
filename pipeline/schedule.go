package pipeline

import (
	"container/heap"
	"context"
	"fmt"
	"slices"
	"time"

	"cwharvest/store"
	"cwharvest/store/record"
)

// schedule works targets, at most MaxInFlight at a time. A target that must
// pause for long gives its place to another, so that dead accounts never hold
// up the rest. All fields belong to the goroutine of run.
type schedule struct {
	run    *run
	idle   visits // a heap, by time
	active int
	// back carries one visit for each active target: its goroutine sends it
	// when the dispatcher returns, wait receives it, nobody closes it.
	back chan visit
}

// visit says when a target is to be worked next; at is zero when never.
type visit struct {
	target *target
	at     time.Time
	err    error
}

// work returns when every target is finished or denied, or when ctx is done
// and the active targets have come back. It stops the run by itself for an
// error of the store and when only a person could help.
func (s *schedule) work(ctx context.Context, stop context.CancelCauseFunc) {
	for {
		s.startDue(ctx)
		if s.active == 0 && (len(s.idle) == 0 || ctx.Err() != nil) {
			return
		}
		if s.active == 0 && s.needsPerson(time.Now()) {
			cause := s.idle[0].target.pausedFor().err
			stop(hintedError{fmt.Errorf("%w: %s", ErrCredentials, fact(cause)), hint(cause)})
			return
		}
		if v, back := s.wait(ctx); back {
			s.active--
			switch {
			case v.err != nil:
				stop(v.err)
			case !v.at.IsZero():
				heap.Push(&s.idle, v)
			}
			s.found(v.target)
		}
	}
}

// found takes up the targets that a pattern stood for.
func (s *schedule) found(t *target) {
	for _, region := range t.regions {
		key := record.Target{Account: t.key.Account, Region: region}
		if known := slices.ContainsFunc(s.run.all(), func(o *target) bool { return o.key == key }); known || !s.run.selects(key) {
			continue
		}
		n := s.run.newTarget(store.TargetState{Target: key})
		s.run.addTarget(n)
		heap.Push(&s.idle, visit{target: n})
	}
	t.regions = nil
}

func (s *schedule) startDue(ctx context.Context) {
	for ctx.Err() == nil && s.active < s.run.MaxInFlight && len(s.idle) > 0 && !s.idle[0].at.After(time.Now()) {
		t := heap.Pop(&s.idle).(visit).target
		s.active++
		go func() {
			at, err := t.work(ctx)
			s.back <- visit{target: t, at: at, err: err}
		}()
	}
}

// wait returns the next target that comes back; none when one falls due or
// the run is cancelled first.
func (s *schedule) wait(ctx context.Context) (v visit, back bool) {
	var due <-chan time.Time
	cancelled := ctx.Done()
	switch {
	case ctx.Err() != nil:
		cancelled = nil
	case len(s.idle) > 0 && s.active < s.run.MaxInFlight:
		timer := time.NewTimer(time.Until(s.idle[0].at))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case v := <-s.back:
		return v, true
	case <-due:
	case <-cancelled:
	}
	return visit{}, false
}

// needsPerson reports whether every target left has waited for a person to
// mend its credentials, and for long enough.
func (s *schedule) needsPerson(now time.Time) bool {
	for _, v := range s.idle {
		p := v.target.pausedFor()
		if p.class != person || now.Sub(p.since) < s.run.WaitForCredentials {
			return false
		}
	}
	return true
}

type visits []visit

func (v visits) Len() int           { return len(v) }
func (v visits) Less(i, j int) bool { return v[i].at.Before(v[j].at) }
func (v visits) Swap(i, j int)      { v[i], v[j] = v[j], v[i] }
func (v *visits) Push(x any)        { *v = append(*v, x.(visit)) }
func (v *visits) Pop() any {
	last := len(*v) - 1
	x := (*v)[last]
	*v = (*v)[:last]
	return x
}
