package main

import (
	"os"
	"path/filepath"
	"runtime/pprof"
	"testing"
)

// profileFile is the environment variable that names the file profiled writes.
const profileFile = "TEST_PROFILE_OF_CWHARVEST"

// profiled is the program itself, which writes a profile of its processor time.
func profiled() {
	file, err := os.Create(os.Getenv(profileFile))
	if err != nil {
		panic(err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		panic(err)
	}
	code := execute(os.Args[1:], os.Stdout, os.Stderr)
	pprof.StopCPUProfile()
	if err := file.Close(); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// TestProfile writes a profile of a whole run for each shape into the directory
// that CWHARVEST_PROFILES names; `make profile` shows the shares of fetching and
// decoding, of commits, and of building parts.
func TestProfile(t *testing.T) {
	dir := os.Getenv("CWHARVEST_PROFILES")
	if dir == "" {
		t.Skip("writes profiles into the directory that CWHARVEST_PROFILES names")
	}
	for _, s := range benchShapes {
		n := benchNight(t, s, 200, unlimited)
		n.program = "profiled"
		n.env = append(n.env, profileFile+"="+filepath.Join(dir, s.name+".prof"))
		n.run("--quiet")
	}
}
