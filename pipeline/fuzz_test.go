package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"cwharvest/pipeline/flat"
	"cwharvest/store"
	"cwharvest/store/record"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go/encoding/cbor"
)

// oneResponse is a service that sends the same response to every call.
type oneResponse struct {
	status int
	code   string // of an error, in a header of the query-compatible protocol
	body   []byte
	id     string // of the request
	broken error  // after the body
	calls  int
}

// mostCalls is more than any call of the fuzz targets may cause.
const mostCalls = 20

func (a *oneResponse) Do(r *http.Request) (*http.Response, error) {
	if a.calls++; a.calls > mostCalls {
		return nil, context.DeadlineExceeded // as the deadline of a call would end it
	}
	body := io.Reader(strings.NewReader(string(a.body)))
	if a.broken != nil {
		body = io.MultiReader(body, brokenReader{a.broken})
	}
	header := http.Header{"Content-Type": {"application/cbor"}, "Smithy-Protocol": {"rpc-v2-cbor"}}
	if a.code != "" {
		header.Set("X-Amzn-Query-Error", a.code+";Sender")
	}
	if a.id != "" {
		header.Set("X-Amzn-Requestid", a.id)
	}
	return &http.Response{StatusCode: a.status, Request: r, ContentLength: -1, Body: io.NopCloser(body), Header: header}, nil
}

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

func (a *oneResponse) config() aws.Config {
	return aws.Config{
		Region: "us-east-1", HTTPClient: a, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		Credentials: credentials.NewStaticCredentialsProvider("AKIABASEBASEBASEBASE", "s", ""),
	}
}

// checkError checks the description and the class of a failed call.
func checkError(t *testing.T, service *oneResponse, err error) {
	t.Helper()
	if service.calls > mostCalls {
		t.Fatalf("asked %d times: %v", service.calls, err)
	}
	switch c := classify(err); {
	case c == cancelled || c == person:
		t.Errorf("class %v of a response: %v", c, err)
	case service.status/100 == 2 && c != transient && !errors.Is(err, errForbidden) && !errors.Is(err, errImpossible):
		t.Errorf("class %v of a response with status %d: %v", c, service.status, err)
	default:
		if f := failure(c, err); f.Class == "" || f.Message == "" || strings.Contains(f.Message, "\n") {
			t.Errorf("not one line: %q", f)
		}
	}
}

// Three instances of two metrics, five points each.
var (
	fuzzWindow = record.Window{Start: 1_790_000_100, End: 1_790_001_600, Period: 300}
	fuzzSeries = []record.Series{
		{Namespace: "AWS/EC2", Metric: "CPUUtilization", Dimensions: []string{"InstanceId"}, Statistics: []string{"Average", "p99"}, Windows: []record.Window{fuzzWindow}},
		{Namespace: "AWS/EC2", Metric: "NetworkIn", Dimensions: []string{"InstanceId"}, Statistics: []string{"Sum"}, Windows: []record.Window{fuzzWindow}},
	}
)

func fuzzRequest(statistics bool) *request {
	p := packer{series: fuzzSeries}
	items := []item{{instance: "i-1"}, {instance: "i-1", series: 1}, {instance: "i-2"}}
	if statistics {
		items = items[:1]
	}
	return p.request(fuzzWindow, items)
}

