package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"cwharvest/store/record"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Discovery selects the sources of a target's instances. The instances are the
// union of all sources.
type Discovery struct {
	EC2        bool              // DescribeInstances, for metrics by InstanceId
	States     []string          // of EC2 instances; none: all states
	Tags       map[string]string // EC2 instances must have all of them; the value "*" alone stands for any
	Monitoring string            // enabled or disabled; empty: both

	CloudWatch []Listing                           // ListMetrics
	Listed     map[record.Target][]record.Instance // from a file; an empty namespace stands for all with these dimensions
}

// Listing selects metrics of a namespace with exactly these dimensions.
type Listing struct {
	Namespace  string
	Dimensions []string // names, sorted
	Metrics    []string
}

// The bounds of MaxResults in DescribeInstances (API reference).
const (
	ec2Page   = 1000
	leastPage = 5
)

// enumeration lists the instances of one target page by page. After an outage it
// repeats the page that failed and not the ones before it.
type enumeration struct {
	discovery *Discovery
	target    record.Target
	groups    []Listing // of the plan: the dimensions of instances in each namespace
	ec2       *ec2.Client
	metrics   *cloudwatch.Client
	charged   func() // called for every call that CloudWatch bills

	sources  []*source              // those not finished
	answered bool                   // a source has returned a page
	spoke    int                    // pages that CloudWatch has returned
	control  *source                // a finished one of CloudWatch; nil: none
	failed   []record.MetricFailure // of the sources that AWS refused
	page     int32                  // MaxResults of DescribeInstances
}

// source lists the instances of some metrics.
type source struct {
	// list returns the page with a token, and the token of the next page.
	list    func(ctx context.Context, token string) (page []record.Instance, next string, err error)
	metrics []record.MetricFailure // fail if AWS refuses the listing

	token    string // of the next page
	seen     tokens
	restarts int

	suspicion int // failures in a row while ListMetrics succeeds for other metrics
	spoke     int // of the enumeration at the last failure; 0: none since the last page
}

// newEnumeration returns an enumeration before its first page.
func newEnumeration(d *Discovery, t record.Target, groups []Listing, cfg aws.Config, p Protocol, charged func()) *enumeration {
	e := &enumeration{
		discovery: d, target: t, groups: groups, page: ec2Page, ec2: ec2.NewFromConfig(cfg), metrics: NewCloudWatch(cfg, p), charged: charged,
	}
	if slices.ContainsFunc(groups, func(g Listing) bool { return len(g.Dimensions) == 0 }) {
		e.sources = append(e.sources, &source{list: e.totals})
	}
	if len(e.discovery.Listed[e.target]) > 0 {
		e.sources = append(e.sources, &source{list: e.listed})
	}
	if e.discovery.EC2 {
		e.sources = append(e.sources, &source{list: e.describeInstances, metrics: e.byInstance()})
	}
	for _, l := range e.discovery.CloudWatch {
		for _, metric := range l.Metrics {
			e.sources = append(e.sources, &source{
				list: func(ctx context.Context, token string) ([]record.Instance, string, error) {
					return e.listMetrics(ctx, &l, metric, token)
				},
				metrics: []record.MetricFailure{{Namespace: l.Namespace, Metric: metric, Dimensions: l.Dimensions, Listing: true}},
			})
		}
	}
	return e
}

// byInstance returns the metrics whose instances EC2 lists.
func (e *enumeration) byInstance() (all []record.MetricFailure) {
	for _, g := range e.groups {
		if slices.Equal(g.Dimensions, []string{"InstanceId"}) {
			all = append(all, record.MetricFailure{Namespace: g.Namespace, Dimensions: g.Dimensions, Listing: true})
		}
	}
	return all
}

// next returns the next page and reports whether it is the last.
func (e *enumeration) next(ctx context.Context) ([]record.Instance, bool, error) {
	if len(e.sources) == 0 {
		return nil, true, nil
	}
	s := e.sources[0]
	if s.suspicion+s.spoke > 0 && len(e.sources) == 1 && e.control != nil && e.spoke == s.spoke {
		_, _, err := e.control.list(ctx, "") // shows whether ListMetrics works
		return nil, false, err
	}
	page, next, err := s.list(ctx, s.token)
	if err == nil {
		err = s.seen.add(next, mostListingPages)
	}
	if err != nil {
		return nil, false, fmt.Errorf("list instances of %s: %w", e.target, err)
	}
	e.answered, s.suspicion, s.spoke = true, 0, 0
	if s.token = next; next == "" {
		e.nextSource()
	}
	for i := range page {
		checkInstance(&page[i])
	}
	return page, len(e.sources) == 0, nil
}

