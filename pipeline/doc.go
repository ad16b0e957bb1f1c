// Package pipeline fetches the datapoints of a job and hands them to its store.
// It enumerates the instances of every target, plans the fewest requests that
// cover their series, sends the requests as fast as the quotas allow, and commits
// the responses. A run may end at any moment: the next one continues from the
// last commit. An error of one target never stops the others.
//
// # The way of a datapoint
//
//	enumeration ──> planner ──> dispatcher ──> pool ──> writer ──> store.Job
//	 instances      requests     when?         HTTP     commit
//
// Data flow forward only. A planner reads the pending series-windows of a target
// from the store, one page of instances at a time, so memory follows the requests
// in flight and not the instances, targets or windows.
//
// # Goroutines and channels
//
//   - Run's own goroutine is the schedule: it starts a dispatcher for each target
//     that is due, MaxInFlight of them at most, and takes them back on the channel
//     schedule.back. A target that waits for more than two seconds gives up its
//     place.
//   - One dispatcher works each active target. It owns all fields of the target
//     except those under target.mu. Nobody else decides about the target.
//   - The pool of Shared runs the calls of all jobs of a process, at most so many
//     over all targets, and Concurrency in each target of a job. A call never sleeps and never repeats itself: it sends one outcome on
//     target.outcomes, which has room for all calls in flight, and the dispatcher
//     decides. The functions in the pool return no errors.
//   - One writer commits. Dispatchers and calls send on writer.in whatever the
//     context says, so that a response that was paid for is never lost. Run closes
//     the channel after the last sender has returned, and the writer drains it to
//     the end. After a failed commit it only drains.
//
// # Several jobs at a time
//
// A process may run several jobs of different ranges, each with a Run of its own.
// They have Shared in common: the pool, and for each target its limiters and its
// pause. After a pause one job probes the target, and the first success wakes the
// others. A Run that can no longer continue seals its data, reports that with Held,
// and goes on when a target works again. So the next night can begin beside it.
//
// When the context of Run ends, nothing new is sent. Calls in flight may finish
// for DrainTimeout, and their responses are committed.
//
// # Limits
//
// A dispatcher passes the target's pause and then its limiter before it takes a
// place in the pool, so a target that waits holds nothing. The limiter keeps two
// quotas of CloudWatch, requests and estimated datapoints, and sends at an even
// rate without bursts. It makes up for calls that leave up to 100 ms late, since
// timers do. When CloudWatch throttles, the calls in flight together cause one
// decrease to 0.7 of the rate. The rate then climbs back to 0.98 of the last good
// one, and every 30 s it probes for more. Against enforced quotas with 40 ± 20 ms
// of latency a target reaches 0.99 of the quota and is not throttled. It meets a
// halved quota within 5 s and uses a restored one again after 45 s.
//
// # Outage or poison
//
// A failed call is classified once (classify). The next step depends on the class:
//
//	outage, expired, credentials   ask again after a pause of the target
//	throttled                      slow down, ask again
//	invalid_request                examine the series, then bisect; the culprit alone fails
//	refused                        deny the target
//
// An outage is when nothing in the target succeeds. A failure therefore counts
// against a request only if another call of its target has succeeded since the
// request last failed. Otherwise the target pauses, with capped exponential
// backoff and full jitter. After two pauses in a row, a control call replaces the
// request: one metric without dimensions, for $0.00001. If it succeeds, the target
// works and the request is at fault. A request with five counted failures is
// poison: it is bisected until a single series-window fails, with its class.
//
// A response that AWS did not send, such as a login page with status 200, and null
// for a number are outages too. They never become data, an empty list or a denial.
// Fuzz targets hold whole calls to that. A complete response with results that were
// not asked for is no outage: after five such responses, its items fail.
//
// # Trouble of one metric
//
// The trouble of a metric stays the metric's. A listing that AWS refuses, or that
// fails while ListMetrics works for others, fails its metrics (enumeration.giveUp).
// After a refused request the target examines each of its series once, without an
// instance; a statistic that is refused then is left out (target.examine). Only if
// the series are accepted, an instance is at fault and the request is bisected. An
// instance that cannot be stored fails when it is listed (checkInstance). A target is
// denied only if nothing is left to list, or if AWS refuses its account or keys.
// A server that has another protocol denies it after five responses, as long as
// CloudWatch has not answered (isForeign).
//
// # Requests
//
// GetMetricData is billed by metrics, whatever the range, and limited to 500
// queries and 100,800 datapoints a call. The fewest requests are therefore the
// cheapest and the fastest. All statistics of a series-window stay in one request,
// since five of them are billed as one metric. The windows of a plan fit one page.
// A job of equal series sends
//
//	ceil(n / min(floor(500 / statistics), floor(100,800 / datapoints)))
//
// requests and needs no second page. Requests of mixed series are filled in the
// order of the instances, and only their last items are chosen so that they leave
// the least room unused. 2,000 instances with metrics of two and five statistics
// take 560 requests, which is the least. Over 3,000 small cases, each compared
// with the best of all ways, that costs 0.3 % more requests than the least.
//
// CloudWatch returns nothing, without an error, for a window that is too old for
// its period. The plan avoids that, with a margin for the length of the job. A
// request whose window became too old meanwhile is not sent: its series-windows
// fail as retention_passed and are never taken for empty.
package pipeline
