package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"cwharvest/pipeline/awssim"
)

// TestPageInBrowser proves that the page in a real Chromium shows the numbers of
// status.json and the denied targets, without an error and without a request to
// another server. The program that drives Chromium is a module of its own under
// testdata/browser.
func TestPageInBrowser(t *testing.T) {
	needsProcesses(t)
	chromium := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil && chromium == "" {
			chromium = path
		}
	}
	if chromium == "" {
		t.Skip("no chromium, chromium-browser or google-chrome on PATH: the page is not looked at")
	}
	browser := filepath.Join(t.TempDir(), "browser")
	build := exec.Command("go", "build", "-o", browser, ".")
	build.Dir = filepath.Join("testdata", "browser")
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("what drives the browser cannot be built here: %v\n%s", err, out)
	}
	w := watch(t, 900)
	if err := w.sim.Inject(awssim.Fault{Kind: "access_denied", Account: "444455556666", Operation: "GetMetricData"}); err != nil {
		t.Fatal(err)
	}
	const told = "DENIED 444455556666 2 regions (NEW) refused:"
	if out, err := exec.Command(browser, chromium, w.url, t.ArtifactDir(), told).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, w.output)
	}
}
