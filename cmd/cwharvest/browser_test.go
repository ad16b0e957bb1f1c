package main

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// The page in a real Chromium shows the numbers of status.json, without an error
// and without asking anybody else. The program that looks is a module of its own
// under testdata/browser.
func TestPageInBrowser(t *testing.T) {
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
	shots := t.ArtifactDir()
	if out, err := exec.Command(browser, chromium, w.url, shots).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, w.output)
	}
}
