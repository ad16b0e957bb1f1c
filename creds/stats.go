package creds

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Stats counts the work of a manager, and its sessions at present.
type Stats struct {
	Open           int       // valid sessions
	NextRefresh    time.Time // zero: none is due
	Assumed        int64     // sessions granted by AssumeRole
	RefusedExpired int64     // refusals by a service of a session that had expired
	Waits          int64     // calls that waited for a refresh, except for the first session of a source
	Switches       int64     // between sources and their fallbacks
	Fallbacks      int       // in use at present
}

// counters are the counts of Stats that only grow.
type counters struct {
	assumed, refusedExpired, waits, switches atomic.Int64
}

// summary logs in one line how many sessions were refreshed in a minute, if any
// were.
type summary struct {
	log *slog.Logger

	mu    sync.Mutex // guards count
	count int
}

const summaryEvery = time.Minute

func (s *summary) add() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count++; s.count == 1 {
		time.AfterFunc(summaryEvery, s.print)
	}
}

func (s *summary) print() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count > 0 {
		s.log.Info("credentials refreshed", "sessions", s.count)
	}
	s.count = 0
}
