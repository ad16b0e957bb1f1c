package awssim

import (
	"reflect"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/schemas"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/smithy-go/middleware"
	"github.com/aws/smithy-go/transport/http/protocol/awsjson"
	"github.com/aws/smithy-go/transport/http/protocol/awsquery"
)

// clients returns a client for each protocol.
func clients(cfg aws.Config) map[string]*cloudwatch.Client {
	return map[string]*cloudwatch.Client{
		"cbor":  cloudwatch.NewFromConfig(cfg),
		"json":  cloudwatch.NewFromConfig(cfg, func(o *cloudwatch.Options) { o.Protocol = awsjson.New10(schemas.GraniteServiceVersion20100801) }),
		"query": cloudwatch.NewFromConfig(cfg, func(o *cloudwatch.Options) { o.Protocol = awsquery.New(schemas.GraniteServiceVersion20100801) }),
	}
}

// responses are all responses that a client received.
type responses struct {
	data       []*cloudwatch.GetMetricDataOutput
	statistics []*cloudwatch.GetMetricStatisticsOutput
	list       []*cloudwatch.ListMetricsOutput
	codes      []string
}

func askEverything(t *testing.T, c *cloud, name string, client *cloudwatch.Client) (s responses) {
	t.Helper()
	fail := func(err error) {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	in := ask(c.ids(3), 24)
	in.MaxDatapoints = aws.Int32(500)
	for pages := cloudwatch.NewGetMetricDataPaginator(client, in); pages.HasMorePages(); {
		out, err := pages.NextPage(t.Context())
		fail(err)
		out.ResultMetadata = middleware.Metadata{}
		for i := range out.MetricDataResults {
			inUTC(out.MetricDataResults[i].Timestamps)
		}
		s.data = append(s.data, out)
	}
	for _, extended := range []bool{false, true} {
		out, err := client.GetMetricStatistics(t.Context(), askStatistics(c.ids(1)[0], extended))
		fail(err)
		out.ResultMetadata = middleware.Metadata{}
		for i := range out.Datapoints {
			*out.Datapoints[i].Timestamp = out.Datapoints[i].Timestamp.UTC()
		}
		s.statistics = append(s.statistics, out)
	}
	for pages := cloudwatch.NewListMetricsPaginator(client, &cloudwatch.ListMetricsInput{
		Namespace: aws.String("CWAgent"), Dimensions: []cwtypes.DimensionFilter{{Name: aws.String("path")}},
	}); pages.HasMorePages(); {
		out, err := pages.NextPage(t.Context())
		fail(err)
		out.ResultMetadata = middleware.Metadata{}
		s.list = append(s.list, out)
	}
	for _, kind := range []string{"throttle", "access_denied", "region_disabled", "error503", "error500"} {
		fail(c.Inject(Fault{Kind: kind, Count: 1}))
		_, err := client.GetMetricData(t.Context(), in)
		s.codes = append(s.codes, codeOf(err))
	}
	fail(c.Inject(Fault{Kind: "truncate", Count: 1}))
	if _, err := client.GetMetricData(t.Context(), in); err == nil {
		t.Errorf("%s: half a response is accepted", name)
	}
	return s
}

// TestProtocolsAgree makes the same calls in every protocol, with several pages and
// with errors. All protocols return the same values.
func TestProtocolsAgree(t *testing.T) {
	c := newCloud(t, Config{Instances: 900})
	all := map[string]responses{}
	for name, client := range clients(c.config(AccessKey())) {
		all[name] = askEverything(t, c, name, client)
	}
	want := all["cbor"]
	if len(want.data) < 2 || len(want.list) < 2 || len(want.statistics[1].Datapoints) == 0 || want.codes[0] != "Throttling" {
		t.Errorf("%d pages of data, %d of metrics, codes %q", len(want.data), len(want.list), want.codes)
	}
	// In the Query protocol the SDK takes the code of a modelled error from its type.
	if last := len(want.codes) - 1; want.codes[last] == "InternalServiceError" && all["query"].codes[last] == "InternalServiceFault" {
		all["query"].codes[last] = want.codes[last]
	}
	for _, name := range []string{"json", "query"} {
		if !reflect.DeepEqual(all[name], want) {
			t.Errorf("%s: %+v\ncbor: %+v", name, all[name], want)
		}
	}
	calls := c.Stats().Protocols
	if n := calls["cbor"]; n < 10 || calls["json"] != n || calls["query"] != n {
		t.Errorf("calls by protocol: %v", calls)
	}
}

func inUTC(times []time.Time) {
	for i := range times {
		times[i] = times[i].UTC()
	}
}

func askStatistics(id string, extended bool) *cloudwatch.GetMetricStatisticsInput {
	end := time.Now().Truncate(time.Hour)
	in := &cloudwatch.GetMetricStatisticsInput{
		StartTime: aws.Time(end.Add(-2 * time.Hour)), EndTime: &end, Period: aws.Int32(300),
		Namespace: aws.String("AWS/EC2"), MetricName: aws.String("CPUUtilization"),
		Dimensions: []cwtypes.Dimension{{Name: aws.String("InstanceId"), Value: &id}},
	}
	if extended {
		in.ExtendedStatistics = []string{"p99", "p99.9"}
	} else {
		in.Statistics = []cwtypes.Statistic{"Average", "Maximum"}
	}
	return in
}
