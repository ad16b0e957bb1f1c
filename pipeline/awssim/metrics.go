package awssim

import (
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/aws/smithy-go/encoding/cbor"
)

// getMetricStatistics returns the statistics of one metric. The product must not rely
// on their order, because AWS does not sort them.
func (s *Server) getMetricStatistics(w http.ResponseWriter, c *call, faults activeFaults) *apiError {
	f, fail := c.fields()
	if fail != nil {
		return fail
	}
	start, ok1 := f.time("StartTime")
	end, ok2 := f.time("EndTime")
	period := f.number("Period")
	basic, extended := f.list("Statistics"), f.list("ExtendedStatistics")
	switch {
	case !ok1 || !ok2 || !start.Before(end):
		return errInvalid("The parameter StartTime must be less than the parameter EndTime.")
	case len(basic) == 0 && len(extended) == 0 || len(basic) > 5 || len(extended) > 10:
		return errInvalid("Must specify Statistics or ExtendedStatistics.")
	case len(basic) > 0 && len(extended) > 0:
		return &apiError{status: 400, code: "InvalidParameterCombination", message: "The parameters Statistics and ExtendedStatistics are mutually exclusive."}
	}
	if err := checkPeriod(period); err != nil {
		return errInvalid("%v", err)
	}
	now := s.cfg.Now()
	from := roundStart(start.Unix(), period, now)
	points := (end.Unix() - from + period - 1) / period
	if points > maxStatistics {
		return &apiError{status: 400, code: "InvalidParameterCombination", message: fmt.Sprintf(
			"You have requested up to %d datapoints, which exceeds the limit of 1,440. You may reduce the datapoints requested by increasing Period, or decreasing the time range.", points)}
	}
	sources := map[string]*source{}
	for _, v := range append(slices.Clone(basic), extended...) {
		name, _ := v.(cbor.String)
		if fail := faults.checkStatistics("Statistics.member.%d", []string{string(name)}); fail != nil {
			return fail
		}
		source := s.cfg.newSource(c.principal.account, c.region, f.text("Namespace"), f.text("MetricName"),
			dimensionSet(f.list("Dimensions")), string(name))
		sources[string(name)] = &source
	}
	units := s.published.units(f.text("Namespace"), f.text("MetricName"), dimensionSet(f.list("Dimensions")), f.text("Unit"))
	b := appendMap(nil, 2)
	b = appendText(appendText(b, "Label"), f.text("MetricName"))
	b = append(appendText(b, "Datapoints"), 0x9f)
	if kept(from, period, now) {
		for i := range points {
			for _, unit := range units {
				b = appendDatapoint(b, sources, from+i*period, period, unit, len(extended) > 0)
			}
		}
	}
	c.respond(w, append(b, 0xff))
	return nil
}

func appendDatapoint(b []byte, sources map[string]*source, at, period int64, unit string, extended bool) []byte {
	values := map[string]float64{}
	for name, s := range sources {
		if v, ok := s.at(at, period); ok {
			values[name] = v
		}
	}
	if len(values) == 0 {
		return b
	}
	if extended {
		b = appendText(appendText(appendMap(b, 3), "Unit"), unit)
		b = appendTime(appendText(b, "Timestamp"), at)
		b = appendMap(appendText(b, "ExtendedStatistics"), len(values))
	} else {
		b = appendText(appendText(appendMap(b, 2+len(values)), "Unit"), unit)
		b = appendTime(appendText(b, "Timestamp"), at)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		b = appendFloat(appendText(b, name), values[name])
	}
	return b
}

// publisher publishes metrics of one kind of resource in every account and region.
type publisher struct {
	namespace string
	metrics   []string
	count     func(Config) int
	// resource returns the dimensions of resource number i, sorted by name. It
	// returns none if the resource has not published recently.
	resource func(c Config, account, region string, i int) [][2]string
}

// oneIn returns the number of resources, one for n instances.
func oneIn(n int) func(Config) int { return func(c Config) int { return (c.Instances + n - 1) / n } }

// named returns resources with one dimension, with values that begin with a prefix.
func named(dimension, prefix string) func(Config, string, string, int) [][2]string {
	return func(_ Config, account, region string, i int) [][2]string {
		return [][2]string{{dimension, fmt.Sprintf("%s-%06x", prefix, mix(hash(hash(offset, account), region)+uint64(i))>>40)}}
	}
}

