package pipeline

import (
	"cwharvest/pipeline/flat"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/schemas"
	"github.com/aws/smithy-go/transport/http/protocol/awsjson"
	"github.com/aws/smithy-go/transport/http/protocol/awsquery"
)

// Protocol is a wire protocol of CloudWatch. AWS supports all of them. Some
// emulators of AWS lack the SDK's default, which is CBOR.
type Protocol string

const (
	CBOR  Protocol = "cbor" // Smithy RPC v2; the default
	JSON  Protocol = "json" // AWS JSON 1.0
	Query Protocol = "query"
)

// NewCloudWatch returns a client of CloudWatch. All clients are made here, so that
// all use the configured protocol.
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