// For any response, each item is a complete result on its grid or is asked again.
// The flat decoder agrees with the SDK's, and a response that breaks off never gives
// another result.
func FuzzFetch(f *testing.F) {
	for _, body := range dataBodies() {
		f.Add(uint16(200), "", body, uint16(0), false, uint8(0))
		f.Add(uint16(200), "", body, uint16(len(body)-1), false, uint8(0))
	}
	for _, body := range statisticsBodies() {
		f.Add(uint16(200), "", body, uint16(0), true, uint8(0))
	}
	f.Add(uint16(200), "", []byte("<html><body>Please log in to this network</body></html>"), uint16(0), false, uint8(0))
	for _, code := range []string{"Throttling", "ExpiredToken", "AccessDenied", "AuthFailure", "InternalFailure", "ValidationError"} {
		f.Add(uint16(400), code, encodeCBOR(cbor.Map{"__type": cbor.String(code), "message": cbor.String("m\nn")}), uint16(0), false, uint8(0))
	}
	f.Add(uint16(403), "", []byte(nil), uint16(0), true, uint8(0))
	f.Add(uint16(429), "", []byte("<html>"), uint16(0), false, uint8(0))
	f.Add(uint16(503), "", []byte("<html>"), uint16(0), false, uint8(0))
	f.Add(uint16(187), "", []byte("<Error><Code>Throttling</Code></Error>"), uint16(0), false, uint8(2))
	for n, body := range textBodies {
		f.Add(uint16(200), "", []byte(body), uint16(len(body)-1), n%2 == 1, uint8(n/2+1))
	}
	for n, body := range []string{`{"__type": "a#ThrottlingException"}`, `<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>`} {
		f.Add(uint16(400), "", []byte(body), uint16(0), false, uint8(n+1))
	}
	f.Fuzz(func(t *testing.T, status uint16, code string, body []byte, cut uint16, statistics bool, protocol uint8) {
		service := &oneResponse{status: int(status), code: code, body: body}
		whole := fetchAll(t, service, speaking(protocol), statistics, false)
		if plain := fetchAll(t, service, speaking(protocol), statistics, true); !errors.Is(whole.err, flat.ErrUnexpected) && !sameResults(whole, plain) {
			t.Errorf("the flat decoder: %v, the SDK's: %v", summary(whole), summary(plain))
		}
		service.broken = errors.New("connection reset")
		service.body = body[:min(int(cut), len(body))]
		for _, plain := range []bool{false, true} {
			if part := fetchAll(t, service, speaking(protocol), statistics, plain); part.err == nil && !sameResults(part, whole) {
				t.Errorf("of a response that broke off: %v, of the whole one: %v", summary(part), summary(whole))
			}
		}
	})
}

// speaking returns a protocol for each number.
func speaking(n uint8) Protocol { return []Protocol{CBOR, JSON, Query}[n%3] }

// textBodies holds responses in JSON and query, by turns of GetMetricData and
// GetMetricStatistics.
var textBodies = []string{
	`{"MetricDataResults": [{"Id": "q0", "StatusCode": "Complete", "Timestamps": [1790000100, 1790000400], "Values": [1, -2.5]}, {"Id": "q1", "StatusCode": "Complete", "Timestamps": [], "Values": []},` +
		` {"Id": "q2", "StatusCode": "Complete"}, {"Id": "q3", "StatusCode": "Complete", "Timestamps": [1790000700], "Values": [1e300]}, {"Id": "q4", "StatusCode": "PartialData"}]}`,
	`{"Label": "l", "Datapoints": [{"Timestamp": 1790000400, "Average": 1}, {"Timestamp": 1790000100, "Average": 2, "ExtendedStatistics": {"p99": 3}}]}`,
	`<GetMetricDataResponse><GetMetricDataResult><MetricDataResults><member><Id>q0</Id><StatusCode>Complete</StatusCode><Timestamps><member>2026-09-21T14:15:00Z</member></Timestamps>` +
		`<Values><member>1.5</member></Values></member><member><Id>q1</Id><StatusCode>Complete</StatusCode><Timestamps/><Values/></member></MetricDataResults><Messages/></GetMetricDataResult></GetMetricDataResponse>`,
	`<GetMetricStatisticsResponse><GetMetricStatisticsResult><Datapoints><member><Timestamp>2026-09-21T14:15:00Z</Timestamp><Average>1</Average>` +
		`<ExtendedStatistics><entry><key>p99</key><value>2</value></entry></ExtendedStatistics></member></Datapoints></GetMetricStatisticsResult></GetMetricStatisticsResponse>`,
}

func fetchAll(t *testing.T, service *oneResponse, p Protocol, statistics, plain bool) response {
	t.Helper()
	service.calls = 0
	fetch := &fetcher{client: NewCloudWatch(service.config(), p), series: fuzzSeries, statistics: statistics}
	fetch.plain.Store(plain)
	r := fuzzRequest(statistics)
	a := fetch.fetch(t.Context(), r)
	if a.err != nil {
		checkError(t, service, a.err)
	}
	seen := map[string]int{}
	for i := range a.results {
		seen[fmt.Sprint(a.results[i].Instance, a.results[i].Series)]++
		checkColumns(t, &a.results[i])
	}
	for _, it := range slices.Concat(a.again, a.forbidden) {
		seen[fmt.Sprint(it.instance, it.series)]++
	}
	for key, n := range seen {
		if n != 1 || len(seen) != len(r.items) {
			t.Errorf("%s comes %d times, %d items of %d", key, n, len(seen), len(r.items))
		}
	}
	if (a.err == nil) != (len(a.again) == 0) || len(seen) == 0 {
		t.Errorf("%d items again, error %v", len(a.again), a.err)
	}
	return a
}

