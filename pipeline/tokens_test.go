package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"cwharvest/store/record"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
)

// served returns the configuration for a server with this handler, and the number of
// calls to it.
func served(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) (aws.Config, *int) {
	t.Helper()
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++ // one call after the other
		answer(asked, w, r)
	}))
	t.Cleanup(s.Close)
	keys := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "s"}, nil
	})
	return aws.Config{
		BaseEndpoint: &s.URL, Region: "us-east-1", Credentials: keys, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	}, &asked
}

func page(w io.Writer, token string) {
	fmt.Fprintf(w, `<DescribeInstancesResponse><reservationSet/><nextToken>%s</nextToken></DescribeInstancesResponse>`, token)
}

// listServed lists instances as a target does and returns the error that ended it.
func listServed(cfg aws.Config) error {
	e := newEnumeration(&Discovery{EC2: true}, record.Target{Account: "111122223333", Region: "us-east-1"}, nil, cfg, CBOR, func() {})
	for {
		_, last, err := e.next(context.Background())
		switch {
		case err != nil && classify(err) == invalid && e.restart(err):
		case err != nil || last:
			return err
		}
	}
}

func TestListingsEnd(t *testing.T) {
	t.Run("one token", func(t *testing.T) {
		cfg, asked := served(t, func(_ int, w http.ResponseWriter, _ *http.Request) { page(w, "again") })
		if err := listServed(cfg); !errors.Is(err, errPages) || *asked > 2 {
			t.Errorf("%v after %d calls", err, *asked)
		}
	})
	t.Run("a circle", func(t *testing.T) {
		cfg, asked := served(t, func(n int, w http.ResponseWriter, _ *http.Request) { page(w, "t"+strconv.Itoa(n%7)) })
		if err := listServed(cfg); !errors.Is(err, errPages) || *asked > 8 {
			t.Errorf("%v after %d calls", err, *asked)
		}
	})
	t.Run("a token that is always refused", func(t *testing.T) {
		cfg, asked := served(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			if r.FormValue("NextToken") == "" {
				page(w, "bad")
				return
			}
			w.WriteHeader(400)
			io.WriteString(w, `<Response><Errors><Error><Code>InvalidNextToken</Code><Message>no</Message></Error></Errors></Response>`)
		})
		if err := listServed(cfg); err == nil || *asked > 2*(mostRestarts+1) {
			t.Errorf("%v after %d calls", err, *asked)
		}
	})
	t.Run("pages that are too long", func(t *testing.T) {
		cfg, _ := served(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			if n, err := strconv.Atoi(r.FormValue("MaxResults")); err != nil || n > 100 {
				http.Error(w, "too long", http.StatusRequestEntityTooLarge)
				return
			}
			page(w, "")
		})
		cfg.HTTPClient = tooLong{http.DefaultClient}
		if err := listServed(cfg); err != nil {
			t.Error(err)
		}
	})
}

// tooLong stands for a client that bounds responses.
type tooLong struct{ client *http.Client }

func (c tooLong) Do(r *http.Request) (*http.Response, error) {
	answer, err := c.client.Do(r)
	if err == nil && answer.StatusCode == http.StatusRequestEntityTooLarge {
		return nil, errors.Join(longError{}, answer.Body.Close())
	}
	return answer, err
}

type longError struct{}

func (longError) Error() string { return "too long" }
func (longError) TooLong() bool { return true }

// TestPagesOfDataEnd proves that a response with endless pages costs a bounded
// number of calls.
func TestPagesOfDataEnd(t *testing.T) {
	for name, token := range map[string]func(n int) string{
		"one token": func(int) string { return "again" },
		"no end":    strconv.Itoa,
	} {
		t.Run(name, func(t *testing.T) {
			cfg, asked := served(t, func(n int, w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
				w.Header().Set("Content-Type", "application/cbor")
				next := token(n)
				io.WriteString(w, "\xa2\x71MetricDataResults\x80\x69NextToken"+string(rune(0x60+len(next)))+next)
			})
			f := &fetcher{client: cloudwatch.NewFromConfig(cfg), series: []record.Series{{Namespace: "N", Metric: "M", Statistics: []string{"Sum"}}}}
			a := f.fetch(t.Context(), &request{items: []item{{}}, window: record.Window{End: 300, Period: 300}, queries: 1})
			if !errors.Is(a.err, errPages) || classify(a.err) != transient || *asked > mostPages+1 || name == "one token" && *asked > 2 {
				t.Errorf("%v after %d calls", a.err, *asked)
			}
		})
	}
}
