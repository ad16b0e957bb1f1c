package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// shape is what the requests of a job hold.
type shape struct {
	name           string
	series, points int // of one request
	statistics     []string
}

// benchShapes fill their requests: a day, a fortnight, and a day of the default
// statistics.
var benchShapes = []shape{
	{"350x288", 350, 288, []string{"Average"}},
	{"25x4032", 25, 4032, []string{"Average"}},
	{"175x288x2", 175, 288, []string{"Average", "Maximum"}},
}

// plainRequests are the requests of a job, for plainSDK.
type plainRequests struct {
	Region     string
	Start, End time.Time
	Period     int32
	Metrics    []string
	Statistics []string
	Instances  []string
	Series     int // of one request
}

// plainSDK is a program that asks for what a run asks, with the SDK's client as
// it comes, one call after the other, and throws the answers away.
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
	var queries []types.MetricDataQuery
	send := func() {
		input := &cloudwatch.GetMetricDataInput{
			StartTime: &r.Start, EndTime: &r.End, MetricDataQueries: queries, ScanBy: types.ScanByTimestampAscending,
		}
		for pages := cloudwatch.NewGetMetricDataPaginator(client, input); pages.HasMorePages(); {
			if _, err := pages.NextPage(ctx); err != nil {
				panic(err)
			}
		}
		queries = nil
	}
	for _, instance := range r.Instances {
		for _, metric := range r.Metrics {
			for _, statistic := range r.Statistics {
				queries = append(queries, types.MetricDataQuery{
					Id: aws.String("q" + strconv.Itoa(len(queries))),
					MetricStat: &types.MetricStat{
						Metric: &types.Metric{
							Namespace: aws.String("AWS/EC2"), MetricName: &metric,
							Dimensions: []types.Dimension{{Name: aws.String("InstanceId"), Value: &instance}},
						},
						Period: &r.Period, Stat: &statistic,
					},
				})
			}
			if len(queries) == r.Series*len(r.Statistics) {
				send()
			}
		}
	}
	if len(queries) > 0 {
		send()
	}
}

// plainClient is net/http's client with the one wrapper that the SDK needs over
// HTTP/1.1: its request bodies tell a writer of an end that is none, and the
// connection is closed under a large answer.
type plainClient struct{}

func (plainClient) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return http.DefaultClient.Do(r)
}

// benchNight is a job of so many requests of a shape, in one target.
func benchNight(t *testing.T, s shape, requests int, settings string) *night {
	c := awssim.Config{
		Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}, Instances: s.series * requests / len(usualMetrics),
	}
	n := newNight(t, c, 5*time.Minute, s.points/288, usualMetrics, s.statistics, settings)
	n.build()
	return n
}

// plain is plainSDK with the requests of the night.
func (n *night) plain(s shape) *exec.Cmd {
	n.Helper()
	r := plainRequests{
		Region: n.config.Regions[0], Start: n.truth.start, End: n.truth.end, Period: int32(n.truth.period / time.Second),
		Metrics: n.truth.metrics, Statistics: s.statistics, Series: s.series,
	}
	for i := range n.config.Instances {
		r.Instances = append(r.Instances, n.config.Instance(n.config.Accounts[0], n.config.Regions[0], i).ID)
	}
	input, err := json.Marshal(r)
	if err != nil {
		n.Fatal(err)
	}
	c := exec.Command("plainsdk")
	c.Env, c.Stdin = n.env, bytes.NewReader(input)
	return c
}

// What a run takes of the processor against the plain client, for the same
// requests: interleaved, since machines change their pace.
func TestBenchProcessor(t *testing.T) {
	if os.Getenv("CWHARVEST_BENCH") == "" {
		t.Skip("measures for minutes")
	}
	for _, s := range benchShapes {
		n := benchNight(t, s, 100, "quota_share: 1000\n")
		var ratios []float64
		for range 3 {
			if err := os.RemoveAll(filepath.Join(n.dir, "harvest")); err != nil {
				t.Fatal(err)
			}
			c, _ := n.command("run", "-c", "harvest.yaml", "--quiet")
			ours, points := n.measured(c)
			theirs, same := n.measured(n.plain(s))
			if points == 0 || points != same {
				t.Fatalf("%d datapoints by the run, %d by the plain client", points, same)
			}
			ratios = append(ratios, float64(ours)/float64(theirs))
			t.Logf("%s: run %.1f ns, plain client %.1f ns a datapoint", s.name, float64(ours)/float64(points), float64(theirs)/float64(points))
		}
		slices.Sort(ratios)
		t.Logf("%s: %.2f (%.2f to %.2f) of the plain client", s.name, ratios[1], ratios[0], ratios[2])
	}
}

// measured runs a command and returns its processor time and the datapoints it
// was answered.
func (n *night) measured(c *exec.Cmd) (time.Duration, int64) {
	n.Helper()
	before := n.sim.Stats().Datapoints
	c.Stderr = os.Stderr
	if err := c.Run(); err != nil {
		n.Fatal(err)
	}
	return c.ProcessState.UserTime() + c.ProcessState.SystemTime(), n.sim.Stats().Datapoints - before
}
