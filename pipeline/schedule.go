package pipeline

import (
	"container/heap"
	"context"
	"fmt"
	"slices"
	"time"

	"cwharvest/store"
)

// schedule works targets, at most MaxInFlight at a time. A target that must pause
// for long gives its place to another, so that unreachable accounts do not delay
// the others. The goroutine of Run owns all fields.
type schedule struct {
	run    *run
	idle   visits // a heap, by time
	active map[*target]bool
	held   Held // as reported last
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
		changed, dismissed := s.run.Shared.watch()
		s.startDue(ctx)
		if len(s.active) == 0 && (len(s.idle) == 0 || ctx.Err() != nil) {
			return
		}
		s.report()
		if s.held == HeldByPerson && (dismissed || s.run.Held == nil) && ctx.Err() == nil {
			stop(s.needsPerson())
			continue
		}
		if v, back := s.wait(ctx, changed); back {
			delete(s.active, v.target)
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

// rouse makes targets due that another job has found to work again.
func (s *schedule) rouse() {
	for i := range s.idle {
		if s.idle[i].target.gate.pause().failures == 0 {
			s.idle[i].at = time.Time{}
		}
	}
	heap.Init(&s.idle)
}

// report seals the data when the run is held up, so that they are published, and reports
// each change.
func (s *schedule) report() {
	held := s.judge(time.Now())
	if held == s.held {
		return
	}
	if s.held == NotHeld {
		s.run.out <- entry{publish: true}
	}
	s.held = held
	if s.run.Held != nil {
		s.run.Held(held)
	}
}

// judge returns the reason why none of the remaining targets can continue. The listing of
// all targets ahead of a budget goes on without those that wait.
func (s *schedule) judge(now time.Time) Held {
	if s.run.listing {
		return NotHeld
	}
	held := HeldByPerson
	for t := range s.left {
		p := t.gate.pause()
		if p.failures < outageAfter {
			return NotHeld
		}
		if p.class != person || now.Sub(p.since) < s.run.WaitForCredentials {
			held = HeldUp
		}
	}
	return held
}

// needsPerson returns the error of a run that a person must help.
func (s *schedule) needsPerson() error {
	var cause error
	for t := range s.left {
		cause = t.gate.pause().err
		break
	}
	return hintedError{fmt.Errorf("%w: %s", ErrCredentials, fact(cause)), hint(cause)}
}

// left yields the targets that are not finished. The active ones come first, since they
// are more likely to work.
func (s *schedule) left(yield func(*target) bool) {
	for t := range s.active {
		if !yield(t) {
			return
		}
	}
	for i := range s.idle {
		if !yield(s.idle[i].target) {
			return
		}
	}
}

// found adds the targets that a pattern stands for.
func (s *schedule) found(t *target) {
	for _, key := range t.found {
		if known := slices.ContainsFunc(s.run.all(), func(o *target) bool { return o.key == key }); known || !s.run.selects(key) {
			continue
		}
		n := s.run.newTarget(store.TargetState{Target: key})
		s.run.addTarget(n)
		heap.Push(&s.idle, visit{target: n})
	}
	t.found = nil
}

func (s *schedule) startDue(ctx context.Context) {
	for ctx.Err() == nil && len(s.active) < s.run.MaxInFlight && len(s.idle) > 0 && !s.idle[0].at.After(time.Now()) {
		t := heap.Pop(&s.idle).(visit).target
		s.active[t] = true
		go func() {
			at, err := t.work(ctx)
			s.back <- visit{target: t, at: at, err: err}
		}()
	}
}

// wait returns the next target that returns. It returns none if another target
// becomes due, the shared state changes, or the run is cancelled first.
func (s *schedule) wait(ctx context.Context, changed <-chan struct{}) (v visit, back bool) {
	cancelled := ctx.Done()
	if ctx.Err() != nil {
		cancelled = nil
	}
	timer := time.NewTimer(s.pause(ctx, time.Now()))
	defer timer.Stop()
	select {
	case v := <-s.back:
		return v, true
	case <-timer.C:
	case <-changed:
		s.rouse()
	case <-cancelled:
	}
	return visit{}, false
}

// judgeAgain is how often a run that is held up checks whether it has waited for a person
// for long enough.
const judgeAgain = time.Second

// pause returns how long to wait without any event.
func (s *schedule) pause(ctx context.Context, now time.Time) time.Duration {
	wait := untilOutcome
	if ctx.Err() != nil {
		return wait // nothing is started, and the active targets return
	}
	if s.held == HeldUp {
		wait = judgeAgain
	}
	if len(s.idle) > 0 && len(s.active) < s.run.MaxInFlight {
		wait = min(wait, s.idle[0].at.Sub(now))
	}
	return wait
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
