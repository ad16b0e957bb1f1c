package cloudwatch

import "time"

// Retention says that CloudWatch keeps data older than After only at multiples
// of Period. A request with a finer period, or one that is no multiple, gets no
// datapoints and no error.
type Retention struct {
	After  time.Duration
	Period int64 // seconds
}

const day = 24 * time.Hour

// Retentions lists the steps at which data become coarser, the coarsest first
// (API reference of GetMetricData, parameter Period). Younger data are kept at
// the period at which they were published.
var Retentions = [...]Retention{
	{63 * day, 3600},
	{15 * day, 300},
	{3 * time.Hour, 60},
}

// Oldest is the age after which CloudWatch keeps nothing (API reference of
// GetMetricStatistics).
const Oldest = 455 * day

// KeptFor returns for how long CloudWatch answers requests with a period, which
// is given in seconds.
func KeptFor(period int64) time.Duration {
	kept := Oldest
	for _, r := range Retentions {
		if period%r.Period != 0 {
			kept = r.After
		}
	}
	return kept
}
