package awssim

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

func TestSignaturesAndSessions(t *testing.T) {
	c := newCloud(t, Config{Instances: 5, ExternalID: "x1", SessionLife: 2 * time.Second})
	if _, err := c.assume(t, ""); codeOf(err) != "AccessDenied" {
		t.Errorf("without the external id: %v", err)
	}
	key, err := c.assume(t, "x1")
	if err != nil {
		t.Fatal(err)
	}
	who, err := sts.NewFromConfig(c.config(key)).GetCallerIdentity(t.Context(), nil)
	if err != nil || *who.Account != "444455556666" {
		t.Errorf("identity %+v, %v", who, err)
	}
	wrong := key
	wrong.Secret = "x" + key.Secret[1:]
	if _, err := data(t, c.config(wrong), ask(c.ids(1), 1)); codeOf(err) != "SignatureDoesNotMatch" {
		t.Errorf("wrong secret: %v", err)
	}
	stolen := key
	stolen.Token = AccessKey().Token
	if _, err := data(t, c.config(stolen), ask(c.ids(1), 1)); codeOf(err) != "InvalidClientTokenId" {
		t.Errorf("wrong token: %v", err)
	}
	if _, err := data(t, c.config(key), ask(c.ids(1), 1)); err != nil {
		t.Errorf("good key: %v", err)
	}
	c.pass(2 * time.Second)
	if _, err := data(t, c.config(key), ask(c.ids(1), 1)); codeOf(err) != "ExpiredToken" {
		t.Errorf("CloudWatch after the end: %v", err)
	}
	if _, err := ec2.NewFromConfig(c.config(key)).DescribeInstances(t.Context(), nil); codeOf(err) != "RequestExpired" {
		t.Errorf("EC2 after the end: %v", err)
	}
	if s := c.Stats(); s.ExpiredInTime != 2 || s.ExpiredEarly != 0 {
		t.Errorf("%+v", s)
	}
}

func TestInstancesPageAndFilter(t *testing.T) {
	c := newCloud(t, Config{Instances: 2345})
	client := ec2.NewFromConfig(c.config(AccessKey()))
	seen := map[string]bool{}
	pages := ec2.NewDescribeInstancesPaginator(client, &ec2.DescribeInstancesInput{MaxResults: aws.Int32(1000)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Reservations {
			for _, i := range r.Instances {
				seen[*i.InstanceId] = true
			}
		}
	}
	for i := range 2345 {
		if !seen[c.cfg.Instance(c.cfg.Accounts[0], "us-east-1", i).ID] {
			t.Fatalf("instance %d is not listed", i)
		}
	}
	out, err := client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{
		{Name: aws.String("instance-state-name"), Values: []string{"stopped"}}, {Name: aws.String("tag:env"), Values: []string{"prod"}},
	}})
	if err != nil || len(out.Reservations) == 0 || len(out.Reservations) > 60 {
		t.Fatalf("stopped and prod: %v", err)
	}
	for _, r := range out.Reservations {
		if r.Instances[0].State.Name != "stopped" {
			t.Errorf("state %s", r.Instances[0].State.Name)
		}
	}
}

