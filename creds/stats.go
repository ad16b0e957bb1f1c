package creds

import (
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
