package main

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"awssim": main, "call": call})
}

// call exits 1 if no simulated AWS answers at $AWS_ENDPOINT_URL.
func call() {
	response, err := http.Get(os.Getenv("AWS_ENDPOINT_URL") + "/_sim/stats")
	if err != nil || response.StatusCode != http.StatusOK {
		fmt.Fprintln(os.Stderr, response, err)
		os.Exit(1)
	}
}

// TestEnvironment proves that a shell can take the environment that awssim prints, in the background and in the foreground.
func TestEnvironment(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ +(eval .*bin/awssim.*)$`).FindString(string(readme))
	testscript.Run(t, testscript.Params{Dir: "testdata", RequireExplicitExec: true, Setup: func(env *testscript.Env) error {
		env.Setenv("README", line)
		return nil
	}})
}
