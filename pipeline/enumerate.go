package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"cwharvest/store"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Discovery says where a target's instances come from: the union of its
// sources.
type Discovery struct {
	EC2    bool                      // DescribeInstances
	States []string                  // of EC2 instances; none: all states
	Tags   map[string]string         // EC2 instances must carry all of them; the value "*" stands for any
	Listed map[store.Target][]string // instance ids from a file
}

// ec2Page is the number of instances asked of one DescribeInstances call, its
// maximum (API reference of DescribeInstances).
const ec2Page = 1000

// enumeration walks one target's instances page by page. Its state outlives
// an outage: the page that failed is asked again, not the ones before it.
type enumeration struct {
	discovery  *Discovery
	target     store.Target
	namespaces []string // of the plan: an EC2 instance is an instance in each
	client     *ec2.Client

	listed bool   // the file's instances have been handed on
	token  string // of the next page
}

// next returns the next page and whether it is the last.
func (e *enumeration) next(ctx context.Context) ([]store.Instance, bool, error) {
	if !e.listed {
		page := e.fromList()
		e.listed = true
		return page, !e.discovery.EC2, nil
	}
	out, err := e.client.DescribeInstances(ctx, e.input())
	if err != nil {
		return nil, false, fmt.Errorf("list instances of %s: %w", e.target, err)
	}
	e.token = aws.ToString(out.NextToken)
	var page []store.Instance
	for _, reservation := range out.Reservations {
		for i := range reservation.Instances {
			page = append(page, e.fromEC2(&reservation.Instances[i])...)
		}
	}
	return page, e.token == "", nil
}

func (e *enumeration) input() *ec2.DescribeInstancesInput {
	in := &ec2.DescribeInstancesInput{MaxResults: aws.Int32(ec2Page)}
	if e.token != "" {
		in.NextToken = &e.token
	}
	if len(e.discovery.States) > 0 {
		in.Filters = append(in.Filters, types.Filter{Name: aws.String("instance-state-name"), Values: e.discovery.States})
	}
	for key, value := range e.discovery.Tags {
		in.Filters = append(in.Filters, types.Filter{Name: aws.String("tag:" + key), Values: []string{value}})
	}
	slices.SortFunc(in.Filters, func(a, b types.Filter) int { return strings.Compare(*a.Name, *b.Name) })
	return in
}

func (e *enumeration) fromList() []store.Instance {
	var page []store.Instance
	for _, id := range e.discovery.Listed[e.target] {
		page = append(page, e.perNamespace(id, store.Instance{Sources: []string{"file"}})...)
	}
	return page
}

func (e *enumeration) fromEC2(i *types.Instance) []store.Instance {
	in := store.Instance{
		Type:     string(i.InstanceType),
		Platform: aws.ToString(i.PlatformDetails),
		Launched: aws.ToTime(i.LaunchTime),
		Sources:  []string{"ec2"},
	}
	if i.State != nil {
		in.State = string(i.State.Name)
	}
	if i.Placement != nil {
		in.Zone = aws.ToString(i.Placement.AvailabilityZone)
	}
	if len(i.Tags) > 0 {
		in.Tags = make(map[string]string, len(i.Tags))
		for _, t := range i.Tags {
			in.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
	}
	return e.perNamespace(aws.ToString(i.InstanceId), in)
}

func (e *enumeration) perNamespace(id string, in store.Instance) []store.Instance {
	page := make([]store.Instance, 0, len(e.namespaces))
	for _, namespace := range e.namespaces {
		in.Namespace = namespace
		in.Dimensions = []store.Dimension{{Name: "InstanceId", Value: id}}
		page = append(page, in)
	}
	return page
}

// restart goes back to the first page after a page token was refused. It
// reports false when there is no token to blame.
func (e *enumeration) restart() bool {
	if e.token == "" {
		return false
	}
	e.token = ""
	return true
}
