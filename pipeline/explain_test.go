package pipeline

import (
	"net"
	"testing"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// The description of a call without an address leaves out the SDK's layers and has
// the hint that the region may be misspelt.
func TestExplainNoSuchHost(t *testing.T) {
	err := &smithy.OperationError{ServiceID: "CloudWatch", OperationName: "GetMetricData", Err: &smithyhttp.ResponseError{
		Err: &smithyhttp.RequestSendError{Err: &net.DNSError{Err: "no such host", Name: "monitoring.us-esat-1.amazonaws.com", IsNotFound: true}},
	}}
	f := Explain(err)
	if want := "GetMetricData: lookup monitoring.us-esat-1.amazonaws.com: no such host; check the region's name, and this machine's DNS"; f.Class != "outage" || f.Message != want {
		t.Errorf("%+v", f)
	}
}
