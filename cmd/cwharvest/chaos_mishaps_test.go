package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"cwharvest/pipeline/awssim"
	"cwharvest/store/place/s3test"
	"cwharvest/store/record"
)

// begin starts a mishap.
func (c *chaos) begin(m *mishap) {
	c.Helper()
	c.Log(m)
	c.applied[m.kind]++
	switch m.kind {
	case "kill":
		c.signal(syscall.SIGKILL)
	case "interrupt":
		c.signal(syscall.SIGTERM)
	case "suspend":
		c.signal(syscall.SIGSTOP)
	case "clock":
		c.jump(m.by)
	case "server_clock":
		c.ahead.Store(int64(m.by))
		c.reach(c.clock)
	case "disk_full":
		c.resize(m.room)
	case "s3_down":
		c.breakBucket(s3test.Fault{Match: ".", Status: 503, Code: "SlowDown", Count: 1 << 30})
	case "s3_lost":
		c.breakBucket(s3test.Fault{Match: "^PUT|^POST", Lost: true, Count: 3})
	case "key_expired":
		c.inject(awssim.Fault{Kind: m.kind, Key: awssim.NumberedKey(c.key).ID})
	default:
		c.inject(m.fault)
	}
}

// end ends a mishap.
func (c *chaos) end(m *mishap) {
	c.Helper()
	switch m.kind {
	case "suspend":
		c.signal(syscall.SIGCONT)
	case "disk_full":
		c.resize(0)
	case "s3_down", "s3_lost":
		c.breakBucket(s3test.Fault{})
	case "key_expired":
		c.key = c.key%awssim.NumberedKeys + 1
		c.writeKey()
		c.sim.Clear(m.kind) // the fault of a key that is no longer used
	case "quota":
		c.inject(awssim.Fault{Kind: m.kind})
	default:
		c.sim.Clear(m.kind)
	}
}

func (c *chaos) signal(s syscall.Signal) {
	c.Helper()
	if c.process == nil {
		return
	}
	c.sent[s] = true
	if err := c.process.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.Errorf("%v: %v", s, err)
	}
}

func (c *chaos) inject(f awssim.Fault) {
	c.Helper()
	if err := c.sim.Inject(f); err != nil {
		c.Error(err)
	}
}

// breakBucket injects a fault into S3, if parts are published there.
func (c *chaos) breakBucket(f s3test.Fault) {
	if c.bucket != nil {
		c.bucket.Fault(f)
	}
}

// jump sets the clock for the next run and kills the current one. It does nothing
// before the first job, because no job records the start of the harvest yet.
func (c *chaos) jump(by time.Duration) {
	jobs, err := record.ReadJobs(filepath.Join(c.dir, "harvest"))
	if err != nil || len(jobs) == 0 {
		return
	}
	c.setClock(c.clock.Add(by))
	c.signal(syscall.SIGKILL)
}

func (c *chaos) setClock(to time.Time) {
	c.clock = to
	c.reach(to)
}

// mountDisk mounts a small disk, which can fill up, as the harvest directory.
func (c *chaos) mountDisk() {
	c.Helper()
	disk := filepath.Join(c.dir, "harvest")
	if err := os.Mkdir(disk, 0o777); err != nil {
		c.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, fmt.Sprintf("size=%d", diskSize)); err != nil {
		c.Logf("no disk is ever full: that needs root and the right to mount: %v", err)
		return
	}
	c.disk = true
	c.Cleanup(func() {
		// Detached, because a process that another test is starting may hold files open.
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			c.Error(err)
		}
	})
}

// resize leaves room bytes free on the disk; 0 restores its full size.
func (c *chaos) resize(room int64) {
	c.Helper()
	if !c.disk {
		return
	}
	disk := filepath.Join(c.dir, "harvest")
	var err error
	for range 100 { // a run may write in between, so that the new size is too small
		size := int64(diskSize)
		if room > 0 {
			var fs syscall.Statfs_t
			if err := syscall.Statfs(disk, &fs); err != nil {
				c.Fatal(err)
			}
			size = int64(fs.Blocks-fs.Bfree)*fs.Bsize + room
		}
		if err = syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", size)); err == nil {
			return
		}
	}
	c.Fatalf("resize the disk: %v", err)
}

// writeKey writes the current base key to the credentials file, as a person would.
func (c *chaos) writeKey() {
	c.Helper()
	path, key := filepath.Join(c.dir, "credentials"), awssim.NumberedKey(c.key)
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", key.ID, key.Secret)
	if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
		c.Fatal(err)
	}
}

// reach records a local time. What is due then follows AWS's clock.
func (c *chaos) reach(local time.Time) {
	if at := local.Add(time.Duration(c.ahead.Load())); at.After(c.latest) {
		c.latest = at
	}
	if local.After(c.latest) {
		c.latest = local
	}
}
