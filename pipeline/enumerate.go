package pipeline

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"cwharvest/store/record"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go/middleware"
)

// Discovery says where a target's instances come from: the union of its
// sources.
type Discovery struct {
	EC2        bool              // DescribeInstances, for metrics by InstanceId
	States     []string          // of EC2 instances; none: all states
	Tags       map[string]string // EC2 instances must carry all of them; the value "*" stands for any
	Monitoring string            // enabled or disabled; empty: both

	CloudWatch []Listing                           // ListMetrics
	Listed     map[record.Target][]record.Instance // from a file; an empty namespace stands for all that fit
}

// Listing is what ListMetrics is asked for: metrics of a namespace with exactly
// these dimensions.
type Listing struct {
	Namespace  string
	Dimensions []string // names, sorted
	Metrics    []string
}

// ec2Page is the number of instances asked of one DescribeInstances call, its
// maximum (API reference of DescribeInstances).
const ec2Page = 1000

// leastPage is the minimum of it.
const leastPage = 5

// enumeration walks one target's instances page by page. Its state outlives
// an outage: the page that failed is asked again, not the ones before it.
type enumeration struct {
	discovery *Discovery
	target    record.Target
	groups    []Listing // of the plan: what is an instance in which namespace
	ec2       *ec2.Client
	metrics   *cloudwatch.Client
	charged   func() // is called for every call that CloudWatch charges for

	sources  []source // those not finished
	token    string   // of the first source's next page
	seen     tokens   // of the first source
	restarts int      // of the first source
	page     int32    // instances asked of one DescribeInstances call
}

// source returns the page with a token, and the next one's.
type source func(ctx context.Context, token string) (page []record.Instance, next string, err error)

// newEnumeration begins with the first page of the first source.
func newEnumeration(d *Discovery, t record.Target, groups []Listing, cfg aws.Config, p Protocol, charged func()) *enumeration {
	e := &enumeration{
		discovery: d, target: t, groups: groups, page: ec2Page, ec2: ec2.NewFromConfig(cfg), metrics: NewCloudWatch(cfg, p), charged: charged,
	}
	if len(e.discovery.Listed[e.target]) > 0 {
		e.sources = append(e.sources, e.listed)
	}
	if e.discovery.EC2 {
		e.sources = append(e.sources, e.describeInstances)
	}
	for _, l := range e.discovery.CloudWatch {
		for _, metric := range l.Metrics {
			e.sources = append(e.sources, func(ctx context.Context, token string) ([]record.Instance, string, error) {
				return e.listMetrics(ctx, &l, metric, token)
			})
		}
	}
	return e
}

// next returns the next page and whether it is the last.
func (e *enumeration) next(ctx context.Context) ([]record.Instance, bool, error) {
	if len(e.sources) == 0 {
		return nil, true, nil
	}
	page, next, err := e.sources[0](ctx, e.token)
	if err == nil {
		err = checkPage(page)
	}
	if err == nil {
		err = e.seen.add(next, mostListingPages)
	}
	if err != nil {
		return nil, false, fmt.Errorf("list instances of %s: %w", e.target, err)
	}
	if e.token = next; next == "" {
		e.sources, e.seen, e.restarts = e.sources[1:], tokens{}, 0
	}
	return page, len(e.sources) == 0, nil
}

// longestKey is what a database takes as the key of an instance, about (bbolt,
// MaxKeySize: 32,768 bytes).
const longestKey = 30 << 10

// checkPage refuses a page that cannot be meant. An instance is known by its
// dimensions: they are asked for, make up its key and are kept as JSON.
func checkPage(page []record.Instance) error {
	for i := range page {
		for _, d := range page[i].Dimensions {
			if d.Value == "" || !utf8.ValidString(d.Value) || strings.ContainsRune(d.Value, 0) {
				return fmt.Errorf("answer holds an instance with %s %.40q, which is not possible", d.Name, d.Value)
			}
		}
		if n := len(page[i].Key()); n > longestKey {
			return fmt.Errorf("answer holds an instance whose dimensions take %d bytes", n)
		}
	}
	return nil
}

// errNotAWS is what a proxy puts in the place of an answer, with status 200: a
// document that lacks the list, which AWS sends empty rather than not at all.
var errNotAWS = errors.New("answer is none of AWS's: it holds no list")

// fromAWS reports whether an answer has the id that AWS gives each request.
func fromAWS(m middleware.Metadata) bool {
	id, ok := awsmiddleware.GetRequestIDMetadata(m)
	return ok && id != ""
}

// mostRestarts bounds how often a listing begins anew: one whose second page is
// always refused has no end.
const mostRestarts = 5

// restart goes back to the source's first page after a page token was refused,
// with smaller pages after one that was too long. It reports false when that
// does not help, or has not helped often enough.
func (e *enumeration) restart(err error) bool {
	var long interface{ TooLong() bool }
	shorter := errors.As(err, &long) && len(e.sources) > 0 && e.page > leastPage
	switch {
	case shorter:
		e.page = max(e.page/2, leastPage)
	case e.token == "" || e.restarts == mostRestarts:
		return false
	default:
		e.restarts++
	}
	e.token, e.seen = "", tokens{}
	return true
}

