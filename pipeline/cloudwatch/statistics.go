package cloudwatch

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// BasicStatistics lists the statistics that CloudWatch keeps for every metric,
// in the order in which this program names them. All others are extended ones.
var BasicStatistics = []string{"Average", "Maximum", "Minimum", "Sum", "SampleCount"}

// Units lists the units of datapoints (API reference of MetricDatum).
var Units = []string{
	"Seconds", "Microseconds", "Milliseconds", "Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes",
	"Bits", "Kilobits", "Megabits", "Gigabits", "Terabits", "Percent", "Count",
	"Bytes/Second", "Kilobytes/Second", "Megabytes/Second", "Gigabytes/Second", "Terabytes/Second",
	"Bits/Second", "Kilobits/Second", "Megabits/Second", "Gigabits/Second", "Terabits/Second", "Count/Second", "None",
}

// CommonExtended lists extended statistics that are often used, for suggestions
// after a typing error.
var CommonExtended = []string{"p50", "p90", "p95", "p99", "p99.9", "tm90", "tm99", "wm90", "tc90", "ts90", "IQM"}

// The forms of extended statistics: p99.9, and TM(10%:90%).
var (
	percentForm = regexp.MustCompile(`^(p|tm|wm|tc|ts)(\d{1,2}(\.\d{1,10})?|100)$`)
	boundsForm  = regexp.MustCompile(`^(TM|WM|TC|TS|PR)\((\d+(?:\.\d{1,10})?%?)?:(\d+(?:\.\d{1,10})?%?)?\)$`)
)

// IsBasic reports whether a statistic is a basic one.
func IsBasic(statistic string) bool { return slices.Contains(BasicStatistics, statistic) }

// IsStatistic reports whether CloudWatch knows a statistic by this name
// (statistics definitions, user guide). The bounds of a range are both
// percentages up to 100 or both values, the lower one first; those of a
// percentile rank are values.
func IsStatistic(name string) bool {
	if name == "IQM" || IsBasic(name) || percentForm.MatchString(name) {
		return true
	}
	m := boundsForm.FindStringSubmatch(name)
	if m == nil || m[2]+m[3] == "" {
		return false
	}
	percents := strings.Count(name, "%")
	if percents > 0 && (m[1] == "PR" || percents == 1 && m[2] != "" && m[3] != "") {
		return false
	}
	return areBounds(m[2], m[3], percents > 0)
}

// areBounds reports whether a range holds anything. A bound that is left out is
// the lowest or the highest value.
func areBounds(low, high string, percent bool) bool {
	from, to := 0.0, math.Inf(1)
	if percent {
		to = 100
	}
	most := to
	for text, bound := range map[string]*float64{low: &from, high: &to} {
		v, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
		if err == nil {
			*bound = v
		}
	}
	return from < to && to <= most
}

// SortStatistics returns statistics in the order of a plan: the basic ones in
// their order, then the extended ones by name.
func SortStatistics(statistics []string) []string {
	sorted := slices.Clone(statistics)
	slices.SortFunc(sorted, func(a, b string) int { return strings.Compare(rank(a), rank(b)) })
	return sorted
}

func rank(statistic string) string {
	if i := slices.Index(BasicStatistics, statistic); i >= 0 {
		return string(rune('0' + i))
	}
	return "~" + strings.ToLower(statistic)
}

// StatisticsCalls divides statistics among GetMetricStatistics calls. Each
// element holds the indexes of the statistics that one call asks for.
func StatisticsCalls(statistics []string) (calls [][]int) {
	var basic, extended []int
	for i, name := range statistics {
		if IsBasic(name) {
			basic = append(basic, i)
		} else {
			extended = append(extended, i)
		}
	}
	calls = slices.Collect(slices.Chunk(basic, MaxBasicStatistics))
	return slices.AppendSeq(calls, slices.Chunk(extended, MaxExtendedStatistics))
}
