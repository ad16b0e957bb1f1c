package process

import (
	"os"
	"path/filepath"
	"testing"
)

// TestMessagesStayOutOfLogs proves that an unattended command prints nothing into the
// output of the run: it may be a secret.
func TestMessagesStayOutOfLogs(t *testing.T) {
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	stdin, stderr := os.Stdin, os.Stderr
	defer func() { os.Stdin, os.Stderr = stdin, stderr }()
	os.Stdin, os.Stderr = log, log // no terminal
	g := NewGroup()
	defer g.Close()
	if _, err := g.Provider("echo secret >&2; exit 1", nil).Retrieve(t.Context()); err == nil {
		t.Error("the command succeeded")
	}
	if info, err := log.Stat(); err != nil || info.Size() > 0 {
		t.Errorf("%d bytes printed: %v", info.Size(), err)
	}
}
