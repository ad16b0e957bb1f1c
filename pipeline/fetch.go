package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cwharvest/pipeline/flat"
	"cwharvest/store"
	"cwharvest/store/record"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
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

	forbidden []item // CloudWatch refuses their results
	forbids   error  // the first reason
}

// buffers holds memory for datapoints on their way to the store.
var buffers = sync.Pool{New: func() any { return new([]float64) }}

// fetcher sends the calls for the datapoints of one target.
type fetcher struct {
	client     *sdk.Client
	target     record.Target
	series     []record.Series
	statistics bool // calls GetMetricStatistics

	// plain makes the SDK decode the responses: the flat decoder did not know the
	// form of one, and noticed too late to pass it on.
	plain atomic.Bool

	refused atomic.Pointer[refusals] // nil: none
}

// refusals returns the statistics that requests leave out.
func (f *fetcher) refusals() refusals {
	if all := f.refused.Load(); all != nil {
		return *all
	}
	return nil
}

// fetchData sends a GetMetricData request and reads all pages of the response.
func (f *fetcher) fetchData(ctx context.Context, r *request) response {
	c := newCollector(r, f.refusals())
	input := f.input(r, c.refused)
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
func (f *fetcher) page(ctx context.Context, input *sdk.GetMetricDataInput, c *collector) (string, error) {
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

func (f *fetcher) input(r *request, refused refusals) *sdk.GetMetricDataInput {
	queries := make([]types.MetricDataQuery, 0, r.queries)
	for _, it := range r.items {
		s := &f.series[it.series]
		metric := &types.Metric{
			Namespace:  &s.Namespace,
			MetricName: &s.Metric,
			Dimensions: sdkDimensions(it.dimensions),
		}
		for i := range s.Statistics {
			if refused.has(it.series, i) {
				continue
			}
			queries = append(queries, types.MetricDataQuery{
				Id: aws.String(queryID + strconv.Itoa(len(queries))),
				MetricStat: &types.MetricStat{
					Metric: metric,
					Period: aws.Int32(int32(r.window.Period)),
					Stat:   &s.Statistics[i],
					Unit:   types.StandardUnit(s.Unit),
				},
			})
		}
	}
	return &sdk.GetMetricDataInput{
		StartTime:         aws.Time(time.Unix(r.window.Start, 0)),
		EndTime:           aws.Time(time.Unix(r.window.End, 0)),
		MetricDataQueries: queries,
		ScanBy:            types.ScanByTimestampAscending,
	}
}

func sdkDimensions(dims []record.Dimension) []types.Dimension {
	sdk := make([]types.Dimension, len(dims))
	for i := range dims {
		sdk[i] = types.Dimension{Name: &dims[i].Name, Value: &dims[i].Value}
	}
	return sdk
}

// sort divides the items of a request into results, forbidden items, and items to
// ask again.
func (f *fetcher) sort(c *collector, calls int) response {
	a := response{calls: calls, buffer: c.buffer}
	query := 0
	for _, it := range c.request.items {
		columns, asked, err := c.columns(query, it.series, len(f.series[it.series].Statistics))
		query += asked
		switch {
		case errors.Is(err, errForbidden):
			a.forbidden, a.forbids = append(a.forbidden, it), cmp.Or(a.forbids, err)
			continue
		case err != nil:
			a.again = append(a.again, it)
			a.err = cmp.Or(a.err, err) // there can be hundreds; one is enough
			continue
		}
		a.results = append(a.results, store.Result{
			Target: f.target, Instance: it.instance, Series: it.series, Window: it.window, Columns: columns,
		})
	}
	if err := c.stray; err != nil {
		a.again, a.results, a.err, a.forbidden = c.request.items, nil, err, nil
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
	stray   error     // the response has a result for a query that was not asked
	refused refusals  // statistics without a query
	absent  []float64 // the column of a refused statistic
}

type queryState struct {
	status  types.StatusCode
	message string
	next    int // first grid index not yet passed: datapoints come in ascending order
	count   int
	err     error
}

func newCollector(r *request, refused refusals) *collector {
	asked := r.queries
	for _, it := range r.items {
		asked -= len(refused[it.series])
	}
	return &collector{request: r, points: r.window.Points(), queries: make([]queryState, asked), refused: refused}
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
	if c.buffer == nil {
		return nil // no result has arrived
	}
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
		c.stray = wrong("response has a result for query %q, which was not asked", r.ID)
		return
	}
	q := &c.queries[query]
	q.merge(r)
	if err := c.store(q, c.column(query), r); err != nil && q.err == nil {
		q.err = fmt.Errorf("query %s: %w", r.ID, err)
	}
}

// merge takes over the status of a part of the result. A later page that is complete
// makes up for PartialData, which says only that more pages follow, but not for an
// error: AWS documents no page that repeats the datapoints which an error has cost.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDataResult.html
func (q *queryState) merge(r *flat.Result) {
	switch q.status {
	case "", types.StatusCodeComplete, types.StatusCodePartialData:
		q.status, q.message = r.Status, cmp.Or(r.Message, q.message)
	}
}

// store puts the datapoints of a result on the grid of the window. A value that
// cannot belong there is an error of the response and never becomes data.
func (c *collector) store(q *queryState, column []float64, r *flat.Result) error {
	if len(r.Times) != len(r.Values) {
		return wrong("%d timestamps for %d values", len(r.Times), len(r.Values))
	}
	start, step := c.request.window.Start*1000, c.request.window.Period*1000
	for i, at := range r.Times {
		index, offset := q.next, at-start
		if offset != int64(index)*step { // not the next of its grid: some are missing
			index = int(offset / step)
		}
		switch v := r.Values[i]; {
		case offset < 0 || index >= len(column) || offset != int64(index)*step:
			return wrong("datapoint at %s is not on the grid asked for", formatMillis(at))
		case index < q.next:
			return wrong("datapoint at %s is a duplicate or out of order", formatMillis(at))
		case v-v != 0:
			return wrong("datapoint at %s is not a number", formatMillis(at))
		default:
			column[index] = v
			q.next = index + 1
			q.count++
		}
	}
	return nil
}

func formatMillis(at int64) string { return time.UnixMilli(at).UTC().Format(time.RFC3339) }

// columns returns the columns of the n statistics of a series, whose queries begin
// with first, and the number of these queries. The columns are nil if they have no
// datapoints. It returns an error if they are not complete.
func (c *collector) columns(first, series, n int) (columns [][]float64, asked int, err error) {
	columns = make([][]float64, n)
	count := 0
	for i := range n {
		if c.refused.has(series, i) {
			columns[i] = c.absentColumn()
			continue
		}
		q := &c.queries[first+asked]
		err = cmp.Or(err, q.check(first+asked))
		columns[i] = c.column(first + asked)
		count += q.count
		asked++
	}
	if count == 0 || err != nil {
		columns = nil
	}
	return columns, asked, err
}

// check returns an error if the result of a query is not complete.
func (q *queryState) check(number int) error {
	switch {
	case q.err != nil:
		return q.err
	case q.status == types.StatusCodeForbidden:
		return fmt.Errorf("%w: %s", errForbidden, q.message)
	case q.status != types.StatusCodeComplete:
		return fmt.Errorf("query q%d: status %q: %s", number, q.status, q.message)
	}
	return nil
}

func (c *collector) absentColumn() []float64 {
	if c.absent == nil {
		c.absent = slices.Repeat([]float64{math.NaN()}, c.points)
	}
	return c.absent
}
