// Package s3test starts an S3 server for tests in a separate process.
package s3test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Server is a running S3 server. It accepts any access keys, and only path-style
// requests.
type Server struct {
	URL string
	t   testing.TB
}

// Fault makes the next Count matching requests fail, or all of them if Count is
// negative. The zero value clears the current fault.
type Fault struct {
	Match  string // regular expression for "METHOD path?query"; empty for every request
	Count  int
	Status int    // status of the error response
	Code   string // error code of that response
	Cut    int64  // close the connection after this many bytes of the request's or the response's body
	Lost   bool   // perform the request, and close the connection instead of responding
}

// binary builds the server once per process. The executable is in Go's build cache,
// so it needs no removal.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := output("", "list", "-f", "{{.Dir}}", "cwharvest/store/place")
	if err != nil {
		return "", err
	}
	return output(filepath.Join(dir, "testdata", "s3server"), "tool", "-n", "s3server")
})

func output(dir string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off") // not with the flags of the test
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, &problems)
	}
	return strings.TrimSpace(string(out)), nil
}

// Start starts a server with one empty bucket, which it holds in memory. The server
// stops at the end of the test.
func Start(t testing.TB, bucket string) *Server {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, bucket)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close() // stops the server, as the end of this process does
		if err := cmd.Wait(); err != nil {
			t.Errorf("s3server: %v", err)
		}
	})
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("s3server printed no URL: %v", err)
	}
	return &Server{URL: strings.TrimSpace(url), t: t}
}

// Client returns a client that does not retry.
func (s *Server) Client() *s3.Client {
	return s3.New(s3.Options{
		Region: "eu-central-1", BaseEndpoint: &s.URL, UsePathStyle: true, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("AKIATEST", "secret", ""),
	})
}

// Fault replaces the current fault.
func (s *Server) Fault(f Fault) {
	s.t.Helper()
	body, err := json.Marshal(f)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.Post(s.URL+"/_fault", "application/json", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		s.t.Fatalf("set a fault: %s", resp.Status)
	}
}

// Stats returns the number of requests for each HTTP method.
func (s *Server) Stats() map[string]int {
	s.t.Helper()
	resp, err := http.Get(s.URL + "/_stats")
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	var stats map[string]int
	if err := json.NewDecoder(resp.Body).Decode(&stats); err != nil {
		s.t.Fatal(err)
	}
	return stats
}
