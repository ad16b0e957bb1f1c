package awssim

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// dataBuffer is the reused memory of a GetMetricData response.
type dataBuffer struct {
	body       []byte
	times      []byte // of the current result
	values     []byte
	datapoints int
}

var dataBuffers = sync.Pool{New: func() any { return new(dataBuffer) }}

func (s *Server) getMetricData(w http.ResponseWriter, c *call, f activeFaults) *apiError {
	r, fail := parseDataRequest(c)
	if fail == nil {
		fail = f.checkStatistics("MetricDataQueries.member.%d.MetricStat.Stat", r.statistics())
	}
	if fail != nil {
		return fail
	}
	if s.cfg.PageDatapoints > 0 {
		r.maxDatapoints = min(r.maxDatapoints, s.cfg.PageDatapoints)
	}
	now := s.cfg.Now()
	r.start = roundStart(r.start, r.queries[0].period, now)
	target := c.principal.account + "/" + c.region
	if !s.quotas.take(target, r.estimate(), now) {
		return errThrottled(c.service)
	}
	if poison, on := f["poison"]; on && r.names(poison.Instance) {
		return &apiError{status: 500, code: "InternalServiceError", shape: "InternalServiceFault", message: "Internal error"}
	}
	from, skip, fail := parseToken(r.token, len(r.queries))
	if fail != nil {
		return fail
	}
	b := dataBuffers.Get().(*dataBuffer)
	defer dataBuffers.Put(b)
	p := page{server: s, call: c, request: r, faults: f, buffer: b}
	p.encode(from, skip)
	if f.on("truncate") {
		s.stats.code("truncate")
		c.respond(truncating{w}, b.body) // does not return
	}
	s.bill(target, r, &p)
	c.respond(w, b.body)
	return nil
}

// estimate returns the number of datapoints that CloudWatch's quota counts: one for
// every period of every query, whether it has a datapoint or not.
func (r *dataRequest) estimate() (n int) {
	for i := range r.queries {
		n += int((r.end - r.start + r.queries[i].period - 1) / r.queries[i].period)
	}
	return n
}

func (r *dataRequest) statistics() (all []string) {
	for i := range r.queries {
		all = append(all, r.queries[i].statistic)
	}
	return all
}

// names reports whether a query is about an EC2 instance.
func (r *dataRequest) names(instance string) bool {
	for i := range r.queries {
		if instance != "" && strings.HasSuffix(r.queries[i].dimensions, "InstanceId="+instance) {
			return true
		}
	}
	return false
}

// bill adds a request to Stats, and to the bill: five statistics of a metric cost as
// much as one, and further pages cost nothing.
func (s *Server) bill(target string, r *dataRequest, p *page) {
	repeated := 0
	if !p.faulty {
		repeated = s.repeats.add(target, r.queries[p.first:p.end], r.start, r.end)
	}
	perMetric := map[string]int{}
	for i := range r.queries {
		q := &r.queries[i]
		perMetric[q.namespace+"\x00"+q.metric+"\x00"+q.dimensions]++
	}
	billed := 0
	for _, n := range perMetric {
		billed += (n + 4) / 5
	}
	s.stats.count(func(st *Stats) {
		st.Answered++
		st.Datapoints += int64(p.buffer.datapoints)
		st.Estimated += int64(r.estimate())
		st.Points[target] += int64(r.estimate())
		st.Repeated += repeated
		if r.token != "" {
			st.PagesContinued++
			return
		}
		st.BilledMetrics += int64(billed)
		st.BilledWorst += int64(len(r.queries))
	})
}

// parseToken returns the query at which a page begins, and the number of its
// datapoints that were on earlier pages.
func parseToken(token string, queries int) (query, skip int, fail *apiError) {
	if token == "" {
		return 0, 0, nil
	}
	if n, err := fmt.Sscanf(token, "q%d-%d", &query, &skip); err != nil || n != 2 || query >= queries || query < 0 || skip < 0 {
		return 0, 0, &apiError{status: 400, code: "InvalidNextToken", message: "The token is not valid."}
	}
	return query, skip, nil
}

