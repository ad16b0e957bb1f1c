package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cwharvest/pipeline/flat"
	"cwharvest/store"
	"cwharvest/store/record"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// response holds the outcome of one request: results ready to commit, and items to
// ask again with the reason. The columns of the results share one buffer, which
// returns to buffers once they are committed.
type response struct {
	results []store.Result
	again   []item
	err     error // the reason to ask items again, or why the whole call failed
	calls   int   // HTTP calls that were answered: one for each page
	buffer  *[]float64
}

// buffers holds memory for datapoints on their way to the store.
var buffers = sync.Pool{New: func() any { return new([]float64) }}

// fetcher sends the calls for the datapoints of one target.
type fetcher struct {
	client     *cloudwatch.Client
	target     record.Target
	series     []record.Series
	statistics bool // calls GetMetricStatistics

	// plain makes the SDK decode the responses: the flat decoder did not know the
	// form of one, and noticed too late to pass it on.
	plain atomic.Bool
}

// fetch sends a request and reads all pages of the response.
func (f *fetcher) fetch(ctx context.Context, r *request) response {
	if f.statistics {
		return f.fetchStatistics(ctx, r)
	}
	c := newCollector(r, f.series)
	input := f.input(r)
	var seen tokens
	for calls := 0; ; calls++ {
		token, err := f.page(ctx, input, c)
		if err != nil {
			c.release()
			return response{again: r.items, err: err, calls: calls}
		}
		if token == "" {
			return f.sort(c, calls+1)
		}
		if err := seen.add(token, mostPages); err != nil {
			c.release()
			return response{again: r.items, err: err, calls: calls + 1}
		}
		input.NextToken = &token
	}
}

// page passes one page to the collector and returns the token of the next one.
func (f *fetcher) page(ctx context.Context, input *cloudwatch.GetMetricDataInput, c *collector) (string, error) {
	plain := f.plain.Load()
	if !plain {
		ctx = flat.WithSink(ctx, c.take)
	}
	out, err := f.client.GetMetricData(ctx, input)
	if err != nil {
		if errors.Is(err, flat.ErrUnexpected) {
			f.plain.Store(true)
		}
		return "", err
	}
	if plain {
		for i := range out.MetricDataResults {
			r := flat.FromSDK(&out.MetricDataResults[i])
			c.take(&r)
		}
	}
	return aws.ToString(out.NextToken), nil
}

func (f *fetcher) input(r *request) *cloudwatch.GetMetricDataInput {
	queries := make([]types.MetricDataQuery, 0, r.queries)
	for _, it := range r.items {
		s := &f.series[it.series]
		metric := &types.Metric{
			Namespace:  &s.Namespace,
			MetricName: &s.Metric,
			Dimensions: sdkDimensions(it.dimensions),
		}
		for i := range s.Statistics {
			queries = append(queries, types.MetricDataQuery{
				Id: aws.String(queryID + strconv.Itoa(len(queries))),
				MetricStat: &types.MetricStat{
					Metric: metric,
					Period: aws.Int32(int32(r.window.Period)),
					Stat:   &s.Statistics[i],
				},
			})
		}
	}
	return &cloudwatch.GetMetricDataInput{
		StartTime:         aws.Time(time.Unix(r.window.Start, 0)),
		EndTime:           aws.Time(time.Unix(r.window.End, 0)),
		MetricDataQueries: queries,
		ScanBy:            types.ScanByTimestampAscending,
	}
}

// control asks for one metric without dimensions and one datapoint, to learn
// whether CloudWatch answers at all.
func (f *fetcher) control(ctx context.Context, r *request) error {
	s := &f.series[r.items[0].series]
	if f.statistics {
		out, err := f.client.GetMetricStatistics(ctx, &cloudwatch.GetMetricStatisticsInput{
			Namespace: &s.Namespace, MetricName: &s.Metric, Statistics: []types.Statistic{types.StatisticAverage},
			StartTime: aws.Time(time.Unix(r.window.End-r.window.Period, 0)), EndTime: aws.Time(time.Unix(r.window.End, 0)),
			Period: aws.Int32(int32(r.window.Period)),
		})
		if err == nil && isEmptyDocument(out) {
			err = errNotAWS
		}
		return err
	}
	out, err := f.client.GetMetricData(ctx, &cloudwatch.GetMetricDataInput{
		StartTime: aws.Time(time.Unix(r.window.End-r.window.Period, 0)),
		EndTime:   aws.Time(time.Unix(r.window.End, 0)),
		MetricDataQueries: []types.MetricDataQuery{{
			Id: aws.String("control"),
			MetricStat: &types.MetricStat{
				Metric: &types.Metric{Namespace: &s.Namespace, MetricName: &s.Metric},
				Period: aws.Int32(int32(r.window.Period)),
				Stat:   &s.Statistics[0],
			},
		}},
	})
	if err == nil && len(out.MetricDataResults) == 0 { // AWS returns a result for each query
		err = errNotAWS
	}
	return err
}

func sdkDimensions(dims []record.Dimension) []types.Dimension {
	sdk := make([]types.Dimension, len(dims))
	for i := range dims {
		sdk[i] = types.Dimension{Name: &dims[i].Name, Value: &dims[i].Value}
	}
	return sdk
}

