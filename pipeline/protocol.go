package pipeline

import (
	"cwharvest/pipeline/flat"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/schemas"
	"github.com/aws/smithy-go/transport/http/protocol/awsjson"
	"github.com/aws/smithy-go/transport/http/protocol/awsquery"
)

// Protocol is how CloudWatch is spoken to on the wire. CloudWatch knows all of
// them; emulators of AWS do not all know the SDK's own, which is CBOR.
type Protocol string

const (
	CBOR  Protocol = "cbor" // Smithy RPC v2; the default
	JSON  Protocol = "json" // AWS JSON 1.0
	Query Protocol = "query"
)

// NewCloudWatch makes every client of CloudWatch, so that all speak the same
// protocol.
func NewCloudWatch(cfg aws.Config, p Protocol) *cloudwatch.Client {
	return cloudwatch.NewFromConfig(cfg, func(o *cloudwatch.Options) {
		switch p {
		case JSON:
			o.Protocol = awsjson.New10(schemas.GraniteServiceVersion20100801)
		case Query:
			o.Protocol = awsquery.New(schemas.GraniteServiceVersion20100801)
		}
		flat.Use(o)
	})
}