func (e *enumeration) nextSource() {
	if s := e.sources[0]; s.isCloudWatch() {
		e.control = s
	}
	e.sources = e.sources[1:]
}

// isCloudWatch reports whether ListMetrics lists the source.
func (s *source) isCloudWatch() bool { return len(s.metrics) == 1 && s.metrics[0].Metric != "" }

// suspect puts a source of CloudWatch that has failed behind the others, so that a
// metric whose listing does not work holds up no other. It reports true once the
// listing has failed often enough while ListMetrics succeeded for others.
func (e *enumeration) suspect() bool {
	s := e.sources[0]
	if !s.isCloudWatch() {
		return false
	}
	if s.spoke > 0 && e.spoke > s.spoke {
		s.suspicion++
	}
	s.spoke = e.spoke
	e.sources = append(e.sources[1:], s)
	return s.suspicion >= poisonAfter && len(e.sources) == 1
}

// giveUp goes on to the next source after AWS refused the listing of the first one,
// whose metrics fail. It reports false if nothing is left to list: then the refusal
// is the target's.
func (e *enumeration) giveUp(f record.Failure) bool {
	for _, m := range e.sources[0].metrics {
		m.Failure = f
		e.failed = append(e.failed, m)
	}
	e.nextSource()
	return e.answered || len(e.sources) > 0
}

// mostRestarts bounds how often the listing of a source starts again, since AWS
// could refuse the second page every time.
const mostRestarts = 5

// restart returns to the first page of the source after AWS refused the token of a
// page. After a page that was too long it asks for smaller ones. It reports false
// if that cannot help, or was tried often enough.
func (e *enumeration) restart(err error) bool {
	var long interface{ TooLong() bool }
	shorter := errors.As(err, &long) && len(e.sources) > 0 && e.page > leastPage
	switch {
	case shorter:
		e.page = max(e.page/2, leastPage)
	case len(e.sources) == 0 || e.sources[0].token == "" || e.sources[0].restarts == mostRestarts:
		return false
	default:
		e.sources[0].restarts++
	}
	e.sources[0].token, e.sources[0].seen = "", tokens{}
	return true
}

// goesOn reports whether the listing can continue after an error that stayed: from the
// first page of the source, or with another one.
func (e *enumeration) goesOn(err error) bool {
	c := classify(err)
	if errors.Is(err, errPages) {
		c = invalid
	}
	switch s := e.sources[0]; {
	case c == invalid && e.restart(err):
		return true
	case c == transient && s.isCloudWatch() && s.suspicion == 0 && len(e.sources) > 1 && (e.spoke > 0 || !e.suspects()):
		s.suspicion++
		e.sources = append(e.sources[1:], s)
		return true
	case c == transient && s.isCloudWatch() && e.spoke > 0:
		return e.giveUp(failure(poison, err))
	}
	return (c == invalid || c == refused) && isOfOperation(c, err) && e.giveUp(failure(c, err))
}

// suspects reports whether a source has failed and was put behind the others.
func (e *enumeration) suspects() bool {
	return slices.ContainsFunc(e.sources, func(s *source) bool { return s.suspicion > 0 })
}

// totals returns the one instance of each namespace that has metrics without
// dimensions. ListMetrics could only list them with all others of the metric.
func (e *enumeration) totals(context.Context, string) (page []record.Instance, _ string, _ error) {
	return e.inGroups(record.Instance{Dimensions: []record.Dimension{}}, nil), "", nil
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

// inGroups returns the instance once for each namespace of the plan with these
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
	in := &ec2.DescribeInstancesInput{MaxResults: aws.Int32(e.page), Filters: e.discovery.filters()}
	if token != "" {
		in.NextToken = &token
	}
	return in
}

// filters returns the filters of EC2 instances.
func (d *Discovery) filters() (all []types.Filter) {
	filter := func(name string, values ...string) {
		all = append(all, types.Filter{Name: &name, Values: values})
	}
	if len(d.States) > 0 {
		filter("instance-state-name", d.States...)
	}
	if d.Monitoring != "" {
		filter("monitoring-state", d.Monitoring)
	}
	for key, value := range d.Tags {
		if value != "*" {
			value = literal.Replace(value)
		}
		filter("tag:"+key, value)
	}
	slices.SortFunc(all, func(a, b types.Filter) int { return strings.Compare(*a.Name, *b.Name) })
	return all
}