func checkColumns(t *testing.T, r *store.Result) {
	t.Helper()
	points := 0
	for _, column := range r.Columns {
		if len(column) != fuzzWindow.Points() {
			t.Errorf("%d points", len(column))
		}
		for _, v := range column {
			if math.IsInf(v, 0) {
				t.Errorf("value %v", v)
			}
			if v == v {
				points++
			}
		}
	}
	if r.Columns != nil && (points == 0 || len(r.Columns) != len(fuzzSeries[r.Series].Statistics)) {
		t.Errorf("%d columns with %d values", len(r.Columns), points)
	}
}

func sameResults(a, b response) bool {
	return slices.EqualFunc(a.results, b.results, func(x, y store.Result) bool {
		return x.Instance == y.Instance && x.Series == y.Series && slices.EqualFunc(x.Columns, y.Columns, func(c, d []float64) bool {
			return slices.EqualFunc(c, d, func(v, w float64) bool { return math.Float64bits(v) == math.Float64bits(w) || v != v && w != w })
		})
	})
}

func summary(a response) string { return fmt.Sprintf("%v, again %v: %v", a.results, a.again, a.err) }

func encodeCBOR(v cbor.Value) []byte { return cbor.Encode(v) }

func cborTime(unix float64) cbor.Value { return &cbor.Tag{ID: 1, Value: cbor.Float64(unix)} }

func cborResult(id, status string, at []float64, values ...float64) cbor.Value {
	var times, list cbor.List
	for _, seconds := range at {
		times = append(times, cborTime(seconds))
	}
	for _, v := range values {
		list = append(list, cbor.Float64(v))
	}
	return cbor.Map{"Id": cbor.String(id), "Label": cbor.String("l"), "StatusCode": cbor.String(status), "Timestamps": times, "Values": list}
}

// sample is a response with its expected outcome.
type sample struct {
	list  cbor.List // of results, or of datapoints
	items int       // with results
	why   string    // the reason to ask the others again
}

// dataSamples returns responses of GetMetricData to fuzzRequest: complete, empty,
// denied and with impossible data.
func dataSamples() []sample {
	const t0 = float64(1_790_000_100)
	all := func(status string, at []float64, values ...float64) (list cbor.List) {
		for i := range 5 {
			list = append(list, cborResult(fmt.Sprint("q", i), status, at, values...))
		}
		return list
	}
	stray := func(id string) cbor.List { return append(all("Complete", nil), cborResult(id, "Complete", nil)) }
	const grid, twice, notANumber, notAsked = "not on the grid", "duplicate or out of order", "not a number", "was not asked"
	return []sample{
		{all("Complete", []float64{t0, t0 + 300, t0 + 1200}, 1, -2.5, 1e300), 3, ""},
		{all("Complete", nil), 3, ""},
		{all("PartialData", []float64{t0}, 1), 0, `status "PartialData"`},
		{all("Forbidden", nil), 0, "Forbidden"},
		{all("InternalError", []float64{t0}, 1), 0, `status "InternalError"`},
		{all("Complete", []float64{t0 + 1}, 1), 0, grid},
		{all("Complete", []float64{t0 - 300}, 1), 0, grid},
		{all("Complete", []float64{t0 + 1500}, 1), 0, grid},
		{all("Complete", []float64{t0, t0}, 1, 2), 0, twice},
		{all("Complete", []float64{t0 + 300, t0}, 1, 2), 0, twice},
		{append(all("Complete", []float64{t0}, 1), all("Complete", []float64{t0}, 1)...), 0, twice},
		{all("Complete", []float64{t0, t0 + 300}, 1), 0, "2 timestamps for 1 values"},
		{all("Complete", []float64{t0}, math.NaN()), 0, notANumber},
		{all("Complete", []float64{t0}, math.Inf(1)), 0, notANumber},
		{stray("q5"), 0, notAsked}, {stray("q+1"), 0, notAsked}, {stray("q01"), 0, notAsked}, {stray("1"), 0, notAsked}, {stray("q-0"), 0, notAsked},
		{all("Complete", []float64{t0, t0 + 300.5}, 1, 2)[:3], 0, grid},
		{all("Complete", []float64{t0, t0 + 600.0000001}, 3, 4)[1:], 2, `status ""`},
		{nil, 0, `status ""`},
	}
}

