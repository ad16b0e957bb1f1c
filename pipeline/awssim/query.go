package awssim

import (
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"
)

// query is a query of GetMetricData: one statistic of one metric.
type query struct {
	id, label                                string
	namespace, metric, dimensions, statistic string
	unit                                     string
	period                                   int64
}

// dataRequest is a GetMetricData request.
type dataRequest struct {
	start, end    int64
	queries       []query
	descending    bool
	maxDatapoints int
	token         string
}

// fields reads the values of a decoded CBOR map. A missing value, or one of another
// type, reads as zero, which validation then refuses.
type fields cbor.Map

func (f fields) text(name string) string { s, _ := f[name].(cbor.String); return string(s) }
func (f fields) list(name string) cbor.List {
	l, _ := f[name].(cbor.List)
	return l
}
func (f fields) fields(name string) fields { m, _ := f[name].(cbor.Map); return fields(m) }
func (f fields) number(name string) int64 {
	n, err := cbor.AsInt64(f[name])
	if err != nil {
		return 0
	}
	return n
}
func (f fields) time(name string) (time.Time, bool) {
	if f[name] == nil {
		return time.Time{}, false
	}
	t, err := cbor.AsTime(f[name])
	return t, err == nil
}

// dimensionSet returns a list of dimensions as "Name=Value,...", sorted.
func dimensionSet(l cbor.List) string {
	var pairs []string
	for _, v := range l {
		m, _ := v.(cbor.Map)
		pairs = append(pairs, fields(m).text("Name")+"="+fields(m).text("Value"))
	}
	sort.Strings(pairs)
	return strings.Join(pairs, ",")
}

var queryID = regexp.MustCompile(`^[a-z][A-Za-z0-9_]{0,254}$`)

func parseDataRequest(c *call) (*dataRequest, *apiError) {
	f, fail := c.fields()
	if fail != nil {
		return nil, fail
	}
	r := &dataRequest{
		descending: f.text("ScanBy") != "TimestampAscending", token: f.text("NextToken"),
		maxDatapoints: int(f.number("MaxDatapoints")),
	}
	if r.maxDatapoints == 0 {
		r.maxDatapoints = maxDatapoints
	}
	start, ok1 := f.time("StartTime")
	end, ok2 := f.time("EndTime")
	list := f.list("MetricDataQueries")
	switch {
	case !ok1 || !ok2:
		return nil, errInvalid("The parameters StartTime and EndTime are required.")
	case !start.Before(end):
		return nil, errInvalid("The parameter StartTime must be less than the parameter EndTime.")
	case len(list) == 0 || len(list) > maxQueries:
		return nil, errInvalid("The collection MetricDataQueries must not have a size greater than %d; it has %d.", maxQueries, len(list))
	case r.maxDatapoints < 1 || r.maxDatapoints > maxDatapoints:
		return nil, errInvalid("The parameter MaxDatapoints must be between 1 and %d.", maxDatapoints)
	}
	r.start, r.end = start.Unix(), end.Unix()
	return r, r.parseQueries(list)
}

func (r *dataRequest) parseQueries(list cbor.List) *apiError {
	ids := make(map[string]bool, len(list))
	r.queries = make([]query, 0, len(list))
	for _, v := range list {
		m, _ := v.(cbor.Map)
		f := fields(m)
		stat := f.fields("MetricStat")
		metric := stat.fields("Metric")
		q := query{
			id: f.text("Id"), label: f.text("Label"), statistic: stat.text("Stat"), unit: stat.text("Unit"), period: stat.number("Period"),
			namespace: metric.text("Namespace"), metric: metric.text("MetricName"),
			dimensions: dimensionSet(metric.list("Dimensions")),
		}
		switch {
		case !queryID.MatchString(q.id):
			return errInvalid("The value %q for parameter MetricDataQueries.member.Id is not matching the expected pattern.", q.id)
		case ids[q.id]:
			return errInvalid("The values for parameter Id in MetricDataQueries are not unique: %q.", q.id)
		case q.namespace == "" || q.metric == "":
			return errInvalid("Invalid MetricStat in query %q.", q.id)
		}
		if err := checkPeriod(q.period); err != nil {
			return errInvalid("query %q: %v", q.id, err)
		}
		ids[q.id] = true
		r.queries = append(r.queries, q)
	}
	return nil
}
