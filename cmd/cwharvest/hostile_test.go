package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/binary"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"
)

// mostHostile bounds the anonymous memory of a run whose 64 requests in flight
// all get a response made to be expensive.
const mostHostile = 400 << 20

// mostListing bounds the memory when each of 8 targets gets a page of empty
// structures. Such pages are decoded side by side, since one at a time would delay
// thousands of targets.
const mostListing = 800 << 20

// hostileTargets are the targets of a run: two accounts in four regions.
const hostileTargets = 8

// builder builds the program without the race detector, which costs memory.
func builder(t *testing.T) string {
	n := night{T: t, dir: t.TempDir()}
	n.build()
	return n.program
}

// hostile sends a malicious response to one operation, and serves all others as
// the simulator does.
type hostile struct {
	next http.Handler
	hostileAnswer
	calls atomic.Int64
}

type hostileAnswer struct {
	operation string // empty: GetMetricData
	settings  string // that ask for it
	serve     func(w http.ResponseWriter)
}

func (h *hostile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body) // so that the connection is free for the answer
	told := r.URL.Path + r.Header.Get("X-Amz-Target") + string(body[:min(len(body), 100)])
	if err != nil || !strings.Contains(told, cmp.Or(h.operation, "GetMetricData")) {
		r.Body = io.NopCloser(bytes.NewReader(body))
		h.next.ServeHTTP(w, r)
		return
	}
	h.calls.Add(1)
	w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	w.Header().Set("Content-Type", "application/cbor")
	h.serve(w)
}

// watch ends a run two seconds after each target has had its response, and
// returns the most anonymous memory that it took.
func (h *hostile) watch(c *exec.Cmd) (most int64) {
	exited := make(chan error, 1)
	go func() { exited <- c.Wait() }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	hung, enough := time.After(hangAfter), (<-chan time.Time)(nil)
	for {
		select {
		case <-exited:
			return most
		case <-tick.C:
			most = max(most, rssAnon(c.Process.Pid))
			if enough == nil && h.calls.Load() >= hostileTargets {
				enough = time.After(2 * time.Second)
			}
			continue
		case <-enough:
		case <-hung:
		}
		_ = c.Process.Signal(syscall.SIGTERM) // its exit code is checked
		hung, enough = nil, make(chan time.Time)
	}
}

// forever writes head once, and then rest until the reader is gone.
func forever(w io.Writer, head string, rest []byte) {
	for _, err := io.WriteString(w, head); err == nil; {
		_, err = w.Write(rest)
	}
}

// mostParts is about as many parts as the program has the SDK decode.
const mostParts = 3<<17 - 100

func megabyte(item []byte) []byte { return bytes.Repeat(item, 1<<20/len(item)) }

func float64Item(head []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(bytes.Clone(head), math.Float64bits(v))
}

// times writes a head, so many megabytes of an item, and the tail.
func times(w io.Writer, head string, megabytes int, item, tail string) {
	io.WriteString(w, head)
	for range megabytes {
		w.Write(megabyte([]byte(item)))
	}
	io.WriteString(w, tail)
}

