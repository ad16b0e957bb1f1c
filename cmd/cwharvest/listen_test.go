package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"
	"cwharvest/store/record"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// watched is a run that serves its status page.
type watched struct {
	*night
	url    string
	output *lockedBuffer
	run    *exec.Cmd
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var shownAt = regexp.MustCompile(`url=(http://[^/]+/)`)

// watch starts a run that takes some seconds, and waits until it has a job.
func watch(t *testing.T, instances int, args ...string) *watched {
	t.Helper()
	n := newNight(t, awssim.Config{
		Accounts: []string{"111122223333", "444455556666"}, Regions: []string{"us-east-1", "eu-west-1"}, Instances: instances,
		Latency: 30 * time.Millisecond, SessionLife: 5 * time.Second,
	}, 5*time.Minute, 1, []string{"CPUUtilization", "NetworkIn"}, []string{"Average", "Maximum"}, "quota_share: 0.05\n")
	w := &watched{night: n, output: &lockedBuffer{}}
	c, _ := n.command(append([]string{"run", "-c", "harvest.yaml", "--listen", "127.0.0.1:0"}, args...)...)
	c.Stdout, c.Stderr, w.run = w.output, w.output, c
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() }) // long ended if all went well
	for deadline := time.Now().Add(hangAfter); ; time.Sleep(20 * time.Millisecond) {
		if at := shownAt.FindStringSubmatch(w.output.String()); at != nil {
			w.url = at[1]
			if answer, _ := w.ask("GET", "status.json", ""); answer.StatusCode == http.StatusOK {
				return w
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the run does not show itself:\n%s", w.output)
		}
	}
}

func (w *watched) ask(method, path, host string) (*http.Response, string) {
	w.Helper()
	r, err := http.NewRequest(method, w.url+path, nil)
	if err != nil {
		w.Fatal(err)
	}
	r.Host = host
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		w.Fatalf("%s %s: %v\n%s", method, path, err, w.output)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		w.Fatal(err)
	}
	return answer, string(body)
}

func (w *watched) wants(code int, method, path, host string) string {
	w.Helper()
	answer, body := w.ask(method, path, host)
	if answer.StatusCode != code {
		w.Errorf("%s %s for host %q: %s, want %d", method, path, host, answer.Status, code)
	}
	return body
}

func families(t *testing.T, text string) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	all, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("metrics: %v\n%s", err, text)
	}
	return all
}

