package awssim

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// describeInstances returns a page of instances. The token is the index of the next
// one.
func (s *Server) describeInstances(w http.ResponseWriter, c *call, _ activeFaults) *apiError {
	limit, first, fail := ec2Page(c)
	if fail != nil {
		return fail
	}
	ids := indexed(c, "InstanceId")
	filters, fail := ec2Filters(c)
	if fail != nil {
		return fail
	}
	var items strings.Builder
	i, count := first, 0
	for ; i < s.cfg.Instances && count < limit; i++ {
		in := s.cfg.Instance(c.principal.account, c.region, i)
		if len(ids) > 0 && !slices.Contains(ids, in.ID) || !in.matches(filters) {
			continue
		}
		in.appendXML(&items)
		count++
	}
	next := ""
	if i < s.cfg.Instances {
		next = fmt.Sprintf("<nextToken>i%d</nextToken>", i)
	}
	writeXML(w, 200, `<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>sim</requestId><reservationSet>`+
		items.String()+`</reservationSet>`+next+`</DescribeInstancesResponse>`)
	return nil
}

// ec2Page reads MaxResults, 5 to 1000 (Amazon EC2 API Reference, DescribeInstances),
// and NextToken.
func ec2Page(c *call) (limit, first int, fail *apiError) {
	limit = 1000
	if requested := c.form.Get("MaxResults"); requested != "" {
		n, err := strconv.Atoi(requested)
		if err != nil || n < 5 || n > 1000 {
			return 0, 0, &apiError{status: 400, code: "InvalidParameterValue", message: "Value ( " + requested + " ) for parameter maxResults is invalid."}
		}
		if len(indexed(c, "InstanceId")) > 0 {
			return 0, 0, &apiError{status: 400, code: "InvalidParameterCombination", message: "The parameter instancesSet cannot be used with the parameter maxResults"}
		}
		limit = n
	}
	if token := c.form.Get("NextToken"); token != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(token, "i"))
		if err != nil || n < 0 {
			return 0, 0, &apiError{status: 400, code: "InvalidNextToken", message: "The token is not valid."}
		}
		first = n
	}
	return limit, first, nil
}

// indexed reads a list parameter: NAME.1, NAME.2 and so on.
func indexed(c *call, name string) (values []string) {
	for i := 1; c.form.Has(fmt.Sprintf("%s.%d", name, i)); i++ {
		values = append(values, c.form.Get(fmt.Sprintf("%s.%d", name, i)))
	}
	return values
}

func ec2Filters(c *call) (map[string][]string, *apiError) {
	filters, total := map[string][]string{}, 0
	for i := 1; c.form.Has(fmt.Sprintf("Filter.%d.Name", i)); i++ {
		name := c.form.Get(fmt.Sprintf("Filter.%d.Name", i))
		switch {
		case name == "instance-state-name", name == "monitoring-state", name == "tag-key", name == "instance-id", strings.HasPrefix(name, "tag:"):
			filters[name] = indexed(c, fmt.Sprintf("Filter.%d.Value", i))
			total += len(filters[name])
		default:
			return nil, &apiError{status: 400, code: "InvalidParameterValue", message: fmt.Sprintf("The filter '%s' is invalid", name)}
		}
	}
	if total > maxFilterValues {
		return nil, &apiError{status: 400, code: "FilterLimitExceeded", message: fmt.Sprintf("The maximum number of filter values specified on a single call is %d", maxFilterValues)}
	}
	return filters, nil
}

func (in Instance) matches(filters map[string][]string) bool {
	for name, values := range filters {
		have := ""
		switch {
		case name == "instance-state-name":
			have = in.State
		case name == "instance-id":
			have = in.ID
		case name == "monitoring-state":
			have = "disabled"
		case name == "tag-key":
			if !slices.ContainsFunc(values, func(v string) bool { _, has := in.Tags[v]; return has }) {
				return false
			}
			continue
		default:
			tag, has := in.Tags[strings.TrimPrefix(name, "tag:")]
			if !has {
				return false
			}
			have = tag
		}
		if !slices.ContainsFunc(values, func(v string) bool { return matchesFilter(v, have) }) {
			return false
		}
	}
	return true
}

// matchesFilter reports whether a text matches a value of a filter, in which * and ?
// are wildcards unless a backslash is before them (Amazon EC2 User Guide, "Filter
// resources").
func matchesFilter(value, text string) bool {
	switch {
	case value == "":
		return text == ""
	case value[0] == '*':
		return matchesFilter(value[1:], text) || text != "" && matchesFilter(value, text[1:])
	case text == "":
		return false
	case value[0] == '?':
		return matchesFilter(value[1:], text[1:])
	case value[0] == '\\' && len(value) > 1:
		value = value[1:]
	}
	return value[0] == text[0] && matchesFilter(value[1:], text[1:])
}

func (in Instance) appendXML(b *strings.Builder) {
	fmt.Fprintf(b, `<item><reservationId>r-%s</reservationId><instancesSet><item><instanceId>%s</instanceId><instanceState><name>%s</name></instanceState><instanceType>%s</instanceType><launchTime>%s</launchTime><placement><availabilityZone>%s</availabilityZone></placement><platformDetails>%s</platformDetails><monitoring><state>disabled</state></monitoring><tagSet>`,
		in.ID[2:], in.ID, in.State, in.Type, in.Launched.Format(time.RFC3339), in.Zone, in.Platform)
	for key, value := range in.Tags {
		fmt.Fprintf(b, `<item><key>%s</key><value>%s</value></item>`, escape(key), escape(value))
	}
	b.WriteString(`</tagSet></item></instancesSet></item>`)
}

// describeRegions returns the regions of the caller's partition: those that the
// account has enabled, or with AllRegions all.
func (s *Server) describeRegions(w http.ResponseWriter, c *call, _ activeFaults) *apiError {
	var items strings.Builder
	add := func(regions []string, status string) {
		for _, region := range regions {
			if PartitionOf(region) == PartitionOf(c.region) {
				fmt.Fprintf(&items, `<item><regionName>%s</regionName><regionEndpoint>ec2.%s.amazonaws.com</regionEndpoint><optInStatus>%s</optInStatus></item>`, region, region, status)
			}
		}
	}
	add(s.cfg.Regions, "opt-in-not-required")
	if c.form.Get("AllRegions") == "true" {
		add(s.cfg.Disabled, "not-opted-in")
	}
	writeXML(w, 200, `<DescribeRegionsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>sim</requestId><regionInfo>`+items.String()+`</regionInfo></DescribeRegionsResponse>`)
	return nil
}
