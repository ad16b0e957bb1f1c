package awssim

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
)

// admin serves the control interface for tests and the demo:
//
//	GET    /_sim/stats             returns Stats
//	GET    /_sim/faults            lists the active faults
//	POST   /_sim/faults            adds a Fault
//	DELETE /_sim/faults?kind=KIND  removes faults of a kind, or all
//	POST   /_sim/mark              clears the list of served instances
//	GET    /_sim/served            lists them, as account/region/dimensions
func (s *Server) admin(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "GET /_sim/stats":
		writeJSON(w, s.Stats())
	case "GET /_sim/faults":
		writeJSON(w, s.faults.list())
	case "DELETE /_sim/faults":
		s.faults.clear(r.URL.Query().Get("kind"))
	case "POST /_sim/faults":
		var f Fault
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&f); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := s.Inject(f); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	case "POST /_sim/mark":
		s.Mark()
	case "GET /_sim/served":
		writeJSON(w, s.Served())
	default:
		http.NotFound(w, r)
	}
}

// Inject adds a fault. Kinds that happen only once happen now.
func (s *Server) Inject(f Fault) error {
	switch f.Kind {
	case "revoke_all":
		s.sessions.revoke(func(p *principal) bool { return !p.longLived })
		return nil
	case "deny_older":
		s.sessions.deny()
		return nil
	case "quota":
		s.quotas.set(f.Requests, f.Datapoints)
		return nil
	}
	return s.faults.add(f)
}

// Clear removes the faults of a kind, or all if kind is "".
func (s *Server) Clear(kind string) { s.faults.clear(kind) }

// Mark clears the list of served instances.
func (s *Server) Mark() { s.repeats.mark() }

// Served lists the instances that were in responses since the last Mark, sorted.
func (s *Server) Served() []string {
	s.repeats.mu.Lock()
	defer s.repeats.mu.Unlock()
	return slices.Sorted(maps.Keys(s.repeats.served))
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(http.ErrAbortHandler) // the caller has disconnected
	}
}