// stored returns buckets with a storage type.
func stored(storage string) func(Config, string, string, int) [][2]string {
	return func(c Config, account, region string, i int) [][2]string {
		return append(named("BucketName", "logs")(c, account, region, i), [2]string{"StorageType", storage})
	}
}

// instance returns the dimensions of an EC2 instance, or none if it has published
// nothing.
func instance(c Config, account, region string, i int) [][2]string {
	id := c.Instance(account, region, i).ID
	if coverage := CoverageOf(id); coverage == Silent || coverage == Stopped {
		return nil
	}
	return [][2]string{{"InstanceId", id}}
}

// publishers are the metrics that ListMetrics returns. Some dimension values contain
// commas, equals signs and slashes, as real ones do.
var publishers = []publisher{
	{"AWS/EC2", []string{"CPUCreditBalance", "CPUUtilization", "EBSReadBytes", "EBSReadOps", "EBSWriteBytes", "EBSWriteOps", "NetworkIn", "NetworkOut"},
		oneIn(1), instance},
	{"CWAgent", []string{"mem_used_percent"}, oneIn(1), instance},
	{"CWAgent", []string{"disk_used_percent"}, oneIn(1), func(c Config, account, region string, i int) [][2]string {
		in := instance(c, account, region, i)
		if in == nil {
			return nil
		}
		return [][2]string{in[0], {"device", "nvme0n1p1"}, {"fstype", "ext4"}, {"path", "/srv,a=b"}}
	}},
	{"AWS/RDS", []string{"CPUUtilization", "FreeStorageSpace"}, oneIn(5), named("DBInstanceIdentifier", "orders")},
	{"AWS/Lambda", []string{"Duration", "Errors", "Invocations"}, oneIn(2), named("FunctionName", "resize")},
	{"AWS/EBS", []string{"VolumeReadOps", "VolumeWriteOps"}, oneIn(1), named("VolumeId", "vol")},
	{"AWS/ApplicationELB", []string{"RequestCount", "TargetResponseTime"}, oneIn(10), named("LoadBalancer", "app/shop")},
	{"AWS/ApplicationELB", []string{"RequestCount", "HealthyHostCount"}, oneIn(5), func(c Config, account, region string, i int) [][2]string {
		return append(named("LoadBalancer", "app/shop")(c, account, region, i/2), named("TargetGroup", "targetgroup/shop")(c, account, region, i)...)
	}},
	// Of one load balancer, the sets overlap: the sum over all sets counts a request three times (Application Load Balancers User Guide,
	// "Metric dimensions for Application Load Balancers").
	{"AWS/ApplicationELB", []string{"RequestCount"}, oneIn(10), func(c Config, account, region string, i int) [][2]string {
		return append([][2]string{{"AvailabilityZone", region + "a"}}, named("LoadBalancer", "app/shop")(c, account, region, i)...)
	}},
	{"AWS/SQS", []string{"ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesVisible", "NumberOfMessagesReceived", "NumberOfMessagesSent"},
		oneIn(5), named("QueueName", "jobs")},
	// Each storage metric has a storage type of its own (Amazon S3 User Guide, "Metrics and dimensions").
	{"AWS/S3", []string{"BucketSizeBytes"}, oneIn(5), stored("StandardStorage")},
	{"AWS/S3", []string{"NumberOfObjects"}, oneIn(5), stored("AllStorageTypes")},
	{"AWS/SES", []string{"Bounce", "Delivery"}, func(Config) int { return 1 }, func(Config, string, string, int) [][2]string { return [][2]string{} }},
	{"Shop/Orders", []string{"Placed"}, oneIn(20), func(_ Config, _, _ string, i int) [][2]string {
		return [][2]string{{"Service", fmt.Sprintf("checkout %d", i)}, {"Stage", "prod"}}
	}},
}

// Published returns the sets of dimensions with the given names that have metrics in
// a namespace, account and region, in the form that Datapoint takes.
func (c Config) Published(account, region, namespace string, names []string) (sets []string) {
	for i := range publishers {
		p := &publishers[i]
		for n := range p.count(c) {
			resource := p.resource(c, account, region, n)
			same := slices.EqualFunc(resource, names, func(d [2]string, name string) bool { return d[0] == name })
			if set := joined(resource); p.namespace == namespace && same && !slices.Contains(sets, set) {
				sets = append(sets, set)
			}
		}
	}
	return sets
}

// listRequest is a ListMetrics request.
type listRequest struct {
	namespace, metric string
	dimensions        [][2]string // name, and value or empty
	publisher, first  int         // where the page begins
}

