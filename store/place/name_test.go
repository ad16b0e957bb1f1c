package place

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cwharvest/store/durable"
)

func FuzzNames(f *testing.F) {
	for _, name := range []string{
		"date=2026-01-02/job-000001.parquet", "../instances/date=2026-01-02/job.parquet", "../../x", "..", "/etc/passwd", "../x", "a/../../x",
		"../instances/../../x", "../instances/", "../instances/..", "../instances/.", "", ".", "./", "a/", "a//b", "a\x00b", `..\x`, "instances/../../instances/x", "date=../../x/y",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if checkName(name) != nil {
			return
		}
		const data = "/harvest/data"
		l := NewLocal(data, &durable.Files{})
		if p := l.path(name); !strings.HasPrefix(p, data+"/") && !strings.HasPrefix(p, "/harvest/instances/") {
			t.Errorf("%q is %s", name, p)
		}
		s := &S3{bucket: "b", prefix: "lake/data"}
		if k := s.key(name); !strings.HasPrefix(k, "lake/data/") && !strings.HasPrefix(k, "lake/instances/") {
			t.Errorf("%q is %s", name, k)
		}
	})
}

// TestNamesStayInside checks that every method returns an error for a name that leads
// out of the place.
func TestNamesStayInside(t *testing.T) {
	outer := t.TempDir()
	victim := filepath.Join(outer, "victim")
	if err := os.WriteFile(victim, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := startS3(t)
	for _, p := range []Place{NewLocal(filepath.Join(outer, "harvest", "data"), &durable.Files{}), s} {
		for _, name := range []string{"../../victim", "date=2026-01-01/../../../victim", "../instances/../../victim", victim} {
			_, makeErr := p.Temporary(name)
			_, _, sumErr := p.Sum(context.Background(), name, true)
			_, openErr := p.Open(context.Background(), name)
			for doing, err := range map[string]error{
				"temporary": makeErr, "sum": sumErr, "open": openErr,
				"remove": p.Remove(context.Background(), name), "publish": p.Publish(context.Background(), name, "00"),
			} {
				if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "leads out of the output location") {
					t.Errorf("%s %s of %s: %v", doing, name, p, err)
				}
			}
		}
	}
	if text, err := os.ReadFile(victim); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
}

// TestCreateFollowsNoLink checks that a temporary file is not created through a
// symbolic link.
func TestCreateFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := errors.Join(os.WriteFile(victim, []byte("mine"), 0o600), os.Symlink(victim, filepath.Join(dir, "_part"))); err != nil {
		t.Fatal(err)
	}
	if _, err := (&durable.Files{}).Create(filepath.Join(dir, "_part"), 0o666); err == nil {
		t.Error("created through a link")
	}
	if text, err := os.ReadFile(victim); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
}
