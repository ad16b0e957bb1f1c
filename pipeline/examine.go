package pipeline

import (
	"context"
	"strconv"
	"time"

	"cwharvest/pipeline/cloudwatch"
	"cwharvest/store/record"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// CloudWatch refuses a whole request for one statistic that it does not know, and
// each series of a job has hundreds of instances. After a refusal, a target
// therefore examines the series of the request: it asks for each without dimensions
// and for one period, with all statistics and, if that is refused, with each alone.
// A statistic that is refused is left out of all later requests. If CloudWatch
// accepts the series, an instance is at fault, and the request is bisected.

// examine returns the statistics of a series that CloudWatch refuses, by index.
func (f *fetcher) examine(ctx context.Context, s *record.Series, w record.Window, charged func()) (map[int]record.Failure, error) {
	ask := func(statistics []string) error {
		err := f.probe(ctx, s, w, statistics)
		if err == nil {
			charged()
		}
		return err
	}
	if err := ask(s.Statistics); err == nil || !isValidation(err) {
		return nil, err
	}
	refused := map[int]record.Failure{}
	for i, name := range s.Statistics {
		err := ask([]string{name})
		if err != nil && !isValidation(err) {
			return nil, err
		}
		if err != nil {
			refused[i] = failure(invalid, err)
		}
	}
	return refused, nil
}

// probe asks for one period of a metric without dimensions, to learn whether
// CloudWatch answers at all.
func (f *fetcher) probe(ctx context.Context, s *record.Series, w record.Window, statistics []string) error {
	start, end, period := aws.Time(time.Unix(w.End-w.Period, 0)), aws.Time(time.Unix(w.End, 0)), aws.Int32(int32(w.Period))
	if f.statistics {
		for _, indexes := range cloudwatch.StatisticsCalls(statistics) {
			in := &sdk.GetMetricStatisticsInput{Namespace: &s.Namespace, MetricName: &s.Metric, StartTime: start, EndTime: end, Period: period}
			addStatistics(in, statistics, indexes)
			out, err := f.client.GetMetricStatistics(ctx, in)
			if err == nil && isEmptyDocument(out) {
				err = errNotAWS
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	in := &sdk.GetMetricDataInput{StartTime: start, EndTime: end}
	for i := range statistics {
		in.MetricDataQueries = append(in.MetricDataQueries, types.MetricDataQuery{
			Id: aws.String(queryID + strconv.Itoa(i)),
			MetricStat: &types.MetricStat{
				Metric: &types.Metric{Namespace: &s.Namespace, MetricName: &s.Metric}, Period: period, Stat: &statistics[i],
			},
		})
	}
	out, err := f.client.GetMetricData(ctx, in)
	if err == nil && len(out.MetricDataResults) == 0 { // AWS returns a result for each query
		err = errNotAWS
	}
	return err
}

// control asks for one statistic of one metric, to learn whether CloudWatch answers
// at all.
func (f *fetcher) control(ctx context.Context, r *request) error {
	s := &f.series[r.items[0].series]
	statistic := s.Statistics[0]
	if f.statistics {
		statistic = cloudwatch.BasicStatistics[0]
	}
	return f.probe(ctx, s, r.window, []string{statistic})
}
