package store

import (
	"cwharvest/store/record"
)

// Result is the outcome of one series-window: rows, no rows, or a failure. The
// caller may reuse Columns after Commit.
type Result struct {
	Target   record.Target
	Instance string // Instance.Key
	Series   int    // index into Plan.Series
	Window   int    // index into Series.Windows

	// Columns has one slice of Window.Points values for each statistic of the
	// series, in its order. NaN marks a missing datapoint. Columns is nil if there
	// are none at all.
	Columns [][]float64
	Failure *record.Failure
}

// Discovery is one page of a target's enumeration.
type Discovery struct {
	Target    record.Target
	Instances []record.Instance
	Complete  bool // this is the last page

	// Failed are the metrics whose instances could not be listed; of the last page.
	Failed []record.MetricFailure
}

// Limitation records that a target lacks a metric or a statistic.
type Limitation struct {
	Target record.Target
	Metric record.MetricFailure
}

// Resolution replaces a pattern with the targets that it stands for. Those that the job
// has already stay as they are.
type Resolution struct {
	Target  record.Target
	Targets []record.Target
}

// Denial records that AWS denies access to a target. Its pending instances count as
// denied. If it was never enumerated, their number is unknown.
type Denial struct {
	Target    record.Target
	Failure   record.Failure
	Tolerated bool   // the denial does not make the job one with failures
	By        string // identifies the credentials with which it was denied; may be empty
}

// Batch is the input of one Commit, which applies its fields in this order.
type Batch struct {
	Resolved   []Resolution
	Discovered []Discovery
	Results    []Result
	Limited    []Limitation
	Denied     []Denial
	Counters   record.Counters // added to the job's
}

// Pending is an instance with series-windows that have no outcome yet.
type Pending struct {
	Instance record.Instance
	Missing  []record.SeriesWindow // ascending
}