// hostileAnswers returns the hostile responses by name.
func hostileAnswers() map[string]hostileAnswer {
	const results = "\xa1\x71MetricDataResults\x9f"
	const listing, statistics = "instances: {sources: [cloudwatch]}\n", "api: statistics\n"
	const json, query = "protocol: json\n", "protocol: query\n"
	at, values := megabyte(float64Item([]byte{0xc1, 0xfb}, 1.7e9)), megabyte(float64Item([]byte{0xfb}, 1))
	return map[string]hostileAnswer{
		"datapoints": {"", "", func(w http.ResponseWriter) { forever(w, results+"\xa1\x6aTimestamps\x9f", at) }},
		"values":     {"", "", func(w http.ResponseWriter) { forever(w, results+"\xa1\x66Values\x9f", values) }},
		"results":    {"", "", func(w http.ResponseWriter) { forever(w, results, megabyte([]byte{0xa0})) }},
		"twice": {"", "", func(w http.ResponseWriter) {
			forever(w, "\xbf\x71MetricDataResults\x80\x71MetricDataResults\x9f", megabyte([]byte{0xa0}))
		}},
		"long": {"", "", func(w http.ResponseWriter) {
			times(w, "\xbf\x71MetricDataResults\x80\x71MetricDataResults\x9f", 15, "\xa0", "\xff\xff")
		}},
		"full": {"", "", func(w http.ResponseWriter) { // the flat decoder leaves it to the SDK's
			io.WriteString(w, "\xbf\x71MetricDataResults\x80\x71MetricDataResults\x9f"+strings.Repeat("\xa0", mostParts)+"\xff\xff")
		}},
		"json": {"", json, func(w http.ResponseWriter) {
			io.WriteString(w, `{"MetricDataResults":[{}`+strings.Repeat(",{}", mostParts/2)+"]}")
		}},
		"query": {"", query, func(w http.ResponseWriter) {
			io.WriteString(w, "<a><GetMetricDataResult><MetricDataResults>"+strings.Repeat("<member/>", mostParts)+"</MetricDataResults></GetMetricDataResult></a>")
		}},
		"listed deep full": {"ListMetrics", listing, func(w http.ResponseWriter) {
			io.WriteString(w, "\xa1\x61x"+strings.Repeat("\x81", mostParts)+"\x00")
		}},
		"statistics full": {"GetMetricStatistics", statistics, func(w http.ResponseWriter) {
			io.WriteString(w, "\xa1\x6aDatapoints\x9f"+strings.Repeat("\xa0", mostParts)+"\xff")
		}},
		"statistics unknown full": {"GetMetricStatistics", statistics, func(w http.ResponseWriter) {
			io.WriteString(w, "\xbf"+strings.Repeat("\x60\x00", mostParts/2)+"\xff")
		}},
		"messages": {"", "", func(w http.ResponseWriter) {
			forever(w, "\xbf\x71MetricDataResults\x80\x71MetricDataResults\x80\x68Messages\x9f", megabyte([]byte("\xa1\x65Value\x61x")))
		}},
		"text": {"", "", func(w http.ResponseWriter) {
			forever(w, "\xa1\x69NextToken\x7b\x00\x00\x00\x10\x00\x00\x00\x00", megabyte([]byte("x")))
		}},
		"error": {"", "", func(w http.ResponseWriter) { w.WriteHeader(500); forever(w, "", megabyte([]byte("x"))) }},
		"bomb": {"", "", func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			forever(z, results+"\xa1\x6aTimestamps\x9f", at)
		}},
		"listed":             {"ListMetrics", listing, func(w http.ResponseWriter) { times(w, "\xa1\x67Metrics\x9f", 23, "\xa0", "\xff") }},
		"listed deep":        {"ListMetrics", listing, func(w http.ResponseWriter) { times(w, "\xa1\x61x", 23, "\x81", "") }},
		"listed unknown":     {"ListMetrics", listing, func(w http.ResponseWriter) { times(w, "\xbf", 23, "\x60\x00", "\xff") }},
		"listed json":        {"ListMetrics", listing + json, func(w http.ResponseWriter) { times(w, `{"Metrics":[{}`, 23, ",{}", "]}") }},
		"listed json deep":   {"ListMetrics", listing + json, func(w http.ResponseWriter) { times(w, `{"x":`, 23, "[", "") }},
		"statistics":         {"GetMetricStatistics", statistics, func(w http.ResponseWriter) { times(w, "\xa1\x6aDatapoints\x9f", 15, "\xa0", "\xff") }},
		"statistics deep":    {"GetMetricStatistics", statistics, func(w http.ResponseWriter) { times(w, "\xa1\x61x", 15, "\x81", "") }},
		"statistics unknown": {"GetMetricStatistics", statistics, func(w http.ResponseWriter) { times(w, "\xbf", 15, "\x60\x00", "\xff") }},
		"instances": {"DescribeInstances", "", func(w http.ResponseWriter) {
			times(w, "<a><reservationSet><item><instancesSet>", 60, "<item/>", "</instancesSet></item></reservationSet></a>")
		}},
		"instances long": {"DescribeInstances", "", func(w http.ResponseWriter) {
			times(w, "<a><reservationSet><item><instancesSet>", 60, "<item></item>", "</instancesSet></item></reservationSet></a>")
		}},
		"instances deep": {"DescribeInstances", "", func(w http.ResponseWriter) { times(w, "<a><reservationSet>", 60, "<a>", "") }},
	}
}

// TestHostileServer proves that a hostile server costs bounded memory and never
// crashes the process. A slice has the most expensive responses.
func TestHostileServer(t *testing.T) {
	program := builder(t)
	worst := []string{"full", "values", "listed deep", "instances"}
	for name, answer := range hostileAnswers() {
		if !slices.Contains(worst, name) && !proving() {
			continue
		}
		t.Run(name, func(t *testing.T) {
			besideOthers(t)
			n := newNight(t, awssim.Config{
				Accounts: []string{"111122223333", "222233334444"}, Regions: []string{"us-east-1", "us-west-2", "eu-west-1", "eu-central-1"}, Instances: 2000,
			}, 5*time.Minute, 1, []string{"CPUUtilization"}, []string{"Average", "Maximum"}, answer.settings)
			h := &hostile{next: n.sim, hostileAnswer: answer}
			server := httptest.NewServer(h)
			defer server.Close()
			n.env = append(n.env, "AWS_ENDPOINT_URL_CLOUDWATCH="+server.URL, "AWS_ENDPOINT_URL_EC2="+server.URL)
			n.program = program
			c, output := n.command("run", "-c", "harvest.yaml", "--drain-timeout", "1s")
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			most := h.watch(c)
			bound := int64(mostHostile)
			if answer.operation == "DescribeInstances" {
				bound = mostListing
			}
			if most > bound || most == 0 || h.calls.Load() == 0 || c.ProcessState.ExitCode() != exitSignal+int(syscall.SIGTERM) {
				t.Errorf("RssAnon %d MB, %d calls, exit %d\n%s", most>>20, h.calls.Load(), c.ProcessState.ExitCode(), output)
			}
			t.Logf("RssAnon %d MB, %d calls", most>>20, h.calls.Load())
		})
	}
}