// dataBodies returns the bodies of dataSamples, endless pages and bodies that AWS
// does not send.
func dataBodies() (bodies [][]byte) {
	for _, a := range dataSamples() {
		bodies = append(bodies, encodeCBOR(cbor.Map{"MetricDataResults": a.list, "Messages": cbor.List{}}))
	}
	token := cbor.Map{"MetricDataResults": cbor.List{cborResult("q0", "PartialData", nil)}, "NextToken": cbor.String("again")}
	return append(bodies, encodeCBOR(token), encodeCBOR(cbor.Map{}), encodeCBOR(cbor.List{}))
}

// statisticsSamples returns responses of GetMetricStatistics.
func statisticsSamples() []sample {
	const t0 = float64(1_790_000_100)
	point := func(at float64, average, p99 float64) cbor.Value {
		return cbor.Map{"Timestamp": cborTime(at), "Average": cbor.Float64(average), "ExtendedStatistics": cbor.Map{"p99": cbor.Float64(p99)}, "Unit": cbor.String("Percent")}
	}
	const grid = "not on the grid"
	return []sample{
		{cbor.List{point(t0+600, 1, 2), point(t0, 3, 4)}, 1, ""},
		{cbor.List{}, 1, ""},
		{cbor.List{point(t0, 1, 2), point(t0, 1, 2)}, 0, "duplicate"},
		{cbor.List{point(t0+1, 1, 2)}, 0, grid},
		{cbor.List{point(t0, math.NaN(), 2)}, 0, "not a number"},
		{cbor.List{cbor.Map{"Average": cbor.Float64(1)}}, 0, grid},
		{cbor.List{point(t0+0.5, 1, 2)}, 0, grid},
		{cbor.List{point(t0+1500, 1, 2)}, 0, grid},
	}
}

func statisticsBodies() (bodies [][]byte) {
	for _, a := range statisticsSamples() {
		bodies = append(bodies, encodeCBOR(cbor.Map{"Label": cbor.String("l"), "Datapoints": a.list}))
	}
	return bodies
}

// The seeds of FuzzFetch have the expected outcomes. Fuzzing itself sees only
// whether two decoders agree.
func TestAnswers(t *testing.T) {
	for statistics, answers := range map[bool][]sample{false: dataSamples(), true: statisticsSamples()} {
		bodies := dataBodies()
		if statistics {
			bodies = statisticsBodies()
		}
		for i, want := range answers {
			for _, plain := range []bool{false, true} {
				got := fetchAll(t, &oneResponse{status: 200, body: bodies[i]}, CBOR, statistics, plain)
				err := cmp.Or(got.err, got.forbids)
				if len(got.results) != want.items || (err != nil) != (want.why != "") || err != nil && !strings.Contains(err.Error(), want.why) {
					t.Errorf("statistics %t, plain %t, %v: %s, want %d items, %q", statistics, plain, want.list, summary(got), want.items, want.why)
				}
			}
		}
	}
}

// A null or NaN in JSON or CBOR never becomes a value. The SDK takes null for 0.
func TestNullIsNoNumber(t *testing.T) {
	const result = `{"Id": "q%d", "StatusCode": "Complete", "Label": null, "Timestamps": [1790000100, 1790000400], "Values": [%s, 2]}`
	for value, want := range map[string]int{"1": 3, "null": 0} {
		var results []string
		for i := range 5 {
			results = append(results, fmt.Sprintf(result, i, value))
		}
		body := `{"MetricDataResults": [` + strings.Join(results, ",") + `]}`
		if got := fetchAll(t, &oneResponse{status: 200, body: []byte(body)}, JSON, false, false); len(got.results) != want {
			t.Errorf("of %s: %s", value, summary(got))
		}
		body = `{"Label": "l", "Datapoints": [{"Timestamp": 1790000100, "Average": 1, "ExtendedStatistics": {"p99": ` + value + `}}]}`
		if got := fetchAll(t, &oneResponse{status: 200, body: []byte(body)}, JSON, true, false); len(got.results) != min(want, 1) {
			t.Errorf("statistics of %s: %s", value, summary(got))
		}
	}
	for want, value := range map[int]cbor.Value{3: cbor.Float64(1), 0: &cbor.Nil{}} {
		var results cbor.List
		for i := range 5 {
			results = append(results, cbor.Map{"Id": cbor.String(fmt.Sprint("q", i)), "StatusCode": cbor.String("Complete"), "Label": &cbor.Nil{},
				"Timestamps": cbor.List{cborTime(1_790_000_100)}, "Values": cbor.List{value}})
		}
		body := encodeCBOR(cbor.Map{"MetricDataResults": results, "NextToken": &cbor.Nil{}})
		for _, plain := range []bool{false, true} {
			if got := fetchAll(t, &oneResponse{status: 200, body: body}, CBOR, false, plain); len(got.results) != want {
				t.Errorf("of %v, plain %t: %s", value, plain, summary(got))
			}
		}
		body = encodeCBOR(cbor.Map{"Label": cbor.String("l"), "Datapoints": cbor.List{cbor.Map{
			"Timestamp": cborTime(1_790_000_100), "Average": cbor.Float64(1), "ExtendedStatistics": cbor.Map{"p99": value}}}})
		if got := fetchAll(t, &oneResponse{status: 200, body: body}, CBOR, true, false); len(got.results) != min(want, 1) {
			t.Errorf("statistics of %v: %s", value, summary(got))
		}
	}
}