// sort divides the items of a request into results and items to ask again. A
// Forbidden result refuses the whole target.
func (f *fetcher) sort(c *collector, calls int) response {
	a := response{calls: calls, buffer: c.buffer}
	query := 0
	for _, it := range c.request.items {
		n := len(f.series[it.series].Statistics)
		columns, err := c.columns(query, n)
		query += n
		if err != nil {
			a.again = append(a.again, it)
			a.err = cmp.Or(a.err, err) // there can be hundreds; one is enough
			continue
		}
		a.results = append(a.results, store.Result{
			Target: f.target, Instance: it.instance, Series: it.series, Window: it.window, Columns: columns,
		})
	}
	if err := c.stray; err != nil {
		a.again, a.results, a.err = c.request.items, nil, err
	}
	return a
}

// queryID is the prefix of query ids, followed by a number.
const queryID = "q"

// queryNumber returns the number of a query id. It accepts only the spelling that
// requests use.
func queryNumber(id string) (n int, ok bool) {
	digits, ok := strings.CutPrefix(id, queryID)
	if !ok || digits == "" || digits[0] < '0' || digits[0] > '9' || digits[0] == '0' && digits != "0" {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil
}

// collector merges the pages of one response by query id.
type collector struct {
	request *request
	points  int        // of each query's grid
	buffer  *[]float64 // nil until the first result
	queries []queryState
	stray   error // the response has a result for a query that was not asked
}

type queryState struct {
	status  types.StatusCode
	message string
	next    int // first grid index not yet passed: datapoints come in ascending order
	count   int
	err     error
}

func newCollector(r *request, series []record.Series) *collector {
	return &collector{request: r, points: r.window.Points(), queries: make([]queryState, r.queries)}
}

// open takes a buffer when the first result arrives, so that calls which wait hold
// no memory.
func (c *collector) open() {
	c.buffer = buffers.Get().(*[]float64)
	if cap(*c.buffer) < c.request.points {
		*c.buffer = make([]float64, c.request.points)
	}
	*c.buffer = (*c.buffer)[:c.request.points]
	for i := range *c.buffer {
		(*c.buffer)[i] = math.NaN()
	}
}

func (c *collector) release() {
	if c.buffer != nil {
		buffers.Put(c.buffer)
	}
}

func (c *collector) column(query int) []float64 {
	return (*c.buffer)[query*c.points : (query+1)*c.points]
}

// take merges one result. An id may occur on several pages.
func (c *collector) take(r *flat.Result) {
	if c.stray != nil {
		return
	}
	if c.buffer == nil {
		c.open()
	}
	query, asked := queryNumber(r.ID)
	if !asked || query >= len(c.queries) {
		c.stray = fmt.Errorf("response has a result for query %q, which was not asked", r.ID)
		return
	}
	q := &c.queries[query]
	q.status = r.Status
	if r.Message != "" {
		q.message = r.Message
	}
	if err := c.store(q, c.column(query), r); err != nil && q.err == nil {
		q.err = fmt.Errorf("query %s: %w", r.ID, err)
	}
}

// store puts the datapoints of a result on the grid of the window. A value that
// cannot belong there is an error of the response and never becomes data.
func (c *collector) store(q *queryState, column []float64, r *flat.Result) error {
	if len(r.Times) != len(r.Values) {
		return fmt.Errorf("%d timestamps for %d values", len(r.Times), len(r.Values))
	}
	start, step := c.request.window.Start*1000, c.request.window.Period*1000
	for i, at := range r.Times {
		index, offset := q.next, at-start
		if offset != int64(index)*step { // not the next of its grid: some are missing
			index = int(offset / step)
		}
		switch v := r.Values[i]; {
		case offset < 0 || index >= len(column) || offset != int64(index)*step:
			return fmt.Errorf("datapoint at %s is not on the grid asked for", formatMillis(at))
		case index < q.next:
			return fmt.Errorf("datapoint at %s is a duplicate or out of order", formatMillis(at))
		case v-v != 0:
			return fmt.Errorf("datapoint at %s is not a number", formatMillis(at))
		default:
			column[index] = v
			q.next = index + 1
			q.count++
		}
	}
	return nil
}

func formatMillis(at int64) string { return time.UnixMilli(at).UTC().Format(time.RFC3339) }

// columns returns the columns of n consecutive queries, nil if they have no
// datapoints, or an error if they are not complete.
func (c *collector) columns(first, n int) ([][]float64, error) {
	columns := make([][]float64, n)
	count := 0
	for i := range n {
		q := &c.queries[first+i]
		switch {
		case q.err != nil:
			return nil, q.err
		case q.status == types.StatusCodeForbidden:
			return nil, fmt.Errorf("%w: %s", errForbidden, q.message)
		case q.status != types.StatusCodeComplete:
			return nil, fmt.Errorf("query q%d: status %q: %s", first+i, q.status, q.message)
		}
		columns[i] = c.column(first + i)
		count += q.count
	}
	if count == 0 {
		return nil, nil
	}
	return columns, nil
}