func (e *enumeration) listed(context.Context, string) (page []record.Instance, _ string, _ error) {
	for _, in := range e.discovery.Listed[e.target] {
		var names []string
		for _, d := range in.Dimensions {
			names = append(names, d.Name)
		}
		page = append(page, e.inGroups(in, names)...)
	}
	return page, "", nil
}

// inGroups returns the instance for each namespace that has metrics by the
// dimensions.
func (e *enumeration) inGroups(in record.Instance, names []string) (all []record.Instance) {
	for _, g := range e.groups {
		if (in.Namespace == "" || in.Namespace == g.Namespace) && slices.Equal(g.Dimensions, names) {
			each := in
			each.Namespace = g.Namespace
			all = append(all, each)
		}
	}
	return all
}

func (e *enumeration) describeInstances(ctx context.Context, token string) (page []record.Instance, next string, err error) {
	out, err := e.ec2.DescribeInstances(ctx, e.input(token))
	if err != nil {
		return nil, "", err
	}
	if out.Reservations == nil {
		return nil, "", errNotAWS
	}
	for _, reservation := range out.Reservations {
		for i := range reservation.Instances {
			page = append(page, e.fromEC2(&reservation.Instances[i])...)
		}
	}
	return page, aws.ToString(out.NextToken), nil
}

func (e *enumeration) input(token string) *ec2.DescribeInstancesInput {
	in := &ec2.DescribeInstancesInput{MaxResults: aws.Int32(e.page)}
	if token != "" {
		in.NextToken = &token
	}
	filter := func(name string, values ...string) {
		in.Filters = append(in.Filters, types.Filter{Name: &name, Values: values})
	}
	if len(e.discovery.States) > 0 {
		filter("instance-state-name", e.discovery.States...)
	}
	if e.discovery.Monitoring != "" {
		filter("monitoring-state", e.discovery.Monitoring)
	}
	for key, value := range e.discovery.Tags {
		filter("tag:"+key, value)
	}
	slices.SortFunc(in.Filters, func(a, b types.Filter) int { return strings.Compare(*a.Name, *b.Name) })
	return in
}

func (e *enumeration) fromEC2(i *types.Instance) []record.Instance {
	in := record.Instance{
		Dimensions: []record.Dimension{{Name: "InstanceId", Value: aws.ToString(i.InstanceId)}},
		Type:       string(i.InstanceType),
		Platform:   aws.ToString(i.PlatformDetails),
		Launched:   aws.ToTime(i.LaunchTime),
		Sources:    []string{"ec2"},
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
	return e.inGroups(in, []string{"InstanceId"})
}

// listMetrics returns a page of the dimension sets that a metric has. Metrics
// without data in the last two weeks are not listed, and RecentlyActive would
// narrow that to three hours (API reference of ListMetrics).
func (e *enumeration) listMetrics(ctx context.Context, l *Listing, metric, token string) (page []record.Instance, next string, err error) {
	in := &cloudwatch.ListMetricsInput{Namespace: &l.Namespace, MetricName: &metric}
	if token != "" {
		in.NextToken = &token
	}
	for _, name := range l.Dimensions {
		in.Dimensions = append(in.Dimensions, cwtypes.DimensionFilter{Name: &name})
	}
	out, err := e.metrics.ListMetrics(ctx, in)
	if err != nil {
		return nil, "", err
	}
	e.charged()
	if out.Metrics == nil && !fromAWS(out.ResultMetadata) {
		return nil, "", errNotAWS
	}
	for i := range out.Metrics {
		in := record.Instance{Namespace: l.Namespace, Sources: []string{"cloudwatch"}}
		for _, d := range out.Metrics[i].Dimensions {
			in.Dimensions = append(in.Dimensions, record.Dimension{Name: aws.ToString(d.Name), Value: aws.ToString(d.Value)})
		}
		slices.SortFunc(in.Dimensions, func(a, b record.Dimension) int { return strings.Compare(a.Name, b.Name) })
		if slices.EqualFunc(in.Dimensions, l.Dimensions, func(d record.Dimension, name string) bool { return d.Name == name }) {
			page = append(page, in) // the filter lets through what has more dimensions, too
		}
	}
	return page, aws.ToString(out.NextToken), nil
}

// regionForm is wide; a pattern in the place of a name would stand for itself.
var regionForm = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// EnabledRegions returns what a target's pattern stands for: those of the
// account's enabled regions that it covers, and listed ones, which are then
// refused in their own name.
func EnabledRegions(ctx context.Context, cfg aws.Config, pattern record.Target, d *Discovery) ([]string, error) {
	out, err := ec2.NewFromConfig(cfg).DescribeRegions(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("list the regions of %s: %w", pattern.Account, err)
	}
	if out.Regions == nil {
		return nil, fmt.Errorf("list the regions of %s: %w", pattern.Account, errNotAWS)
	}
	var regions []string
	for _, r := range out.Regions {
		name := aws.ToString(r.RegionName)
		if !regionForm.MatchString(name) {
			return nil, fmt.Errorf("list the regions of %s: answer holds a region %.40q, which is not possible", pattern.Account, name)
		}
		if pattern.Covers(name) {
			regions = append(regions, name)
		}
	}
	for t := range d.Listed {
		if t.Account == pattern.Account && pattern.Covers(t.Region) {
			regions = append(regions, t.Region)
		}
	}
	slices.Sort(regions)
	return slices.Compact(regions), nil
}
