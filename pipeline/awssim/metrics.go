package awssim

import (
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/aws/smithy-go/encoding/cbor"
)

// getMetricStatistics answers one metric's statistics, unordered as AWS may.
func (s *Server) getMetricStatistics(w http.ResponseWriter, c *call, _ activeFaults) *apiError {
	f, fail := decodeFields(c.body)
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
	from := roundStart(start.Unix(), now)
	points := (end.Unix() - from + period - 1) / period
	if points > maxStatistics {
		return &apiError{status: 400, code: "InvalidParameterCombination", message: fmt.Sprintf(
			"You have requested up to %d datapoints, which exceeds the limit of 1,440. You may reduce the datapoints requested by increasing Period, or decreasing the time range.", points)}
	}
	sources := map[string]source{}
	for _, v := range append(slices.Clone(basic), extended...) {
		name, _ := v.(cbor.String)
		if !validStatistic(string(name)) {
			return errInvalid("statistic %q is not valid", name)
		}
		sources[string(name)] = newSource(c.principal.account, c.region, f.text("Namespace"), f.text("MetricName"),
			dimensionSet(f.list("Dimensions")), string(name))
	}
	b := appendMap(nil, 2)
	b = appendText(appendText(b, "Label"), f.text("MetricName"))
	b = append(appendText(b, "Datapoints"), 0x9f)
	if kept(from, period, now) {
		for i := range points {
			b = appendDatapoint(b, sources, from+i*period, len(extended) > 0)
		}
	}
	writeCBOR(w, 200, append(b, 0xff))
	return nil
}

func appendDatapoint(b []byte, sources map[string]source, at int64, extended bool) []byte {
	names := make([]string, 0, len(sources))
	for name, s := range sources {
		if _, ok := s.at(at); ok {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return b
	}
	sort.Strings(names)
	if extended {
		b = appendTime(appendText(appendMap(b, 2), "Timestamp"), at)
		b = appendMap(appendText(b, "ExtendedStatistics"), len(names))
	} else {
		b = appendTime(appendText(appendMap(b, 1+len(names)), "Timestamp"), at)
	}
	for _, name := range names {
		v, _ := sources[name].at(at)
		b = appendFloat(appendText(b, name), v)
	}
	return b
}

// listed are the metrics that every instance with data publishes.
var listed = []string{"CPUCreditBalance", "CPUUtilization", "EBSReadBytes", "EBSReadOps", "EBSWriteBytes", "EBSWriteOps", "NetworkIn", "NetworkOut"}

// listMetrics lists AWS/EC2 metrics of instances that are not silent.
func (s *Server) listMetrics(w http.ResponseWriter, c *call, _ activeFaults) *apiError {
	f, fail := decodeFields(c.body)
	if fail != nil {
		return fail
	}
	names := listed
	if name := f.text("MetricName"); name != "" {
		names = slices.DeleteFunc(slices.Clone(listed), func(m string) bool { return m != name })
	}
	if ns := f.text("Namespace"); ns != "" && ns != "AWS/EC2" {
		names = nil
	}
	want := ""
	for _, v := range f.list("Dimensions") {
		m, _ := v.(cbor.Map)
		want = fields(m).text("Value")
	}
	first := 0
	if token := f.text("NextToken"); token != "" {
		var err error
		if first, err = strconv.Atoi(strings.TrimPrefix(token, "m")); err != nil {
			return &apiError{status: 400, code: "InvalidParameterValue", message: "The token is not valid."}
		}
	}
	b := append(appendText([]byte{0xbf}, "Metrics"), 0x9f)
	count, i := 0, first
	for ; i < s.cfg.Instances && count+len(names) <= maxMetricsListed; i++ {
		id := s.cfg.Instance(c.principal.account, c.region, i).ID
		if fate := FateOf(id); fate == Silent || fate == Stopped || want != "" && want != id {
			continue
		}
		for _, name := range names {
			b = appendText(appendText(appendMap(b, 3), "Namespace"), "AWS/EC2")
			b = appendText(appendText(b, "MetricName"), name)
			b = appendMap(appendArray(appendText(b, "Dimensions"), 1), 2)
			b = appendText(appendText(b, "Name"), "InstanceId")
			b = appendText(appendText(b, "Value"), id)
			count++
		}
	}
	b = append(b, 0xff)
	if i < s.cfg.Instances && len(names) > 0 {
		b = appendText(appendText(b, "NextToken"), "m"+strconv.Itoa(i))
	}
	writeCBOR(w, 200, append(b, 0xff))
	return nil
}
