package front

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// start returns a front of two accounts, one of them in China, and a client that goes
// through it.
func start(t *testing.T) (*Front, *http.Client) {
	t.Helper()
	f, err := Start(awssim.New(awssim.Config{
		Accounts: []string{"111122223333", "444455556666"}, Partitions: map[string]string{"444455556666": "aws-cn"},
		Regions: []string{"us-east-1", "cn-north-1"}, Disabled: []string{"me-south-1"}, RoleName: "reader", Instances: 1,
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	proxy, err := url.Parse(f.URL())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(f.CA())
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	return f, &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

func config(client *http.Client, region string, key awssim.Key) aws.Config {
	return aws.Config{
		Region: region, HTTPClient: client, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		Credentials: credentials.NewStaticCredentialsProvider(key.ID, key.Secret, key.Token),
	}
}

// TestRegionsAndPartitions proves which codes a client of the AWS SDK gets in regions
// that do not know its key.
func TestRegionsAndPartitions(t *testing.T) {
	f, client := start(t)
	main, china := awssim.NumberedKey(1), awssim.NumberedKey(2)
	for _, c := range []struct {
		region string
		key    awssim.Key
		want   string // code of STS and CloudWatch; empty: the call works
	}{
		{"us-east-1", main, ""},
		{"cn-north-1", china, ""},
		{"us-east-1", china, "InvalidClientTokenId"},
		{"cn-north-1", main, "InvalidClientTokenId"},
		{"me-south-1", main, "InvalidClientTokenId"},
	} {
		ctx, cfg := context.Background(), config(client, c.region, c.key)
		_, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil)
		if got, status := codeOf(err); got != c.want || c.want != "" && status != 403 {
			t.Errorf("STS in %s with %s: %s %d: %v", c.region, c.key.ID, got, status, err)
		}
		_, err = cloudwatch.NewFromConfig(cfg).ListMetrics(ctx, &cloudwatch.ListMetricsInput{})
		if got, _ := codeOf(err); got != c.want {
			t.Errorf("CloudWatch in %s with %s: %s: %v", c.region, c.key.ID, got, err)
		}
		_, err = ec2.NewFromConfig(cfg).DescribeInstances(ctx, &ec2.DescribeInstancesInput{})
		if got, _ := codeOf(err); (got == "AuthFailure") != (c.want != "") {
			t.Errorf("EC2 in %s with %s: %s: %v", c.region, c.key.ID, got, err)
		}
	}
	if n := len(f.Requests()); n != 15 {
		t.Errorf("%d requests are recorded, want 15", n)
	}
}

func codeOf(err error) (code string, status int) {
	var api smithy.APIError
	var response *smithyhttp.ResponseError
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	return code, status
}

func TestHosts(t *testing.T) {
	for name, want := range map[string]host{
		"sts.us-east-1.amazonaws.com":                   {service: "sts", region: "us-east-1"},
		"sts.amazonaws.com":                             {service: "sts", region: "us-east-1"},
		"monitoring.cn-north-1.amazonaws.com.cn":        {service: "monitoring", region: "cn-north-1"},
		"monitoring-fips.us-gov-west-1.amazonaws.com":   {service: "monitoring", region: "us-gov-west-1"},
		"ec2.eusc-de-east-1.amazonaws.eu":               {service: "ec2", region: "eusc-de-east-1"},
		"sts.us-isob-east-1.sc2s.sgov.gov":              {service: "sts", region: "us-isob-east-1"},
		"portal.sso.eu-west-1.amazonaws.com":            {service: "portal.sso", region: "eu-west-1"},
		"us-east-1.signin.aws.amazon.com":               {service: "signin", region: "us-east-1"},
		"bucket.s3.eu-central-1.amazonaws.com":          {service: "s3", region: "eu-central-1"},
		"vpce-0a.sts.us-east-1.vpce.amazonaws.com":      {service: "sts", region: "us-east-1"},
		"ec2.me-central-1.api.aws":                      {service: "ec2", region: "me-central-1"},
		"aws.test.example":                              {},
		"sts.us-east-1a.amazonaws.com":                  {unknown: true},
		"sts.us-esat-1.amazonaws.com":                   {unknown: true},
		"sts.cn-north-1.amazonaws.com":                  {unknown: true},
		"sts.us-east-1.amazonaws.com.cn":                {unknown: true},
		"sts.eusc-de-east-1.amazonaws.com":              {unknown: true},
		"monitoring.us-east-1.monitoring.amazonaws.com": {unknown: true},
	} {
		if got := parseHost(name); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// TestFaults checks the error that a client gets for each kind of fault.
func TestFaults(t *testing.T) {
	f, client := start(t)
	call := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := sts.NewFromConfig(config(client, "us-east-1", awssim.NumberedKey(1))).GetCallerIdentity(ctx, nil)
		return err
	}
	for _, c := range []struct {
		fault Fault
		want  string // in the text of the error
	}{
		{Fault{Status: 503, Code: "ServiceUnavailable"}, "StatusCode: 503"},
		{Fault{Status: 400, Code: "Throttling", Message: "Rate exceeded"}, "Throttling: Rate exceeded"},
		{Fault{Kind: "html", Status: 403}, "StatusCode: 403"},
		{Fault{Kind: "garbage"}, "deserialization failed"},
		{Fault{Kind: "cut"}, "EOF"},
		{Fault{Kind: "hang"}, "deadline exceeded"},
		{Fault{Connect: true, Kind: "html", Status: 407}, "Proxy Authentication Required"},
		{Fault{Match: regexp.MustCompile("AssumeRole")}, ""},
	} {
		c.fault.Host = "sts.*.amazonaws.com"
		c.fault.Count = 1
		if c.fault.Connect {
			client.CloseIdleConnections()
		}
		if err := f.AddFault(c.fault); err != nil {
			t.Fatal(err)
		}
		if err := call(); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", c.fault, err, c.want)
		}
		f.ClearFaults("")
		if err := call(); err != nil {
			t.Errorf("after %+v: %v", c.fault, err)
		}
	}
}
