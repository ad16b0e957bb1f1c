package pipeline

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"cwharvest/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// Statistics that one GetMetricStatistics call takes: basic or extended ones,
// not both (API reference).
const (
	maxBasic    = 5
	maxExtended = 10
)

// statisticsCalls is how many calls some statistics need.
func statisticsCalls(statistics []string) int {
	basic, extended := divide(statistics)
	return (len(basic)+maxBasic-1)/maxBasic + (len(extended)+maxExtended-1)/maxExtended
}

// divide tells basic statistics from extended ones, by their place.
func divide(statistics []string) (basic, extended []int) {
	for i, name := range statistics {
		switch types.Statistic(name) {
		case types.StatisticAverage, types.StatisticMaximum, types.StatisticMinimum, types.StatisticSum, types.StatisticSampleCount:
			basic = append(basic, i)
		default:
			extended = append(extended, i)
		}
	}
	return basic, extended
}

// fetchStatistics answers a request of one item by GetMetricStatistics, which is
// free up to a million calls a month.
func (f *fetcher) fetchStatistics(ctx context.Context, r *request) answer {
	it := r.items[0]
	s := &f.series[it.series]
	points := r.window.Points()
	g := &statisticsGrid{window: r.window, statistics: s.Statistics, columns: make([][]float64, len(s.Statistics))}
	buffer := make([]float64, points*len(s.Statistics))
	for i := range buffer {
		buffer[i] = math.NaN()
	}
	for i := range g.columns {
		g.columns[i] = buffer[i*points : (i+1)*points]
	}
	basic, extended := divide(s.Statistics)
	calls := 0
	for places := range slices.Chunk(basic, maxBasic) {
		in := f.statisticsInput(it, r.window)
		for _, place := range places {
			in.Statistics = append(in.Statistics, types.Statistic(s.Statistics[place]))
		}
		if err := f.askStatistics(ctx, in, places, g); err != nil {
			return answer{again: r.items, err: err, calls: calls}
		}
		calls++
	}
	for places := range slices.Chunk(extended, maxExtended) {
		in := f.statisticsInput(it, r.window)
		for _, place := range places {
			in.ExtendedStatistics = append(in.ExtendedStatistics, s.Statistics[place])
		}
		if err := f.askStatistics(ctx, in, places, g); err != nil {
			return answer{again: r.items, err: err, calls: calls}
		}
		calls++
	}
	result := store.Result{Target: f.target, Instance: it.instance, Series: it.series, Window: it.window}
	if g.count > 0 {
		result.Columns = g.columns
	}
	return answer{results: []store.Result{result}, calls: calls, buffer: &buffer}
}

func (f *fetcher) statisticsInput(it item, w store.Window) *cloudwatch.GetMetricStatisticsInput {
	s := &f.series[it.series]
	return &cloudwatch.GetMetricStatisticsInput{
		Namespace: &s.Namespace, MetricName: &s.Metric, Dimensions: sdkDimensions(it.dimensions),
		StartTime: aws.Time(time.Unix(w.Start, 0)), EndTime: aws.Time(time.Unix(w.End, 0)), Period: aws.Int32(int32(w.Period)),
	}
}

// askStatistics fills the columns of some statistics, by their places.
func (f *fetcher) askStatistics(ctx context.Context, in *cloudwatch.GetMetricStatisticsInput, places []int, g *statisticsGrid) error {
	out, err := f.client.GetMetricStatistics(ctx, in)
	if err != nil {
		return err
	}
	if isNone(out) {
		return errNoAnswer
	}
	for i := range out.Datapoints {
		for _, place := range places {
			if err := g.set(&out.Datapoints[i], place); err != nil {
				return err
			}
		}
	}
	return nil
}

// isNone reports an answer that has nothing of one.
func isNone(out *cloudwatch.GetMetricStatisticsOutput) bool {
	return out.Datapoints == nil && out.Label == nil && !fromAWS(out.ResultMetadata)
}

// statisticsGrid takes datapoints in any order.
type statisticsGrid struct {
	window     store.Window
	statistics []string
	columns    [][]float64 // one of each statistic
	count      int
}

func (g *statisticsGrid) set(d *types.Datapoint, place int) error {
	v := valueOf(d, g.statistics[place])
	if v == nil {
		return nil
	}
	at := aws.ToTime(d.Timestamp).UTC()
	offset := at.Unix() - g.window.Start
	index := offset / g.window.Period
	switch {
	case d.Timestamp == nil || offset < 0 || offset%g.window.Period != 0 || index >= int64(g.window.Points()) || at.Nanosecond() != 0:
		return fmt.Errorf("datapoint at %s is not on the grid asked for", at.Format(time.RFC3339))
	case *v-*v != 0:
		return fmt.Errorf("datapoint at %s is not a number", at.Format(time.RFC3339))
	case g.columns[place][index] == g.columns[place][index]:
		return fmt.Errorf("datapoint at %s is a duplicate", at.Format(time.RFC3339))
	}
	g.columns[place][index] = *v
	g.count++
	return nil
}

func valueOf(d *types.Datapoint, statistic string) *float64 {
	switch types.Statistic(statistic) {
	case types.StatisticAverage:
		return d.Average
	case types.StatisticMaximum:
		return d.Maximum
	case types.StatisticMinimum:
		return d.Minimum
	case types.StatisticSum:
		return d.Sum
	case types.StatisticSampleCount:
		return d.SampleCount
	}
	if v, there := d.ExtendedStatistics[statistic]; there {
		return &v
	}
	return nil
}
