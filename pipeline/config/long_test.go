package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLongFilesAreRefused reads files that cannot be input, such as a disk image. They
// are not read to the end.
func TestLongFilesAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "harvest.yaml")
	if err := os.WriteFile(path, bytes.Repeat([]byte("# x\n"), maxConfigSize/4+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); !IsError(err) || !strings.Contains(err.Error(), "longer than 4 MiB") {
		t.Errorf("%v", err)
	}
	if _, err := ReadFile("/dev/zero"); !IsError(err) {
		t.Errorf("%v", err)
	}
	for name, text := range map[string]string{"a quote that is never closed": `id` + "\n\"", "comments": ""} {
		if _, err := ReadAccounts("accounts.csv", endless{strings.NewReader(text)}); err == nil || !strings.Contains(err.Error(), "longer than 64 MiB") {
			t.Errorf("%s: %.300v", name, err)
		}
	}
}

// endless returns comments without end.
type endless struct{ first *strings.Reader }

func (e endless) Read(p []byte) (int, error) {
	if e.first.Len() > 0 {
		return e.first.Read(p)
	}
	return copy(p, strings.Repeat("#\n", (len(p)+1)/2)), nil
}
