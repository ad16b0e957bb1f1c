package front

import (
	"cmp"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"slices"
	"time"

	"cwharvest/pipeline/awssim"
)

// Fault replaces the responses of hosts, until its count or its time is used up or it
// is cleared.
type Fault struct {
	Host     string         // a pattern of path.Match: sts.*.amazonaws.com, imds
	Match    *regexp.Regexp // on the request's record; nil: any
	SeenKeys bool           // only for access keys that signed a request before the fault was added
	Connect  bool           // the proxy itself answers CONNECT with it, instead of the host
	Count    int            // of requests; 0: any
	Until    time.Time      // zero: until cleared

	Kind    string // status, hang, cut, garbage, html; default: status
	Status  int
	Code    string // of an error in the protocol of the service; empty: an empty body
	Message string

	keys map[string]bool // of SeenKeys
}

// AddFault adds a fault. The first one that matches a request applies.
func (f *Front) AddFault(fault Fault) error {
	if _, err := path.Match(fault.Host, ""); err != nil {
		return err
	}
	if !slices.Contains([]string{"", "status", "hang", "cut", "garbage", "html"}, fault.Kind) {
		return fmt.Errorf("unknown fault %q", fault.Kind)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if fault.SeenKeys {
		fault.keys = map[string]bool{}
		for _, r := range f.requests {
			fault.keys[r.Key] = true
		}
	}
	f.faults = append(f.faults, &fault)
	return nil
}

// ClearFaults removes the faults of a host, or all if host is "".
func (f *Front) ClearFaults(host string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = slices.DeleteFunc(f.faults, func(a *Fault) bool { return host == "" || a.Host == host })
}

// faultFor returns the fault of a request, and counts it; nil: none.
func (f *Front) faultFor(r *Request) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.faults {
		matched, err := path.Match(a.Host, r.Host)
		if err != nil || !matched || a.Connect != (r.Operation == "CONNECT") || a.Count < 0 || a.SeenKeys && !a.keys[r.Key] ||
			a.Match != nil && !a.Match.MatchString(r.String()) || !a.Until.IsZero() && time.Now().After(a.Until) {
			continue
		}
		if a.Count > 0 {
			if a.Count--; a.Count == 0 {
				a.Count = -1 // used up
			}
		}
		return a
	}
	return nil
}

// page is the answer of a proxy that refuses a host or cannot reach it.
const page = "<!DOCTYPE html><html><head><title>Web Gateway</title></head><body><h1>Access to this site is not possible</h1></body></html>\n"

// apply answers a request with a fault.
func (f *Front) apply(w http.ResponseWriter, r *http.Request, seen *Request, fault *Fault) {
	switch fault.Kind {
	case "hang":
		select {
		case <-f.done:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	case "cut":
		panic(http.ErrAbortHandler) // closes the connection without a response
	case "garbage":
		w.WriteHeader(cmp.Or(fault.Status, http.StatusOK))
		write(w, []byte("\x00\x01{\"<<not an answer"))
	case "html":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(fault.Status)
		write(w, []byte(page))
	default:
		f.fail(w, r, seen, fault)
	}
}

// fail answers with an error in the protocol of the service.
func (f *Front) fail(w http.ResponseWriter, r *http.Request, seen *Request, fault *Fault) {
	message := cmp.Or(fault.Message, "as scripted")
	switch {
	case fault.Code == "":
		w.WriteHeader(fault.Status)
	case seen.Service == "portal.sso", seen.Service == "oidc", seen.Service == "signin":
		failREST(w, fault.Status, fault.Code, message)
	case seen.Service == "imds": // as in the body of a role's credentials that EC2 cannot get
		writeJSON(w, fault.Status, map[string]string{"Code": fault.Code, "Message": message, "LastUpdated": now()})
	case seen.Service == "container":
		writeJSON(w, fault.Status, map[string]string{"code": fault.Code, "message": message})
	default:
		awssim.Fail(w, r, fault.Status, fault.Code, message)
	}
}
