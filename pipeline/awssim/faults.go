package awssim

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Fault makes calls fail, until its count is used up or it is cleared. Calls match
// if they agree with every field from Service to Region that is not empty.
type Fault struct {
	Kind string `json:"kind"` // see kinds

	Service   string `json:"service,omitempty"` // sts, ec2, monitoring
	Operation string `json:"operation,omitempty"`
	Account   string `json:"account,omitempty"`
	Region    string `json:"region,omitempty"`
	Instance  string `json:"instance,omitempty"`  // of poison, partial, internal_result, forbidden: only for this instance
	Role      string `json:"role,omitempty"`      // of role_denied
	Metric    string `json:"metric,omitempty"`    // of listing_denied and listing_fails: only for this metric
	Statistic string `json:"statistic,omitempty"` // of unknown_statistic
	Key       string `json:"key,omitempty"`       // of key_expired: the access key id

	Probability float64 `json:"probability,omitempty"` // per call; 0: always
	Count       int     `json:"count,omitempty"`       // of calls; 0: until cleared
	Millis      int     `json:"millis,omitempty"`      // of latency
	Spelling    string  `json:"spelling,omitempty"`    // of expired: xml, empty or RequestExpired; default: the service's

	Requests   float64 `json:"requests,omitempty"`   // of quota: per second
	Datapoints float64 `json:"datapoints,omitempty"` // of quota: per second
}

// kinds describes every kind of fault.
var kinds = map[string]string{
	"throttle":        "the call is throttled",
	"error500":        "internal error",
	"error503":        "service unavailable",
	"expired":         "the session that signed the call expires now",
	"revoke_all":      "every session issued so far expires now, once",
	"deny_older":      "calls of every session issued so far are denied, once, as by the policy AWSRevokeOlderSessions",
	"key_expired":     "long-lived keys are refused as expired",
	"cut":             "the connection is closed without a response",
	"truncate":        "the body of the response ends in the middle",
	"hang":            "no response until the fault is cleared or the caller disconnects",
	"latency":         "responses take millis longer",
	"partial":         "GetMetricData results are PartialData without data",
	"internal_result": "GetMetricData results are InternalError",
	"internal_page":   "GetMetricData results that continue on the next page are InternalError without data, and complete there",
	"forbidden":       "GetMetricData results are Forbidden",
	"poison":          "GetMetricData calls that name the instance fail with 500",
	"sts_down":        "every call of STS returns 503",
	"role_denied":     "AssumeRole into the account is denied",
	"access_denied":   "the call is denied",
	"region_down":     "every call in the region returns 503",
	"region_disabled": "the region is not enabled, so valid keys look unknown there",
	"quota":           "sets the quotas of GetMetricData",

	"not_found":         "the call is answered with 404 and no body, as by an emulator without the protocol",
	"foreign":           "the call is answered with 500 in XML, as by an emulator with another protocol",
	"html":              "the call is answered with 403 and a page in HTML, as by a proxy",
	"listing_denied":    "ListMetrics is denied for the metric, or for all",
	"off_grid":          "GetMetricData returns timestamps one second late",
	"listing_fails":     "ListMetrics fails with 500 for the metric, or for all",
	"unknown_statistic": "calls that ask for the statistic are refused, as if CloudWatch did not know it",
}

// faults is the list of active faults.
type faults struct {
	mu      sync.Mutex
	active  []*Fault
	cleared chan struct{} // closed by clear, so that hanging calls continue; nil if none waits
}

// activeFaults are the faults that apply to one call, by kind.
type activeFaults map[string]Fault

func (f *faults) add(fault Fault) error {
	if kinds[fault.Kind] == "" {
		return fmt.Errorf("unknown fault %q", fault.Kind)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active = append(f.active, &fault)
	return nil
}

func (f *faults) clear(kind string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active = slices.DeleteFunc(f.active, func(a *Fault) bool { return kind == "" || a.Kind == kind })
	if f.cleared != nil {
		close(f.cleared)
		f.cleared = nil
	}
}

func (f *faults) list() []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]Fault, 0, len(f.active))
	for _, a := range f.active {
		all = append(all, *a)
	}
	return all
}

// untilCleared returns a channel that the next clear closes.
func (f *faults) untilCleared() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cleared == nil {
		f.cleared = make(chan struct{})
	}
	return f.cleared
}

// pick returns the faults that apply to a call. It takes at most one fault with a
// count and reduces that count, so that every counted fault affects exactly that
// many calls.
func (f *faults) pick(c *call, chance func(float64) bool) activeFaults {
	f.mu.Lock()
	defer f.mu.Unlock()
	var picked activeFaults
	counted := false
	for _, a := range f.active {
		if !a.matches(c) || a.Probability > 0 && !chance(a.Probability) || a.Count > 0 && counted {
			continue
		}
		if a.Count > 0 {
			counted = true
			if a.Count--; a.Count == 0 {
				a.Count = -1 // used up
			}
		}
		if picked == nil {
			picked = activeFaults{}
		}
		picked[a.Kind] = *a
	}
	f.active = slices.DeleteFunc(f.active, func(a *Fault) bool { return a.Count < 0 })
	return picked
}

