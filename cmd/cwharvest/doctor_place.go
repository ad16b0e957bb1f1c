package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"cwharvest/cmd/cwharvest/human"
	"cwharvest/pipeline/config"
	"cwharvest/store/durable"
	"cwharvest/store/place"
	"cwharvest/store/record"
)

type checkedDirectory struct {
	Path      string `json:"path"`
	FreeBytes uint64 `json:"free_bytes"`

	// NeededBytes is twice the size of the latest job, or 4 GiB before the first one.
	NeededBytes uint64 `json:"needed_bytes"`
	Finding
}

// checkDirectory checks the harvest directory, or the directory in which it would be created.
func checkDirectory(s *config.Config) checkedDirectory {
	d := checkedDirectory{Path: s.Dir, NeededBytes: needed(s)}
	there := nearest(s.Dir)
	probe, err := os.CreateTemp(there, ".cwharvest-doctor-*")
	if err != nil {
		d.Finding = Finding{Class: "directory", Message: fmt.Sprintf("cannot write: %v", err), hint: "let this user write there, or name another dir"}
		return d
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		d.Finding = Finding{Class: "directory", Message: err.Error()}
		return d
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(there, &disk); err != nil {
		d.Finding = Finding{Class: "directory", Message: fmt.Sprintf("cannot read the free space: %v", err)}
		return d
	}
	if d.FreeBytes = disk.Bavail * uint64(disk.Bsize); d.FreeBytes < d.NeededBytes {
		d.Finding = Finding{Class: "directory", Message: fmt.Sprintf("%s MB are free, but a job may need %s MB", human.Number(int64(d.FreeBytes/1e6)), human.Number(int64(d.NeededBytes/1e6))), hint: "make room, or name a dir on a larger disk"}
	}
	return d
}

// nearest returns the directory, or its nearest parent that exists.
func nearest(dir string) string {
	for _, err := os.Stat(dir); err != nil && filepath.Dir(dir) != dir; _, err = os.Stat(dir) {
		dir = filepath.Dir(dir)
	}
	return dir
}

func needed(s *config.Config) uint64 {
	const first = 4 << 30
	jobs, err := record.ReadJobs(s.Dir)
	if err != nil || len(jobs) == 0 {
		return first
	}
	return 2 * uint64(jobs[len(jobs)-1].Bytes)
}

// checkedPlace is the result for an output place in S3.
type checkedPlace struct {
	Place  string         `json:"place"`
	Probes []checkedProbe `json:"probes"`
}

// checkOut publishes, reads, lists and removes a small object under the prefix. It returns nil if the output is a local
// directory.
func (d *doctor) checkOut(ctx context.Context) *checkedPlace {
	if _, _, isS3, _ := place.ParseS3(d.config.Out); !isS3 {
		return nil
	}
	c := &checkedPlace{Place: d.config.Out}
	temporary, err := os.MkdirTemp(nearest(d.config.Dir), ".cwharvest-doctor-") // a minimal image has no /tmp
	if err != nil {
		c.Probes = append(c.Probes, checkedProbe{"temporary directory", Finding{Class: "directory", Message: err.Error()}})
		return c
	}
	defer os.RemoveAll(temporary)
	ctx, cancel := context.WithTimeout(ctx, d.flags.callTimeout)
	defer cancel()
	at, err := remotes(ctx, d.creds, d.config.S3)(d.config.Out, temporary, &durable.Files{})
	if err != nil {
		c.Probes = append(c.Probes, checkedProbe{"s3", finding(err)})
		return c
	}
	name := "date=0000-00-00/" + filepath.Base(temporary)
	const text = "cwharvest doctor checks whether it may write here\n"
	sum := sha256.Sum256([]byte(text))
	for _, step := range []struct {
		permission string
		try        func() error
	}{
		{"s3:PutObject", func() error {
			path, err := at.Temporary(name)
			if err == nil {
				err = os.WriteFile(path, []byte(text), 0o600)
			}
			if err == nil {
				err = at.Publish(ctx, name, hex.EncodeToString(sum[:]))
			}
			return err
		}},
		{"s3:GetObject", func() error { _, _, err := at.Sum(ctx, name, true); return err }},
		{"s3:ListBucket", func() error { _, err := at.List(ctx, name); return err }},
		{"s3:ListBucketMultipartUploads", func() error { return at.Sweep(ctx, filepath.Base(temporary)) }},
		{"s3:DeleteObject", func() error { return at.Remove(ctx, name) }},
	} {
		err := step.try()
		c.Probes = append(c.Probes, checkedProbe{step.permission, placeFinding(err)})
		if err != nil && step.permission == "s3:PutObject" {
			break // the other steps need the object
		}
	}
	return c
}

// placeFinding explains the error of a step in S3.
func placeFinding(err error) Finding {
	if err == nil {
		return Finding{}
	}
	f := finding(err)
	f.Message = err.Error()
	if text := cmp.Or(carriedHint(err), diskHint(err)); text != "" {
		f.Message, f.hint = f.Message+"; "+text, ""
	}
	return f
}
