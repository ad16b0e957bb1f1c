package cloudwatch

import "time"

// Limits of one GetMetricData call (API reference of GetMetricData). Every
// statistic of a metric is a query of its own. Datapoints are counted as the
// timestamps that the range holds, whether or not a datapoint exists.
const (
	MaxQueries    = 500
	MaxDatapoints = 100_800
)

// Limits of one GetMetricStatistics call (API reference of
// GetMetricStatistics). It takes basic statistics or extended ones, not both.
const (
	MaxStatisticsDatapoints = 1_440 // of each statistic
	MaxBasicStatistics      = 5
	MaxExtendedStatistics   = 10
)

// Default quotas of an account in one region, per second (service quotas of
// CloudWatch). An account may have been granted more, or less. Only the numbers
// of requests can be raised.
const (
	RequestsPerSecond           = 500 // of GetMetricData
	StatisticsRequestsPerSecond = 400 // of GetMetricStatistics

	oldDatapointsPerSecond    = 396_000
	recentDatapointsPerSecond = 180_000
	recent                    = 3 * time.Hour
)

// DatapointsPerSecond returns GetMetricData's default quota of datapoints for
// requests whose StartTime has the given age. Requests of recent data and of old
// data are counted apart. CloudWatch counts estimated datapoints, so that a
// metric without data costs as much as one with data.
func DatapointsPerSecond(age time.Duration) float64 {
	if IsRecent(age) {
		return recentDatapointsPerSecond
	}
	return oldDatapointsPerSecond
}

// IsRecent reports whether a StartTime of the given age counts against the quota
// for recent data.
func IsRecent(age time.Duration) bool { return age <= recent }