// A response that AWS did not send has neither a list nor a request id. AWS may
// leave out an empty list.
func TestNoAnswer(t *testing.T) {
	for p, body := range map[Protocol]string{CBOR: "\xa0", JSON: `{"error": "please log in"}`} { // Query's decoder refuses a body without a result
		for id, accepted := range map[string]bool{"": false, "6f1f0e2c": true} {
			service := &oneResponse{status: 200, body: []byte(body), id: id}
			if _, err := listAll(t, service, uint8(listMetrics+3*slices.Index([]Protocol{CBOR, JSON}, p))); (err == nil) != accepted {
				t.Errorf("%s, id %q: ListMetrics: %v", p, id, err)
			}
			if got := fetchAll(t, service, p, true, false); (got.err == nil) != accepted {
				t.Errorf("%s, id %q: GetMetricStatistics: %v", p, id, got.err)
			}
			for _, statistics := range []bool{false, true} {
				// A response that fails a control call is not blamed on the instances.
				fetch := &fetcher{client: NewCloudWatch(service.config(), p), series: fuzzSeries, statistics: statistics}
				if err := fetch.control(t.Context(), fuzzRequest(statistics)); (err == nil) != (accepted && statistics) {
					t.Errorf("%s, id %q, statistics %t: control: %v", p, id, statistics, err)
				}
			}
		}
	}
}

// Any response of EC2 or CloudWatch gives usable instances and regions, or an error.
// A response that AWS did not send never gives an empty target, and one that breaks
// off never gives fewer instances.
func FuzzList(f *testing.F) {
	for _, body := range ec2Bodies() {
		f.Add(uint16(200), "", []byte(body), uint16(0), uint8(listEC2))
		f.Add(uint16(200), "", []byte(body), uint16(len(body)/2), uint8(listRegions))
	}
	f.Add(uint16(400), "", []byte(`<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>m</Message></Error></Errors></Response>`), uint16(0), uint8(listEC2))
	f.Add(uint16(503), "", []byte(`<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>m</Message></Error></Errors></Response>`), uint16(0), uint8(listRegions))
	for _, value := range []string{"i-1", "", "a\x00b", "\xff", strings.Repeat("x", 40_000)} {
		dimension := cbor.Map{"Name": cbor.String("InstanceId"), "Value": cbor.String(value)}
		body := encodeCBOR(cbor.Map{"Metrics": cbor.List{cbor.Map{"Dimensions": cbor.List{dimension}}, cbor.Map{"Dimensions": cbor.List{dimension, dimension}}}})
		f.Add(uint16(200), "", body, uint16(0), uint8(listMetrics))
	}
	f.Add(uint16(200), "", encodeCBOR(cbor.Map{"Metrics": cbor.List{}, "NextToken": cbor.String("again")}), uint16(0), uint8(listMetrics))
	f.Add(uint16(200), "", []byte(`{"Metrics": [{"Dimensions": [{"Name": "InstanceId", "Value": "i-1"}]}]}`), uint16(70), uint8(listMetrics+3))
	f.Add(uint16(200), "", []byte(`<a><ListMetricsResult><Metrics><member><Dimensions><member><Name>InstanceId</Name><Value>i-1</Value></member></Dimensions></member></Metrics></ListMetricsResult></a>`), uint16(150), uint8(listMetrics+6))
	f.Fuzz(func(t *testing.T, status uint16, code string, body []byte, cut uint16, what uint8) {
		service := &oneResponse{status: int(status), code: code, body: body}
		whole, wholeErr := listAll(t, service, what)
		service.broken = errors.New("connection reset")
		service.body = body[:min(int(cut), len(body))]
		part, err := listAll(t, service, what)
		if err == nil && (wholeErr != nil || !slices.Equal(part, whole)) {
			t.Errorf("of a response that broke off: %q, of the whole one: %q, %v", part, whole, wholeErr)
		}
	})
}

