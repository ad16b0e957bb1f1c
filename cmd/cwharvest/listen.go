package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"cwharvest/store/record"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// monitor publishes the status of a run over HTTP, in a file of metrics, or both. It reads the files that `cwharvest
// status` reads, and never delays the run. It lives for all jobs of a run and shows the current one.
type monitor struct {
	dir     string
	share   float64 // of the quota that the run may use
	log     *slog.Logger
	file    *metricsFile // nil: none
	listen  net.Listener // nil: none
	server  *http.Server
	history history
	began   time.Time

	end  chan struct{} // closed by stop
	done sync.WaitGroup
}

// staleAfter is the greatest age of the status of a healthy run.
const staleAfter = 15 * time.Second

// newMonitor listens on the address and writes the file, so that neither can fail after the first call to AWS. It serves
// nothing before start.
func newMonitor(f *runFlags, dir string, share float64, log *slog.Logger) (*monitor, error) {
	m := &monitor{dir: dir, share: share, log: log}
	if f.metricsFile != "" {
		m.file = newMetricsFile(f.metricsFile, log)
		if err := m.file.write(); err != nil {
			return nil, usageError{error: err}
		}
		m.file.registry.MustRegister(collector{m.read})
	}
	if f.listen == "" {
		return m, nil
	}
	host, err := checkListen(f.listen, f.listenAnywhere)
	if err != nil {
		return nil, usageError{error: err}
	}
	if m.listen, err = net.Listen("tcp", f.listen); err != nil {
		return nil, usageError{fmt.Errorf("--listen %s: %w", f.listen, err), "name a free address of this machine, such as 127.0.0.1:9464"}
	}
	handler := m.handler()
	if !f.listenAnywhere {
		handler = forHosts(handler, "localhost", "127.0.0.1", "::1", host)
	}
	m.server = newServer(readOnly(handler))
	return m, nil
}

// checkListen returns the host of an address. Unless anywhere is set, it must be a loopback address.
func checkListen(address string, anywhere bool) (string, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("--listen %q: write an address with a port, such as 127.0.0.1:9464", address)
	}
	if ip := net.ParseIP(host); !anywhere && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", hintedError{fmt.Errorf("--listen %s: other machines could read it, and there is no password", address),
			"listen on 127.0.0.1, or add --listen-anywhere"}
	}
	return host, nil
}

func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
}

// start begins to publish. The run must hold the directory, because reading the status of a free one locks it for a moment.
func (m *monitor) start() {
	end := make(chan struct{})
	m.end, m.began = end, time.Now()
	if m.file != nil {
		m.done.Go(func() { m.file.writeUntil(end) })
	}
	if m.listen == nil {
		return
	}
	m.done.Go(func() { m.sample(end) })
	m.done.Go(func() {
		if err := m.server.Serve(m.listen); !errors.Is(err, http.ErrServerClosed) {
			m.log.Warn("the status is no longer served", "error", err)
		}
	})
	m.log.Info("serving the status", "url", "http://"+m.listen.Addr().String()+"/")
}

// sample fills the history until end is closed.
func (m *monitor) sample(end <-chan struct{}) {
	tick := time.NewTicker(firstSamples)
	defer tick.Stop()
	for {
		if s, err := m.read(); err == nil && !s.Written.Before(m.began) {
			m.history.add(s, m.share)
		}
		select {
		case <-tick.C:
		case <-end:
			return
		}
	}
}

// stop ends publishing. A second call does nothing.
func (m *monitor) stop() {
	if m.end != nil {
		close(m.end)
		m.end = nil
	}
	if m.listen != nil {
		_ = m.server.Close() // responses in progress end with the run
		if err := m.listen.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			m.log.Warn("listener", "error", err)
		}
	}
	m.done.Wait()
}

// finish writes the last metrics. The directory must be free.
func (m *monitor) finish(code int) {
	if m.file != nil {
		m.file.finish(code)
	}
}

func (m *monitor) read() (*record.Status, error) { return record.ReadStatus(m.dir) }

func (m *monitor) handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{m.read}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/healthz", m.healthz)
	mux.HandleFunc("/status.json", m.status)
	mux.HandleFunc("/history.json", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, m.history.all()) })
	mux.HandleFunc("/{$}", servePage)
	return mux
}

// status serves exactly the output of `status --json`.
func (m *monitor) status(w http.ResponseWriter, _ *http.Request) {
	s, err := m.read()
	switch {
	case errors.Is(err, record.ErrNoJob):
		http.Error(w, "no job yet", http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		writeJSON(w, s)
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = encodeJSON(w, v) // the client has gone if this fails
}

// healthz reports whether the run is healthy. A run is healthy before its first job and between two jobs.
func (m *monitor) healthz(w http.ResponseWriter, _ *http.Request) {
	s, err := m.read()
	if errors.Is(err, record.ErrNoJob) || err == nil && s.Written.Before(m.began) {
		fmt.Fprintln(w, "ok: no job yet")
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	if age := time.Since(s.Written); age > staleAfter && s.State == "unresponsive" {
		http.Error(w, fmt.Sprintf("the status is %v old", age.Round(time.Second)), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok: "+s.State)
}

// readOnly refuses methods other than GET and HEAD, and sets headers that keep browsers from doing more than display.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store", "Content-Security-Policy": contentSecurity,
		} {
			w.Header().Set(name, value)
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// forHosts refuses requests for other host names. Otherwise a foreign page could resolve its own name to this address and
// read the responses (DNS rebinding). Ports may differ, because a tunnel changes them.
func forHosts(next http.Handler, hosts ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !slices.Contains(hosts, strings.Trim(strings.ToLower(host), "[]")) {
			http.Error(w, "this is served to localhost only", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
