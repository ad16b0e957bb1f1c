package pipeline

import (
	"net"
	"testing"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// A call that found no address is told without the SDK's layers, and that the
// region may be misspelt.
func TestExplainNoSuchHost(t *testing.T) {
	err := &smithy.OperationError{ServiceID: "CloudWatch", OperationName: "GetMetricData", Err: &smithyhttp.ResponseError{
		Err: &smithyhttp.RequestSendError{Err: &net.DNSError{Err: "no such host", Name: "monitoring.us-esat-1.amazonaws.com", IsNotFound: true}},
	}}
	f := Explain(err)
	if want := "GetMetricData: lookup monitoring.us-esat-1.amazonaws.com: no such host; check the region's name, and this machine's DNS"; f.Class != "outage" || f.Message != want {
		t.Errorf("%+v", f)
	}
}