// The kinds of listing. Adding 3 or 6 selects another protocol of CloudWatch.
const (
	listEC2 = iota
	listRegions
	listMetrics
)

// listAll returns the keys of instances, or regions.
func listAll(t *testing.T, service *oneResponse, what uint8) (keys []string, err error) {
	t.Helper()
	service.calls = 0
	key := record.Target{Account: "111122223333", Region: "us-east-1"}
	if what%3 == listRegions {
		pattern := record.Target{Account: key.Account, Region: record.AllRegions}
		if keys, err = EnabledRegions(t.Context(), service.config(), pattern, &Discovery{}); err != nil {
			checkError(t, service, err)
		}
		for _, region := range keys {
			if (record.Target{Region: region}).IsPattern() || region == "" || strings.Contains(region, "/") {
				t.Errorf("region %q", region)
			}
		}
		return keys, err
	}
	d := &Discovery{EC2: what%3 == listEC2}
	by := []string{"InstanceId"}
	if what%3 == listMetrics {
		d.CloudWatch = []Listing{{Namespace: "AWS/EC2", Dimensions: by, Metrics: []string{"CPUUtilization"}}}
	}
	pages := newEnumeration(d, key, []Listing{{Namespace: "AWS/EC2", Dimensions: by}}, service.config(), speaking(what/3), func() {})
	for last := false; !last; {
		var page []record.Instance
		if page, last, err = pages.next(t.Context()); err != nil {
			checkError(t, service, err)
			return nil, err
		}
		for _, in := range page {
			checkKept(t, in)
			keys = append(keys, in.Key())
		}
	}
	return keys, nil
}

// checkKept checks that an instance has the same key after it was stored.
func checkKept(t *testing.T, in record.Instance) {
	t.Helper()
	data, err := json.Marshal(in)
	var kept record.Instance
	if err == nil {
		err = json.Unmarshal(data, &kept)
	}
	id, ok := strings.CutPrefix(in.Key(), "AWS/EC2\x00InstanceId\x00InstanceId=")
	if err != nil || !ok || id == "" || strings.Contains(id, "\x00") || len(in.Key()) > 1<<15-100 || kept.Key() != in.Key() {
		t.Errorf("%+v is kept as %+v: %v", in, kept, err)
	}
}

func ec2Bodies() []string {
	describe := func(instances string) string {
		return `<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId><reservationSet>` +
			`<item><instancesSet>` + instances + `</instancesSet></item></reservationSet></DescribeInstancesResponse>`
	}
	const one = `<item><instanceId>i-0123456789abcdef0</instanceId><instanceType>m5.large</instanceType><launchTime>2026-01-01T00:00:00.000Z</launchTime>` +
		`<placement><availabilityZone>us-east-1a</availabilityZone></placement><instanceState><code>16</code><name>running</name></instanceState>` +
		`<tagSet><item><key>env</key><value>prod</value></item><item><key/></item></tagSet></item>`
	return []string{
		describe(one), describe(one + one), describe(""), describe("<item/>"), describe("<item><instanceId/></item>"),
		describe("<item><instanceId>" + strings.Repeat("i", 2000) + "</instanceId></item>"),
		strings.Replace(describe(one), "</reservationSet>", "</reservationSet><nextToken>again</nextToken>", 1),
		`<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>`,
		`<DescribeInstancesResponse/>`,
		`<DescribeRegionsResponse><regionInfo><item><regionName>us-east-1</regionName></item><item><regionName>us-*</regionName></item></regionInfo></DescribeRegionsResponse>`,
		`<DescribeRegionsResponse><regionInfo><item><regionName>eu-west-1</regionName><optInStatus>opted-in</optInStatus></item><item/></regionInfo></DescribeRegionsResponse>`,
		"<html><body>Please log in to this network</body></html>", "", "<a", "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
	}
}
