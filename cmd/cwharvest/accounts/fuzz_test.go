package accounts

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"cwharvest/pipeline"
	"cwharvest/pipeline/config"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
)

// oneResponse is a service that sends the same response to every call.
type oneResponse struct {
	status int
	body   string
	calls  int
}

// mostCalls is more than any listing of the fuzz target may cause.
const mostCalls = 50

func (s *oneResponse) Do(r *http.Request) (*http.Response, error) {
	if s.calls++; s.calls > mostCalls {
		return nil, context.DeadlineExceeded // as a deadline would end it
	}
	return &http.Response{
		StatusCode: s.status, Request: r, ContentLength: int64(len(s.body)), Body: io.NopCloser(strings.NewReader(s.body)),
		Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}},
	}, nil
}

// FuzzOrganization checks that any response yields distinct, well-formed accounts, or an error with a class.
func FuzzOrganization(f *testing.F) {
	for _, text := range []string{`{"Accounts":[{"Id":"111122223333","Status":"ACTIVE"},{"Id":"444455556666","State":"ACTIVE"},{"Id":"777788889999","State":"SUSPENDED"}]}`,
		`{"OrganizationalUnits":[]}`, `{"__type":"AWSOrganizationsNotInUseException","Message":"m"}`, `{}`, `null`, `<html>`, `[]`,
	} {
		f.Add(uint16(200), text, false)
		f.Add(uint16(400), text, true)
	}
	id := regexp.MustCompile(`^\d{12}$`)
	f.Fuzz(func(t *testing.T, status uint16, body string, units bool) {
		service := &oneResponse{status: int(status), body: body}
		client := organizations.New(organizations.Options{
			Region: "us-east-1", HTTPClient: service, Retryer: aws.NopRetryer{},
			Credentials: credentials.NewStaticCredentialsProvider("AKIABASEBASEBASEBASE", "s", ""),
		})
		o := &config.Organization{Exclude: []string{"444455556666"}}
		if units {
			o.OUs = []string{"ou-ab12-cdefgh34", "ou-ab12-cdefgh34"}
		}
		members, err := listOrganization(t.Context(), client, o)
		if service.calls > mostCalls {
			t.Fatalf("%d calls: %v", service.calls, err)
		}
		if err != nil {
			if f := pipeline.Explain(err); f.Class == "" || strings.Contains(f.Message, "\n") {
				t.Errorf("%q", f)
			}
			return
		}
		seen := map[string]bool{"444455556666": true}
		for _, m := range members {
			if !id.MatchString(m.ID) || seen[m.ID] {
				t.Errorf("member %q", m.ID)
			}
			seen[m.ID] = true
		}
	})
}