func parseListRequest(c *call) (r listRequest, fail *apiError) {
	f, fail := c.fields()
	if fail != nil {
		return r, fail
	}
	r.namespace, r.metric = f.text("Namespace"), f.text("MetricName")
	for _, v := range f.list("Dimensions") {
		m, _ := v.(cbor.Map)
		r.dimensions = append(r.dimensions, [2]string{fields(m).text("Name"), fields(m).text("Value")})
	}
	if token := f.text("NextToken"); token != "" {
		if n, err := fmt.Sscanf(token, "p%d-%d", &r.publisher, &r.first); err != nil || n != 2 || r.publisher < 0 || r.first < 0 {
			return r, &apiError{status: 400, code: "InvalidParameterValue", message: "The token is not valid."}
		}
	}
	return r, nil
}

// matches reports whether a resource has all dimensions of the request. It can have
// others, too.
func (r *listRequest) matches(resource [][2]string) bool {
	for _, d := range r.dimensions {
		if !slices.ContainsFunc(resource, func(t [2]string) bool { return t[0] == d[0] && (d[1] == "" || t[1] == d[1]) }) {
			return false
		}
	}
	return resource != nil
}

// checkFilters refuses a request with too many dimensions to filter by.
func (r *listRequest) checkFilters() *apiError {
	if len(r.dimensions) > maxFilters {
		return errInvalid("1 validation error detected: Value at 'dimensions' failed to satisfy constraint: Member must have length less than or equal to %d", maxFilters)
	}
	return nil
}

// refusesListing returns the error of a fault for the listing of one metric.
func (f activeFaults) refusesListing(c *call, metric string) *apiError {
	if fault, on := f["listing_denied"]; on && (fault.Metric == "" || fault.Metric == metric) {
		return errDenied(c)
	}
	if fault, on := f["listing_fails"]; on && (fault.Metric == "" || fault.Metric == metric) {
		return &apiError{status: 500, code: "InternalServiceError", shape: "InternalServiceFault", message: "Internal error"}
	}
	return nil
}

// listMetrics returns a page of the published metrics.
func (s *Server) listMetrics(w http.ResponseWriter, c *call, f activeFaults) *apiError {
	r, fail := parseListRequest(c)
	if fail == nil {
		fail = r.checkFilters()
	}
	if fail == nil {
		fail = f.refusesListing(c, r.metric)
	}
	if fail != nil {
		return fail
	}
	b := append(appendText([]byte{0xbf}, "Metrics"), 0x9f)
	count, next := 0, ""
	for ; r.publisher < len(publishers) && next == ""; r.publisher, r.first = r.publisher+1, 0 {
		p := &publishers[r.publisher]
		names := p.metrics
		if r.metric != "" {
			names = slices.DeleteFunc(slices.Clone(names), func(m string) bool { return m != r.metric })
		}
		if r.namespace != "" && r.namespace != p.namespace || len(names) == 0 {
			continue
		}
		for i := r.first; i < p.count(s.cfg); i++ {
			resource := p.resource(s.cfg, c.principal.account, c.region, i)
			if !r.matches(resource) {
				continue
			}
			if count+len(names) > maxMetricsListed {
				next = fmt.Sprintf("p%d-%d", r.publisher, i)
				break
			}
			for _, name := range names {
				b = appendMetric(b, p.namespace, name, resource)
				count++
			}
		}
	}
	if next == "" {
		added, left := s.published.page(r.first, maxMetricsListed-count, func(m *Metric) bool {
			return (r.namespace == "" || r.namespace == m.Namespace) && (r.metric == "" || r.metric == m.Name) && r.matches(m.Dimensions)
		})
		for _, m := range added {
			b = appendMetric(b, m.Namespace, m.Name, m.Dimensions)
		}
		if left > 0 {
			next = fmt.Sprintf("p%d-%d", len(publishers), left)
		}
	}
	b = append(b, 0xff)
	if next != "" {
		b = appendText(appendText(b, "NextToken"), next)
	}
	c.respond(w, append(b, 0xff))
	return nil
}

func appendMetric(b []byte, namespace, name string, dimensions [][2]string) []byte {
	b = appendText(appendText(appendMap(b, 3), "Namespace"), namespace)
	b = appendText(appendText(b, "MetricName"), name)
	b = appendArray(appendText(b, "Dimensions"), len(dimensions))
	for _, d := range dimensions {
		b = appendText(appendText(appendMap(b, 2), "Name"), d[0])
		b = appendText(appendText(b, "Value"), d[1])
	}
	return b
}
