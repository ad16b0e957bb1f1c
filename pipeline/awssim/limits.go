package awssim

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Limits of one request (Amazon CloudWatch API Reference: GetMetricData,
// GetMetricStatistics, ListMetrics).
const (
	maxQueries       = 500     // queries of GetMetricData
	maxDatapoints    = 100_800 // datapoints of a GetMetricData response
	maxStatistics    = 1_440   // datapoints of a GetMetricStatistics response
	maxMetricsListed = 500     // metrics of a ListMetrics page
	maxFilterValues  = 200     // values of all filters of DescribeInstances
	maxFilters       = 10      // dimensions that ListMetrics filters by
)

const day = 24 * time.Hour

// checkPeriod returns an error if CloudWatch has no such period (Amazon CloudWatch
// API Reference, MetricStat). Older versions of the reference give a maximum, but
// 604,800 is used in production (govuk-forms/forms-admin#670).
func checkPeriod(p int64) error {
	switch p {
	case 1, 5, 10, 20, 30:
		return nil
	}
	if p < 60 || p%60 != 0 {
		return fmt.Errorf("period %d must be 1, 5, 10, 20, 30 or a multiple of 60", p)
	}
	return nil
}

// kept reports whether CloudWatch still keeps data at a period for a StartTime. If
// it does not, a request succeeds without data (Amazon CloudWatch API Reference,
// GetMetricData; CloudWatch User Guide, "Metrics retention").
func kept(start, period int64, now time.Time) bool {
	switch age := now.Sub(time.Unix(start, 0)); {
	case age > 455*day:
		return false
	case age > 63*day:
		return period%3600 == 0
	case age > 15*day:
		return period%300 == 0
	case age > 3*time.Hour:
		return period%60 == 0
	}
	return true
}

// roundStart rounds a StartTime down by its age, as CloudWatch does (Amazon
// CloudWatch API Reference, GetMetricData). Periods of 5 to 30 seconds begin at their
// own multiples, all others at whole minutes.
func roundStart(start, period int64, now time.Time) int64 {
	step := int64(60)
	if period > 1 && period < 60 {
		step = period
	}
	switch age := now.Sub(time.Unix(start, 0)); {
	case age > 63*day:
		step = 3600
	case age > 15*day:
		step = 300
	}
	return start - start%step
}

var (
	statisticName   = regexp.MustCompile(`^(SampleCount|Average|Sum|Minimum|Maximum|IQM|(p|tm|tc|ts|wm)(\d{1,2}(\.\d+)?|100))$`)
	boundsStatistic = regexp.MustCompile(`^(TM|TC|TS|WM|PR)\(([\d.]*)(%?):([\d.]*)(%?)\)$`)
)

// validStatistic reports whether CloudWatch knows a statistic: bounds are two
// percentages or two values, in ascending order (CloudWatch User Guide, "CloudWatch
// statistics definitions").
func validStatistic(s string) bool {
	m := boundsStatistic.FindStringSubmatch(s)
	if m == nil {
		return statisticName.MatchString(s)
	}
	low, noLow := strconv.ParseFloat(m[2], 64)
	high, noHigh := strconv.ParseFloat(m[4], 64)
	percent := m[3]+m[5] != ""
	switch {
	case noLow != nil && noHigh != nil, percent && m[1] == "PR":
		return false
	case percent && (low > 100 || high > 100):
		return false
	}
	return noLow != nil || noHigh != nil || m[3] == m[5] && low < high
}
