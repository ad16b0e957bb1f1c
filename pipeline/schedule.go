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

// schedule works targets, at most MaxInFlight at a time. A target that must pause
// for long gives its place to another, so that unreachable accounts do not delay
// the others. The goroutine of Run owns all fields.
type schedule struct {
	run    *run
	idle   visits // a heap, by time
	active int
	// back carries one visit for each active target: its goroutine sends it when
	// the dispatcher returns, wait receives it, and the channel is never closed.
	back chan visit
}

// visit is the next time to work a target; at is zero if there is none.
type visit struct {
	target *target
	at     time.Time
	err    error
}

// work returns when every target is finished or denied, or when ctx has ended and
// the active targets have returned. It stops the run after an error of the store,
// and when all targets have waited for a person for too long.
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

// found adds the targets that a pattern stands for.
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

// wait returns the next target that returns. It returns none if another target
// becomes due or the run is cancelled first.
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

// needsPerson reports whether every remaining target has waited for its credentials
// for as long as it may.
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
