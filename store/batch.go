package store

import (
	"cwharvest/store/record"
)

// Result is the outcome of one series-window: rows, nothing, or a failure.
// The store does not keep Columns after Commit returns.
type Result struct {
	Target   record.Target
	Instance string // Instance.Key
	Series   int    // index into Spec.Series
	Window   int    // index into Series.Windows

	// Columns has one slice of Window.Points values for each statistic of the
	// series, in its order; NaN where CloudWatch has no datapoint. Nil when
	// there is not one datapoint.
	Columns [][]float64
	Failure *record.Failure
}

// Discovery is one page of a target's enumeration.
type Discovery struct {
	Target    record.Target
	Instances []record.Instance
	Complete  bool // the last page: the target is now enumerated
}

// Resolution replaces a target whose region is a pattern by the regions that it
// stands for. Those that the job has already stay as they are.
type Resolution struct {
	Target  record.Target
	Regions []string
}

// Denial records that a target refuses: what is pending in it counts as
// denied, what was never enumerated as unknown.
type Denial struct {
	Target    record.Target
	Failure   record.Failure
	Tolerated bool // it does not make the job one with failures
}

// Batch is what one group commit makes durable, in this order.
type Batch struct {
	Resolved   []Resolution
	Discovered []Discovery
	Results    []Result
	Denied     []Denial
	Counters   record.Counters // added to the job's
}

// Pending is an instance with series-windows that are neither done nor failed.
type Pending struct {
	Instance record.Instance
	Missing  []record.SeriesWindow // ascending
}