// page is one page of a GetMetricData response.
type page struct {
	server  *Server
	call    *call
	request *dataRequest
	faults  activeFaults
	buffer  *dataBuffer

	first, end int  // queries that this page completes
	faulty     bool // a fault replaced some results
}

// encode writes the page into the buffer, beginning at a query.
func (p *page) encode(query, skip int) {
	b, r := p.buffer, p.request
	b.body, b.datapoints = b.body[:0], 0
	p.first = query
	next := ""
	b.body = append(b.body, 0xbf) // map of indefinite length, because NextToken comes last
	b.body = append(appendText(b.body, "MetricDataResults"), 0x9f)
	for ; query < len(r.queries); query++ {
		left := p.result(&r.queries[query], skip)
		if left >= 0 {
			next = fmt.Sprintf("q%d-%d", query, left)
			break
		}
		skip = 0
	}
	p.end = query
	b.body = append(b.body, 0xff)
	b.body = appendArray(appendText(b.body, "Messages"), 0)
	if next != "" {
		b.body = appendText(appendText(b.body, "NextToken"), next)
	}
	b.body = append(b.body, 0xff)
}

// result appends the result of a query. It returns -1, or the period at which the
// next page continues if this one is full.
func (p *page) result(q *query, skip int) (left int) {
	b := p.buffer
	status := "Complete"
	b.times, b.values = b.times[:0], b.values[:0]
	count := 0
	left = -1
	if fault := p.faultStatus(q); fault != "" {
		status, p.faulty = fault, true
	} else if kept(p.request.start, q.period, p.server.cfg.Now()) && (q.unit == "" || len(p.server.units(q.namespace, q.metric, q.dimensions, q.unit)) > 0) {
		count, left = p.datapoints(q, skip)
		if left >= 0 {
			status = "PartialData"
		}
		if left >= 0 && p.faults.on("internal_page") {
			status, p.faulty, count = "InternalError", true, 0
			b.times, b.values = b.times[:0], b.values[:0]
		}
	}
	b.body = appendMap(b.body, 5)
	b.body = appendText(appendText(b.body, "Id"), q.id)
	b.body = appendText(appendText(b.body, "Label"), q.metric)
	b.body = appendText(appendText(b.body, "StatusCode"), status)
	b.body = append(appendArray(appendText(b.body, "Timestamps"), count), b.times...)
	b.body = append(appendArray(appendText(b.body, "Values"), count), b.values...)
	b.datapoints += count
	return left
}

// faultStatus returns the status that a fault gives the result of a query, or "".
func (p *page) faultStatus(q *query) string {
	for kind, status := range map[string]string{
		"partial": "PartialData", "internal_result": "InternalError", "forbidden": "Forbidden",
	} {
		f, on := p.faults[kind]
		if on && (f.Instance == "" || strings.Contains(q.dimensions, f.Instance)) {
			return status
		}
	}
	return ""
}

// datapoints appends the datapoints of a query, beginning at period skip, until the
// page is full. left is the period at which the next page continues, or -1.
func (p *page) datapoints(q *query, skip int) (count, left int) {
	b, r := p.buffer, p.request
	source := p.server.cfg.newSource(p.call.principal.account, p.call.region, q.namespace, q.metric, q.dimensions, q.statistic)
	points := int((r.end - r.start + q.period - 1) / q.period)
	room := r.maxDatapoints - b.datapoints
	shift := int64(0)
	if p.faults.on("off_grid") {
		shift = 1
	}
	for i := skip; i < points; i++ {
		at := r.start + int64(i)*q.period
		if r.descending {
			at = r.start + int64(points-1-i)*q.period
		}
		v, ok := source.at(at, q.period)
		if !ok {
			continue
		}
		if count == room {
			return count, i
		}
		b.times = appendTime(b.times, at+shift)
		b.values = appendFloat(b.values, v)
		count++
	}
	return count, -1
}