// literal escapes the wildcards of a filter's value (EC2 User Guide, "Filtering
// resources").
var literal = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`)

// mostFilterValues bounds the values of all filters of a call (API reference of
// DescribeInstances).
const mostFilterValues = 200

// filtered returns the instances of a page that EC2 lists under the filters, and those
// that are not of EC2.
func (e *enumeration) filtered(ctx context.Context, page []record.Instance) ([]record.Instance, error) {
	filters := e.discovery.filters()
	if len(filters) == 0 || len(page) == 0 || !slices.ContainsFunc(page[0].Dimensions, func(d record.Dimension) bool { return d.Name == "InstanceId" }) {
		return page, nil
	}
	ids := map[string]bool{} // and whether EC2 lists them
	for i := range page {
		if id := instanceID(&page[i]); isPossible(id) {
			ids[id] = false
		}
	}
	used := 0
	for _, f := range filters {
		used += len(f.Values)
	}
	for some := range slices.Chunk(slices.Sorted(maps.Keys(ids)), max(mostFilterValues-used, 1)) {
		if err := e.find(ctx, filters, some, ids); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(page, func(in record.Instance) bool { listed, asked := ids[instanceID(&in)]; return asked && !listed }), nil
}

// find sets the ids that EC2 lists under filters.
func (e *enumeration) find(ctx context.Context, filters []types.Filter, ids []string, listed map[string]bool) error {
	values := make([]string, len(ids))
	for i, id := range ids {
		values[i] = literal.Replace(id)
	}
	in := &ec2.DescribeInstancesInput{
		MaxResults: aws.Int32(ec2Page), Filters: append(slices.Clone(filters), types.Filter{Name: aws.String("instance-id"), Values: values}),
	}
	for seen := (tokens{}); ; {
		out, err := e.ec2.DescribeInstances(ctx, in)
		switch {
		case err != nil:
			return err
		case out.Reservations == nil:
			return errNotAWS
		}
		for _, r := range out.Reservations {
			for i := range r.Instances {
				listed[aws.ToString(r.Instances[i].InstanceId)] = true
			}
		}
		if err := seen.add(aws.ToString(out.NextToken), mostPages); err != nil || aws.ToString(out.NextToken) == "" {
			return err
		}
		in.NextToken = out.NextToken
	}
}

// instanceID returns the value of the dimension InstanceId, "" if there is none.
func instanceID(in *record.Instance) string {
	for _, d := range in.Dimensions {
		if d.Name == "InstanceId" {
			return d.Value
		}
	}
	return ""
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

// mostFilters is the number of dimensions that ListMetrics accepts as filters (API
// reference of ListMetrics). A metric can have 30.
const mostFilters = 10

// listMetrics returns a page of the dimension sets of a metric. CloudWatch lists
// metrics with data in the last two weeks (API reference of ListMetrics).
func (e *enumeration) listMetrics(ctx context.Context, l *Listing, metric, token string) (page []record.Instance, next string, err error) {
	in := &cloudwatch.ListMetricsInput{Namespace: &l.Namespace, MetricName: &metric}
	if token != "" {
		in.NextToken = &token
	}
	for _, name := range l.Dimensions[:min(len(l.Dimensions), mostFilters)] {
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
	e.spoke++
	for i := range out.Metrics {
		if m := &out.Metrics[i]; m.MetricName != nil && *m.MetricName != metric || m.Namespace != nil && *m.Namespace != l.Namespace {
			continue // an emulator can ignore the filters
		}
		in := record.Instance{Namespace: l.Namespace, Sources: []string{"cloudwatch"}, Metrics: []string{metric}}
		for _, d := range out.Metrics[i].Dimensions {
			in.Dimensions = append(in.Dimensions, record.Dimension{Name: aws.ToString(d.Name), Value: aws.ToString(d.Value)})
		}
		slices.SortFunc(in.Dimensions, func(a, b record.Dimension) int { return strings.Compare(a.Name, b.Name) })
		if slices.EqualFunc(in.Dimensions, l.Dimensions, func(d record.Dimension, name string) bool { return d.Name == name }) {
			page = append(page, in) // the filter also matches metrics with more dimensions
		}
	}
	page, err = e.filtered(ctx, page)
	return page, aws.ToString(out.NextToken), err
}

// regionForm accepts any name of a region that is no pattern.
var regionForm = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// EnabledRegions returns the regions that a pattern stands for: the enabled regions
// of the account that match it, and the regions of listed instances. If one of the
// latter is not enabled, its own target is denied.
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
			return nil, fmt.Errorf("list the regions of %s: %w: region %.40q", pattern.Account, errImpossible, name)
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