// value is a metric's value, by its one label.
func value(f *dto.MetricFamily, label string) float64 {
	for _, m := range f.GetMetric() {
		if label == "" || len(m.Label) == 1 && m.Label[0].GetValue() == label {
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return -1
}

// agree compares metrics with a status.
func agree(t *testing.T, all map[string]*dto.MetricFamily, s *record.Status) {
	t.Helper()
	for _, c := range []struct {
		name, label string
		want        float64
	}{
		{"instances", "done", float64(s.Instances.Done)}, {"instances", "empty", float64(s.Instances.Empty)},
		{"instances", "pending", float64(s.Instances.Pending)}, {"targets", "done", float64(s.Targets.Done)},
		{"targets", "active", float64(s.Targets.Active)}, {"rows_total", "", float64(s.Rows)},
		{"datapoints_total", "", float64(s.Datapoints)}, {"requests_total", "", float64(s.Requests.Sent)},
		{"sessions_assumed_total", "", float64(s.Sessions.Assumed)}, {"cost_usd", "spent", s.CostUSD.Spent},
		{"job_state", s.State, 1}, {"build_info", "", 1}, {"parts", "", float64(s.Parts)},
	} {
		if got := value(all["cwharvest_"+c.name], c.label); got != c.want {
			t.Errorf("cwharvest_%s{%s} is %v, want %v", c.name, c.label, got, c.want)
		}
	}
}

func lint(t *testing.T, text string) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "cwharvest_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// TestRunShowsItself proves that a run serves its status to this machine while
// it works, and leaves its metrics in a file.
func TestRunShowsItself(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "x.prom")
	w := watch(t, 150, "--metrics-file", file)
	for _, path := range []string{"", "metrics", "healthz", "status.json", "history.json"} {
		w.wants(200, "GET", path, "")
		w.wants(200, "HEAD", path, "localhost:1")
		w.wants(200, "GET", path, "[::1]:9464")
		w.wants(405, "POST", path, "")
		w.wants(405, "DELETE", path, "")
		w.wants(403, "GET", path, "rebound.example.com")
	}
	w.wants(404, "GET", "elsewhere", "")
	w.checkHeaders()
	w.scrape()
	if err := w.run.Wait(); err != nil {
		t.Fatalf("run: %v\n%s", err, w.output)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lint(t, string(text))
	all := families(t, string(text))
	agree(t, all, w.status())
	if value(all["cwharvest_last_exit_code"], "") != 0 || value(all["cwharvest_last_end_timestamp_seconds"], "") <= 0 {
		t.Error("the file does not tell how the run ended")
	}
	if bytes.Contains(text, []byte("\ngo_")) || bytes.Contains(text, []byte("\nprocess_")) {
		t.Error("the file has names that are node_exporter's own")
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("beside the file: %v, %v", entries, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode of the file: %v, %v", info.Mode(), err)
	}
	w.check()
}

func (w *watched) checkHeaders() {
	w.Helper()
	answer, body := w.ask("GET", "", "")
	h := answer.Header
	csp := h.Get("Content-Security-Policy")
	if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || strings.Count(csp, "'sha256-") != 2 {
		w.Errorf("Content-Security-Policy: %s", csp)
	}
	if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" || h.Get("Referrer-Policy") != "no-referrer" {
		w.Errorf("headers: %v", h)
	}
	for _, never := range []string{"innerHTML", "https://", " style=", "onclick"} {
		if strings.Contains(body, never) {
			w.Errorf("the page has %q", never)
		}
	}
}

// scrape compares metrics with a status of the same transaction.
func (w *watched) scrape() {
	w.Helper()
	read := func() (s record.Status) {
		if err := json.Unmarshal([]byte(w.wants(200, "GET", "status.json", "")), &s); err != nil {
			w.Fatal(err)
		}
		return s
	}
	for range 20 {
		before, text, after := read(), w.wants(200, "GET", "metrics", ""), read()
		if before.Written.Equal(after.Written) {
			lint(w.T, text)
			agree(w.T, families(w.T, text), &after)
			return
		}
	}
	w.Error("no two reads of the same status")
}

// TestListenIsRefused proves that a wrong address is refused before any call.
func TestListenIsRefused(t *testing.T) {
	t.Parallel()
	taken, text := watch(t, 150), ""
	for _, c := range []struct{ listen, want string }{
		{strings.TrimSuffix(strings.TrimPrefix(taken.url, "http://"), "/"), "address already in use"},
		{":9464", "--listen-anywhere"},
		{"0.0.0.0:9464", "--listen-anywhere"},
		{"example.com:9464", "--listen-anywhere"},
		{"9464", "127.0.0.1:9464"},
	} {
		run, output := taken.command("run", "-c", "harvest.yaml", "--dir", "other", "--listen", c.listen)
		if err := run.Run(); err == nil || run.ProcessState.ExitCode() != exitUsage {
			t.Errorf("--listen %s: %v\n%s", c.listen, err, output)
		}
		if text = output.String(); !strings.Contains(text, c.want) {
			t.Errorf("--listen %s: %s", c.listen, text)
		}
	}
	if _, err := os.Stat(filepath.Join(taken.dir, "other")); err == nil {
		t.Error("a directory was created")
	}
}

func TestHistoryIsBounded(t *testing.T) {
	var h history
	start := time.Now()
	for i := range 5000 {
		s := &record.Status{Job: "j", Written: start.Add(time.Duration(i) * firstSamples), Datapoints: int64(i)}
		if i == 1001 {
			s.Targets.Waiting = 3
		}
		h.add(s, 1)
	}
	all, waits := h.all(), int64(0)
	for _, s := range all {
		waits = max(waits, s.Waiting)
	}
	if n := len(all); n > mostSamples || n < mostSamples/4 || all[n-1].Datapoints < 4980 || waits != 3 {
		t.Errorf("%d samples, last %+v, waits %d", n, all[n-1], waits)
	}
}