// TestDataPagesMergeToTheTruth merges the pages of a response by id and compares
// them with Datapoint.
func TestDataPagesMergeToTheTruth(t *testing.T) {
	c := newCloud(t, Config{Instances: 40})
	in := ask(c.ids(40), 24)
	in.MaxDatapoints = aws.Int32(1000)
	got := map[string]map[int64]float64{}
	for pages := 0; ; pages++ {
		out, err := data(t, c.config(AccessKey()), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range out.MetricDataResults {
			if got[*r.Id] == nil {
				got[*r.Id] = map[int64]float64{}
			}
			for i, at := range r.Timestamps {
				got[*r.Id][at.Unix()] = r.Values[i]
			}
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			if pages < 10 {
				t.Errorf("%d pages", pages)
			}
			break
		}
	}
	for i, id := range c.ids(40) {
		want := 0
		for at := *in.StartTime; at.Before(*in.EndTime); at = at.Add(5 * time.Minute) {
			v, ok := c.cfg.Datapoint(c.cfg.Accounts[0], "us-east-1", "AWS/EC2", "CPUUtilization", "InstanceId="+id, "Average", at, 5*time.Minute)
			if ok {
				want++
			}
			if g, have := got[fmt.Sprintf("q%d", i)][at.Unix()]; have != ok || g != v {
				t.Fatalf("%s at %v: %v %v, want %v %v", id, at, g, have, v, ok)
			}
		}
		if n := len(got[fmt.Sprintf("q%d", i)]); n != want {
			t.Fatalf("%s: %d datapoints, want %d", id, n, want)
		}
	}
	if s := c.Stats(); s.BilledMetrics != 40 {
		t.Errorf("%d metrics billed, want 40", s.BilledMetrics)
	}
}

func TestLimits(t *testing.T) {
	c := newCloud(t, Config{Instances: 600})
	cfg := c.config(AccessKey())
	for name, change := range map[string]func(*cloudwatch.GetMetricDataInput){
		"501 queries":   func(in *cloudwatch.GetMetricDataInput) { *in = *ask(c.ids(501), 1) },
		"duplicate ids": func(in *cloudwatch.GetMetricDataInput) { in.MetricDataQueries[1].Id = in.MetricDataQueries[0].Id },
		"period":        func(in *cloudwatch.GetMetricDataInput) { in.MetricDataQueries[0].MetricStat.Period = aws.Int32(90) },
		"start":         func(in *cloudwatch.GetMetricDataInput) { in.StartTime = in.EndTime },
		"statistic": func(in *cloudwatch.GetMetricDataInput) {
			in.MetricDataQueries[0].MetricStat.Stat = aws.String("Averge")
		},
	} {
		in := ask(c.ids(2), 1)
		change(in)
		if _, err := data(t, cfg, in); codeOf(err) != "ValidationError" {
			t.Errorf("%s: %v", name, err)
		}
	}
	in := ask(c.ids(3), 1)
	in.StartTime = aws.Time(time.Now().Add(-64 * 24 * time.Hour))
	out, err := data(t, cfg, in)
	if err != nil || len(out.MetricDataResults[0].Values) != 0 || out.MetricDataResults[0].StatusCode != "Complete" {
		t.Errorf("finer than kept: %v; want nothing, without an error", err)
	}
	_, err = cloudwatch.NewFromConfig(cfg).GetMetricStatistics(t.Context(), &cloudwatch.GetMetricStatisticsInput{
		Namespace: aws.String("AWS/EC2"), MetricName: aws.String("CPUUtilization"), Period: aws.Int32(60),
		StartTime: aws.Time(time.Now().Add(-25 * time.Hour)), EndTime: aws.Time(time.Now()), Statistics: []cwtypes.Statistic{"Average"},
	})
	if codeOf(err) != "InvalidParameterCombination" || !strings.Contains(err.Error(), "exceeds the limit of 1,440") {
		t.Errorf("too many datapoints: %v", err)
	}
}

func TestFaultsAsTheSDKSeesThem(t *testing.T) {
	c := newCloud(t, Config{Instances: 3})
	poisoned := c.ids(1)[0]
	for fault, want := range map[Fault]string{
		{Kind: "throttle", Count: 1}:             "Throttling",
		{Kind: "error500", Count: 1}:             "InternalServiceError",
		{Kind: "error503", Count: 1}:             "ServiceUnavailable",
		{Kind: "access_denied", Count: 1}:        "AccessDenied",
		{Kind: "region_disabled", Count: 1}:      "InvalidClientTokenId",
		{Kind: "cut", Count: 1}:                  "EOF",
		{Kind: "truncate", Count: 1}:             "unexpected EOF",
		{Kind: "poison", Instance: poisoned}:     "InternalServiceError",
		{Kind: "poison", Instance: "i-00000000"}: "<nil>",
	} {
		if err := c.Inject(fault); err != nil {
			t.Fatal(err)
		}
		if _, err := data(t, c.config(AccessKey()), ask(c.ids(3), 24)); !strings.Contains(codeOf(err), want) {
			t.Errorf("%s: %v, want %s", fault.Kind, err, want)
		}
		c.Clear("")
		if _, err := data(t, c.config(AccessKey()), ask(c.ids(3), 1)); err != nil {
			t.Errorf("after %s: %v", fault.Kind, err)
		}
	}
	for kind, want := range map[string]cwtypes.StatusCode{"partial": "PartialData", "internal_result": "InternalError", "forbidden": "Forbidden"} {
		if err := c.Inject(Fault{Kind: kind, Count: 1}); err != nil {
			t.Fatal(err)
		}
		out, err := data(t, c.config(AccessKey()), ask(c.ids(1), 1))
		if err != nil || out.MetricDataResults[0].StatusCode != want {
			t.Errorf("%s: %+v, %v", kind, out, err)
		}
	}
	if err := c.Inject(Fault{Kind: "no such"}); err == nil {
		t.Error("an unknown fault was taken")
	}
}

func TestQuotas(t *testing.T) {
	c := newCloud(t, Config{Instances: 350, DatapointsPerSecond: 100_800, RequestsPerSecond: 2})
	cfg := c.config(AccessKey())
	if _, err := data(t, cfg, ask(c.ids(350), 24)); err != nil {
		t.Fatal(err)
	}
	if _, err := data(t, cfg, ask(c.ids(350), 24)); codeOf(err) != "Throttling" {
		t.Errorf("above the datapoint quota: %v", err)
	}
	c.pass(time.Second)
	if _, err := data(t, cfg, ask(c.ids(350), 24)); err != nil {
		t.Errorf("a second later: %v", err)
	}
}

func TestCoverage(t *testing.T) {
	counts := map[Coverage]int{}
	c := Config{}
	for i := range 100_000 {
		counts[CoverageOf(c.Instance("111122223333", "us-east-1", i).ID)]++
	}
	for fate, want := range map[Coverage]int{Silent: 1500, Stopped: 2000, Gaps: 2000} {
		if n := counts[fate]; n < want*8/10 || n > want*12/10 {
			t.Errorf("fate %d: %d of 100,000, want about %d", fate, n, want)
		}
	}
}

// BenchmarkEncode350x288 shows that the server is not the bottleneck of the benchmarks
// that use it.
func BenchmarkEncode350x288(b *testing.B) {
	s := New(Config{Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}, Instances: 350})
	end := time.Now().Unix() / 3600 * 3600
	r := &dataRequest{start: end - 86400, end: end, maxDatapoints: maxDatapoints}
	for i := range 350 {
		r.queries = append(r.queries, query{id: fmt.Sprint("q", i), namespace: "AWS/EC2", metric: "CPUUtilization",
			dimensions: "InstanceId=" + s.cfg.Instance("111122223333", "us-east-1", i).ID, statistic: "Average", period: 300})
	}
	p := page{server: s, call: &call{principal: principal{account: "111122223333"}, region: "us-east-1"}, request: r, buffer: new(dataBuffer)}
	points := 0
	for b.Loop() {
		p.encode(0, 0)
		points += p.buffer.datapoints
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(points), "ns/datapoint")
}
