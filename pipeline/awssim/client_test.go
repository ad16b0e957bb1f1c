package awssim

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// plainBody hides the WriterTo of request bodies, because the SDK otherwise closes
// the connection of a fast response (aws-sdk-go-v2#1825).
type plainBody struct{ client *http.Client }

func (p plainBody) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return p.client.Do(r)
}

// cloud is a simulated AWS on an address, with a clock that tests set.
type cloud struct {
	*Server
	url string
	mu  sync.Mutex
	now time.Time
}

func newCloud(t *testing.T, c Config) *cloud {
	t.Helper()
	cl := &cloud{now: time.Now()}
	c.Now = func() time.Time { cl.mu.Lock(); defer cl.mu.Unlock(); return cl.now }
	if c.Accounts == nil {
		c.Accounts = []string{"111122223333", "444455556666"}
	}
	c.Regions, c.RoleName = []string{"us-east-1"}, "reader"
	cl.Server = New(c)
	server := httptest.NewServer(cl.Server)
	t.Cleanup(server.Close)
	cl.url = server.URL
	return cl
}

func (c *cloud) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *cloud) config(k Key) aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &c.url, HTTPClient: plainBody{http.DefaultClient},
		Credentials: credentials.NewStaticCredentialsProvider(k.ID, k.Secret, k.Token),
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} },
	}
}

func (c *cloud) assume(t *testing.T, external string) (Key, error) {
	t.Helper()
	in := &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::444455556666:role/reader"), RoleSessionName: aws.String("test")}
	if external != "" {
		in.ExternalId = &external
	}
	out, err := sts.NewFromConfig(c.config(AccessKey())).AssumeRole(t.Context(), in)
	if err != nil {
		return Key{}, err
	}
	return Key{*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken}, nil
}

func codeOf(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return fmt.Sprint(err)
}

func data(t *testing.T, cfg aws.Config, in *cloudwatch.GetMetricDataInput) (*cloudwatch.GetMetricDataOutput, error) {
	t.Helper()
	return cloudwatch.NewFromConfig(cfg).GetMetricData(t.Context(), in)
}

// ask returns a request for one statistic of instances in the last complete hours.
func ask(ids []string, hours int) *cloudwatch.GetMetricDataInput {
	end := time.Now().Truncate(time.Hour)
	in := &cloudwatch.GetMetricDataInput{
		StartTime: aws.Time(end.Add(-time.Duration(hours) * time.Hour)), EndTime: &end, ScanBy: cwtypes.ScanByTimestampAscending,
	}
	for i, id := range ids {
		in.MetricDataQueries = append(in.MetricDataQueries, cwtypes.MetricDataQuery{
			Id: aws.String(fmt.Sprintf("q%d", i)),
			MetricStat: &cwtypes.MetricStat{
				Metric: &cwtypes.Metric{Namespace: aws.String("AWS/EC2"), MetricName: aws.String("CPUUtilization"),
					Dimensions: []cwtypes.Dimension{{Name: aws.String("InstanceId"), Value: aws.String(id)}}},
				Period: aws.Int32(300), Stat: aws.String("Average"),
			},
		})
	}
	return in
}

func (c *cloud) ids(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = c.cfg.Instance(c.cfg.Accounts[0], "us-east-1", i).ID
	}
	return ids
}