func (a *Fault) matches(c *call) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	if a.Kind == "sts_down" && c.service != "sts" || a.Kind == "key_expired" || a.Kind == "role_denied" {
		return false
	}
	return is(a.Service, c.service) && is(a.Operation, c.operation) &&
		is(a.Account, c.principal.account) && is(a.Region, c.region) &&
		(a.Kind != "region_disabled" && a.Kind != "region_down" || c.service != "sts")
}

func (f *faults) has(match func(*Fault) bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.active, match)
}

func (f *faults) keyExpired(key string) bool {
	return f.has(func(a *Fault) bool {
		return a.Kind == "key_expired" && (a.Key == "" || a.Key == key)
	})
}

func (f *faults) roleDenied(account, role string) bool {
	return f.has(func(a *Fault) bool {
		return a.Kind == "role_denied" && (a.Account == "" || a.Account == account) && (a.Role == "" || a.Role == role)
	})
}

// applyFaults applies the faults that delay or replace a whole response.
func (s *Server) applyFaults(c *call, f activeFaults) *apiError {
	if l, on := f["latency"]; on {
		wait(c, time.Duration(l.Millis)*time.Millisecond)
	}
	switch {
	case f.on("hang"):
		select {
		case <-s.faults.untilCleared():
			return nil
		case <-c.Context().Done():
			panic(http.ErrAbortHandler)
		}
	case f.on("cut"):
		s.stats.code("cut")
		panic(http.ErrAbortHandler) // closes the connection without a response
	case f.on("throttle"):
		return errThrottled(c.service)
	case f.on("error500"):
		return &apiError{status: 500, code: "InternalServiceError", shape: "InternalServiceFault", message: "Internal error"}
	case f.on("error503"), f.on("sts_down"), f.on("region_down"):
		return &apiError{status: 503, code: "ServiceUnavailable", message: "Service is unavailable"}
	case f.on("not_found"):
		return &apiError{status: 404, code: "NotFound", message: "empty", raw: true}
	case f.on("foreign"):
		return &apiError{status: 500, code: "InternalFailure", message: "foreign", raw: true}
	case f.on("html"):
		return &apiError{status: 403, code: "Forbidden", message: "html", raw: true}
	case f.on("expired"):
		return s.expireEarly(c, f["expired"])
	case f.on("access_denied"):
		return errDenied(c)
	case f.on("region_disabled"):
		return errUnknownKey(c.service)
	}
	return nil
}

func (f activeFaults) on(kind string) bool {
	_, on := f[kind]
	return on
}

// checkStatistics refuses statistics that CloudWatch does not know, all in one
// message (prometheus-community/yet-another-cloudwatch-exporter#1435), and the one of
// a fault.
func (f activeFaults) checkStatistics(parameter string, statistics []string) *apiError {
	text := ""
	for i, name := range statistics {
		fault, on := f["unknown_statistic"]
		if !validStatistic(name) || on && fault.Statistic == name {
			if text != "" {
				text += "\n"
			}
			text += fmt.Sprintf("The value %s for parameter %s is not a valid statistic.", name, fmt.Sprintf(parameter, i+1))
		}
	}
	if text == "" {
		return nil
	}
	return errInvalid("%s", text)
}

// expireEarly ends the session that signed a call.
func (s *Server) expireEarly(c *call, f Fault) *apiError {
	s.sessions.revoke(func(p *principal) bool { return p.key.ID == c.principal.key.ID && !p.longLived })
	s.stats.expired(true)
	switch f.Spelling {
	case "RequestExpired":
		return &apiError{status: 400, code: "RequestExpired", message: "Request has expired."}
	case "xml", "empty":
		return &apiError{status: 403, code: "ExpiredToken", message: f.Spelling, raw: true}
	}
	return errExpired(c.service)
}

// quotas enforces the quotas of GetMetricData, per account and region.
type quotas struct {
	mu       sync.Mutex
	requests float64 // per second; 0: no limit
	points   float64 // datapoints per second; 0: no limit
	buckets  map[string]*bucket
}

type bucket struct {
	at       time.Time
	requests float64
	points   float64
}

func (q *quotas) set(requests, points float64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.requests, q.points, q.buckets = requests, points, map[string]*bucket{}
}

// take reports whether a call with so many estimated datapoints is within the
// quotas, and counts it. A bucket holds one second's worth, and at least one full
// call.
func (q *quotas) take(target string, points int, now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	capacity := max(q.points, maxDatapoints)
	b := q.buckets[target]
	if b == nil {
		b = &bucket{at: now, requests: q.requests, points: capacity}
		q.buckets[target] = b
	}
	elapsed := now.Sub(b.at).Seconds()
	b.at = now
	b.requests = min(b.requests+elapsed*q.requests, max(q.requests, 1))
	b.points = min(b.points+elapsed*q.points, capacity)
	if q.requests > 0 && b.requests < 1 || q.points > 0 && b.points < float64(points) {
		return false
	}
	b.requests--
	b.points -= float64(points)
	return true
}
