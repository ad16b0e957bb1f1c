package main

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"sync"
)

// fault makes the next Count matching requests fail, or all of them if Count is
// negative. Without Status, Cut and Lost nothing fails. See s3test.Fault.
type fault struct {
	Match  string // regular expression for "METHOD path?query"; empty for every request
	Count  int
	Status int    // status of the error response
	Code   string // error code of that response
	Cut    int64  // close the connection after this many bytes of the request's or the response's body
	Lost   bool   // perform the request, and close the connection instead of responding

	match *regexp.Regexp
}

type faulty struct {
	next http.Handler

	mu    sync.Mutex
	fault fault
	done  map[string]int // requests by method
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/_fault":
		f.set(w, r)
		return
	case "/_stats":
		f.mu.Lock()
		defer f.mu.Unlock()
		json.NewEncoder(w).Encode(f.done)
		return
	}
	fault, hit := f.take(r)
	switch {
	case !hit:
		f.next.ServeHTTP(w, r)
	case fault.Status != 0:
		io.Copy(io.Discard, r.Body) // a client that still writes might miss the response
		refuse(w, fault.Status, fault.Code)
	case fault.Lost:
		f.next.ServeHTTP(nowhere{http.Header{}}, r)
		panic(http.ErrAbortHandler)
	default:
		body := &cutBody{ReadCloser: r.Body, left: fault.Cut}
		r.Body = body
		f.next.ServeHTTP(&cutWriter{w, body, fault.Cut}, r)
		if !body.cut {
			w.(http.Flusher).Flush()
		}
		panic(http.ErrAbortHandler)
	}
}

func (f *faulty) set(w http.ResponseWriter, r *http.Request) {
	var next fault
	err := json.NewDecoder(r.Body).Decode(&next)
	if err == nil {
		next.match, err = regexp.Compile(next.Match)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = next
}

// take counts a request and returns the fault that applies to it, if any.
func (f *faulty) take(r *http.Request) (fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done[r.Method]++
	if f.fault.Count == 0 || !f.fault.match.MatchString(r.Method+" "+r.URL.RequestURI()) {
		return fault{}, false
	}
	f.fault.Count = max(f.fault.Count-1, -1)
	return f.fault, true
}

type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}

// cutBody is a request's body that ends early, as if the connection broke.
type cutBody struct {
	io.ReadCloser
	left int64
	cut  bool
}

func (c *cutBody) Read(p []byte) (int, error) {
	if c.left == 0 {
		c.cut = true
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// cutWriter drops the rest of a response, or the whole response to a request whose
// body was cut.
type cutWriter struct {
	http.ResponseWriter
	body *cutBody
	left int64
}

func (c *cutWriter) WriteHeader(status int) {
	if !c.body.cut {
		c.ResponseWriter.WriteHeader(status)
	}
}

func (c *cutWriter) Write(p []byte) (int, error) {
	if c.body.cut {
		return len(p), nil
	}
	n, err := c.ResponseWriter.Write(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if err != nil {
		return n, err
	}
	return len(p), nil
}
