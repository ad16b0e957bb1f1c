package front

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Request is the record of one request.
type Request struct {
	Host       string // imds and container for those services
	Service    string
	Operation  string
	Region     string // of the signature; empty: not signed
	Key        string // access key id
	Role       string // ARN, or name of a permission set
	Account    string // of the permission set
	Session    string // RoleSessionName
	ExternalID string
	Status     int // of the response; 0: none

	at time.Time
}

// String returns the record as a line of name=value pairs, without those that are
// empty.
func (r Request) String() string {
	var b strings.Builder
	for _, pair := range [][2]string{
		{"host", r.Host}, {"service", r.Service}, {"operation", r.Operation}, {"region", r.Region}, {"key", r.Key},
		{"role", r.Role}, {"account", r.Account}, {"session", r.Session}, {"external", r.ExternalID},
	} {
		if pair[1] != "" {
			fmt.Fprintf(&b, "%s=%s ", pair[0], pair[1])
		}
	}
	return fmt.Sprintf("%sstatus=%d", b.String(), r.Status)
}

// Requests returns the records of all requests that have ended, in order. A CONNECT
// is among them only if it failed.
func (f *Front) Requests() []Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

// Forget removes all records.
func (f *Front) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = nil
}

func (f *Front) record(r Request, status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.Status = status
	f.requests = append(f.requests, r)
}

// recorder remembers the status of a response.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
