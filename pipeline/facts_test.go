package pipeline

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"
	"cwharvest/pipeline/cloudwatch"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// hideWriterTo works around aws-sdk-go-v2#1825, which closes connections over
// plain HTTP.
type hideWriterTo struct{}

func (hideWriterTo) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return http.DefaultClient.Do(r)
}

// simulated returns a client of a simulated CloudWatch, the time there, and the
// dimensions of its instances.
func simulated(t *testing.T) (client *sdk.Client, now time.Time, instances [][]types.Dimension) {
	now = time.Now().UTC().Truncate(time.Minute) // signatures expire after minutes
	c := awssim.Config{Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}, Instances: 8, Now: func() time.Time { return now }}
	s := httptest.NewServer(awssim.New(c))
	t.Cleanup(s.Close)
	for i := range c.Instances {
		id := c.Instance("111122223333", "us-east-1", i).ID
		instances = append(instances, []types.Dimension{{Name: aws.String("InstanceId"), Value: &id}})
	}
	k := awssim.AccessKey()
	return NewCloudWatch(aws.Config{
		BaseEndpoint: &s.URL, Region: "us-east-1", HTTPClient: hideWriterTo{}, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		Credentials: credentials.NewStaticCredentialsProvider(k.ID, k.Secret, k.Token),
	}, CBOR), now, instances
}

// queries returns n queries of instances in turn.
func queries(n int, period int64, statistic string, instances [][]types.Dimension) (all []types.MetricDataQuery) {
	for i := range n {
		metric := &types.Metric{Namespace: aws.String("AWS/EC2"), MetricName: aws.String("CPUUtilization"), Dimensions: instances[i%len(instances)]}
		all = append(all, types.MetricDataQuery{
			Id: aws.String(fmt.Sprintf("q%d", i)), MetricStat: &types.MetricStat{Metric: metric, Period: aws.Int32(int32(period)), Stat: &statistic},
		})
	}
	return all
}

// The simulated CloudWatch has its own copy of the limits. If one of the two
// copies changes, the program asks for too much, or too little.
func TestLimitsAreThoseOfTheSimulatedCloudWatch(t *testing.T) {
	client, now, instances := simulated(t)
	data := func(n int, datapoints int32) error {
		_, err := client.GetMetricData(t.Context(), &sdk.GetMetricDataInput{
			StartTime: aws.Time(now.Add(-time.Hour)), EndTime: &now, MaxDatapoints: &datapoints, MetricDataQueries: queries(n, 300, "Average", instances),
		})
		return err
	}
	statistics := func(points, basic, extended int) error {
		in := &sdk.GetMetricStatisticsInput{
			Namespace: aws.String("AWS/EC2"), MetricName: aws.String("CPUUtilization"), Dimensions: instances[0],
			StartTime: aws.Time(now.Add(time.Duration(-points) * time.Minute)), EndTime: &now, Period: aws.Int32(60),
		}
		for i := range basic {
			in.Statistics = append(in.Statistics, types.Statistic(cloudwatch.BasicStatistics[i%len(cloudwatch.BasicStatistics)]))
		}
		for i := range extended {
			in.ExtendedStatistics = append(in.ExtendedStatistics, fmt.Sprintf("p%d", i))
		}
		_, err := client.GetMetricStatistics(t.Context(), in)
		return err
	}
	for name, errs := range map[string][2]error{
		"queries":             {data(cloudwatch.MaxQueries, 1000), data(cloudwatch.MaxQueries+1, 1000)},
		"datapoints":          {data(1, cloudwatch.MaxDatapoints), data(1, cloudwatch.MaxDatapoints+1)},
		"datapoints of one":   {statistics(cloudwatch.MaxStatisticsDatapoints, 1, 0), statistics(cloudwatch.MaxStatisticsDatapoints+1, 1, 0)},
		"basic statistics":    {statistics(1, cloudwatch.MaxBasicStatistics, 0), statistics(1, cloudwatch.MaxBasicStatistics+1, 0)},
		"extended statistics": {statistics(1, 0, cloudwatch.MaxExtendedStatistics), statistics(1, 0, cloudwatch.MaxExtendedStatistics+1)},
	} {
		if errs[0] != nil || errs[1] == nil {
			t.Errorf("%s: at the limit %v, above it %v", name, errs[0], errs[1])
		}
	}
}

// The simulated CloudWatch returns datapoints exactly for as long as they are
// kept.
func TestRetentionIsThatOfTheSimulatedCloudWatch(t *testing.T) {
	client, now, instances := simulated(t)
	datapoints := func(period int64, start time.Time) (n int) {
		out, err := client.GetMetricData(t.Context(), &sdk.GetMetricDataInput{
			StartTime: &start, EndTime: aws.Time(start.Add(time.Duration(24*period) * time.Second)),
			MetricDataQueries: queries(len(instances), period, "Average", instances),
		})
		if err != nil {
			t.Fatalf("period %d, start %v: %v", period, start, err)
		}
		for i := range out.MetricDataResults {
			n += len(out.MetricDataResults[i].Values)
		}
		return n
	}
	for _, period := range []int64{1, 30, 60, 120, 300, 900, 3600, 86_400} {
		kept := cloudwatch.KeptFor(period)
		step := time.Minute // CloudWatch rounds StartTime down by its age
		if kept > 15*24*time.Hour {
			step = time.Hour
		}
		tooOld := now.Add(-kept - 1).Truncate(step)
		if datapoints(period, tooOld.Add(step)) == 0 || datapoints(period, tooOld) != 0 {
			t.Errorf("period %d is not kept for exactly %v", period, kept)
		}
	}
}

// The simulated CloudWatch knows the statistics that this program names.
func TestStatisticsAreThoseOfTheSimulatedCloudWatch(t *testing.T) {
	client, now, instances := simulated(t)
	for _, name := range append(append([]string{"TM(10%:90%)", "PR(:300)", "p101", "average", "median"}, cloudwatch.BasicStatistics...), cloudwatch.CommonExtended...) {
		_, err := client.GetMetricData(t.Context(), &sdk.GetMetricDataInput{
			StartTime: aws.Time(now.Add(-time.Hour)), EndTime: &now, MetricDataQueries: queries(1, 300, name, instances),
		})
		if known := err == nil; known != cloudwatch.IsStatistic(name) {
			t.Errorf("statistic %s: %v", name, err)
		}
	}
}
