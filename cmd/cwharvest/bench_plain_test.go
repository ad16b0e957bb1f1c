package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"golang.org/x/sync/errgroup"
)

// plainRequests describes the requests of a job to plainSDK.
type plainRequests struct {
	Region     string
	Start, End time.Time
	Period     int32
	Metrics    []string
	Statistics []string
	Instances  []string
	Series     int // per request
	InFlight   int
}

// plainSDK is a program that sends the requests of a run with the unmodified SDK
// client and discards the responses.
func plainSDK() {
	var r plainRequests
	if err := json.NewDecoder(os.Stdin).Decode(&r); err != nil {
		panic(err)
	}
	ctx := context.Background()
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(r.Region))
	if err != nil {
		panic(err)
	}
	cfg.HTTPClient = plainClient{}
	client := cloudwatch.NewFromConfig(cfg)
	calls, ctx := errgroup.WithContext(ctx)
	calls.SetLimit(r.InFlight)
	var queries []types.MetricDataQuery
	send := func() {
		input := &cloudwatch.GetMetricDataInput{
			StartTime: &r.Start, EndTime: &r.End, MetricDataQueries: queries, ScanBy: types.ScanByTimestampAscending,
		}
		queries = nil
		calls.Go(func() error {
			for pages := cloudwatch.NewGetMetricDataPaginator(client, input); pages.HasMorePages(); {
				if _, err := pages.NextPage(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for _, instance := range r.Instances {
		for _, metric := range r.Metrics {
			queries = append(queries, r.queries(len(queries), instance, metric)...)
			if len(queries) == r.Series*len(r.Statistics) {
				send()
			}
		}
	}
	if len(queries) > 0 {
		send()
	}
	if err := calls.Wait(); err != nil {
		panic(err)
	}
}

// queries returns the queries for the statistics of one metric.
func (r *plainRequests) queries(first int, instance, metric string) (queries []types.MetricDataQuery) {
	for i, statistic := range r.Statistics {
		queries = append(queries, types.MetricDataQuery{
			Id: aws.String("q" + strconv.Itoa(first+i)),
			MetricStat: &types.MetricStat{
				Metric: &types.Metric{
					Namespace: aws.String("AWS/EC2"), MetricName: &metric,
					Dimensions: []types.Dimension{{Name: aws.String("InstanceId"), Value: &instance}},
				},
				Period: &r.Period, Stat: &statistic,
			},
		})
	}
	return queries
}

// plainClient is net/http's client with the one wrapper that the SDK needs over
// HTTP/1.1. It hides the WriterTo of request bodies, which returns io.EOF once it is
// closed: net/http takes that for a failed write and cuts a large response.
type plainClient struct{}

func (plainClient) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return http.DefaultClient.Do(r)
}
