package pipeline

import (
	"context"
	"math"
	"slices"
	"time"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store"
	"cwharvest/store/record"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// fetch sends a request to the operation of the job.
func (f *fetcher) fetch(ctx context.Context, r *request) response {
	if f.statistics {
		return f.fetchStatistics(ctx, r)
	}
	return f.fetchData(ctx, r)
}

// fetchStatistics fetches a request of one item by GetMetricStatistics, which is
// free up to a million calls a month.
func (f *fetcher) fetchStatistics(ctx context.Context, r *request) response {
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
	calls := 0
	refused := f.refusals()
	for _, indexes := range cloudwatch.StatisticsCalls(s.Statistics) {
		indexes = slices.DeleteFunc(indexes, func(i int) bool { return refused.has(it.series, i) })
		if len(indexes) == 0 {
			continue
		}
		if err := f.askStatistics(ctx, f.statisticsInput(it, r.window, indexes), indexes, g); err != nil {
			return response{again: r.items, err: err, calls: calls}
		}
		calls++
	}
	result := store.Result{Target: f.target, Instance: it.instance, Series: it.series, Window: it.window}
	if g.count > 0 {
		result.Columns = g.columns
	}
	return response{results: []store.Result{result}, calls: calls, buffer: &buffer}
}

// statisticsInput returns the call for some statistics of a series-window, given
// by their indexes.
func (f *fetcher) statisticsInput(it item, w record.Window, statistics []int) *sdk.GetMetricStatisticsInput {
	s := &f.series[it.series]
	in := &sdk.GetMetricStatisticsInput{
		Namespace: &s.Namespace, MetricName: &s.Metric, Dimensions: sdkDimensions(it.dimensions),
		StartTime: aws.Time(time.Unix(w.Start, 0)), EndTime: aws.Time(time.Unix(w.End, 0)), Period: aws.Int32(int32(w.Period)),
		Unit: types.StandardUnit(s.Unit),
	}
	addStatistics(in, s.Statistics, statistics)
	return in
}

// addStatistics adds statistics, given by their indexes, to a call.
func addStatistics(in *sdk.GetMetricStatisticsInput, statistics []string, indexes []int) {
	for _, i := range indexes {
		if name := statistics[i]; cloudwatch.IsBasic(name) {
			in.Statistics = append(in.Statistics, types.Statistic(name))
		} else {
			in.ExtendedStatistics = append(in.ExtendedStatistics, name)
		}
	}
}

// askStatistics fills the columns of some statistics, given by their indexes.
func (f *fetcher) askStatistics(ctx context.Context, in *sdk.GetMetricStatisticsInput, indexes []int, g *statisticsGrid) error {
	out, err := f.client.GetMetricStatistics(ctx, in)
	if err != nil {
		return err
	}
	if isEmptyDocument(out) {
		return errNotAWS
	}
	if err := oneUnit(out.Datapoints); err != nil {
		return err
	}
	for i := range out.Datapoints {
		for _, index := range indexes {
			if err := g.set(&out.Datapoints[i], index); err != nil {
				return err
			}
		}
	}
	return nil
}

// oneUnit returns an error if datapoints have several units.
func oneUnit(all []types.Datapoint) error {
	var units []string
	for i := range all {
		if unit := string(all[i].Unit); !slices.Contains(units, unit) {
			units = append(units, unit)
		}
	}
	if len(units) < 2 {
		return nil
	}
	slices.Sort(units)
	return &unitsError{units}
}

// isEmptyDocument reports whether a response has no member that AWS sends.
func isEmptyDocument(out *sdk.GetMetricStatisticsOutput) bool {
	return out.Datapoints == nil && out.Label == nil && !fromAWS(out.ResultMetadata)
}

// statisticsGrid puts datapoints, which come in any order, on the grid of a window.
type statisticsGrid struct {
	window     record.Window
	statistics []string
	columns    [][]float64 // one for each statistic
	count      int
}

func (g *statisticsGrid) set(d *types.Datapoint, statistic int) error {
	v := valueOf(d, g.statistics[statistic])
	if v == nil {
		return nil
	}
	at := aws.ToTime(d.Timestamp).UTC()
	offset := at.Unix() - g.window.Start
	index := offset / g.window.Period
	switch {
	case d.Timestamp == nil || offset < 0 || offset%g.window.Period != 0 || index >= int64(g.window.Points()) || at.Nanosecond() != 0:
		return wrong("datapoint at %s is not on the grid asked for", at.Format(time.RFC3339))
	case *v-*v != 0:
		return wrong("datapoint at %s is not a number", at.Format(time.RFC3339))
	case g.columns[statistic][index] == g.columns[statistic][index]:
		return wrong("datapoint at %s is a duplicate", at.Format(time.RFC3339))
	}
	g.columns[statistic][index] = *v
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
