package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"
)

// TestDiskFull proves that a run waits while its disk is full, no matter which
// write failed, and status reports it. With room again the run continues, and
// every row exists once.
func TestDiskFull(t *testing.T) {
	besideOthers(t)
	for _, room := range sized([]int64{400, 4000}, []int64{400, 1000, 2500, 4000, 5500}) {
		t.Run(fmt.Sprintf("%d KiB free", room), func(t *testing.T) { fillDisk(t, room<<10) })
	}
}

func fillDisk(t *testing.T, room int64) {
	const size = 80 << 20
	n := newNight(t, awssim.Config{
		Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}, Instances: 600, Latency: 5 * time.Millisecond,
	}, 5*time.Minute, 1, []string{"CPUUtilization", "NetworkIn", "NetworkOut"}, []string{"Average", "Maximum"}, "part_size: 2MB\n")
	disk := filepath.Join(n.dir, "harvest")
	if err := os.Mkdir(disk, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("a small disk needs root and the right to mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, size-room), 0o666); err != nil {
		t.Fatal(err)
	}
	c, output := n.command("run", "-c", "harvest.yaml")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- c.Wait() }()
	if !n.waitForTrouble(exited) {
		t.Fatalf("the disk was not full, or it ended the run:\n%s", output)
	}
	text, shown := n.command("status", "harvest")
	if err := text.Run(); err != nil || !strings.Contains(shown.String(), "WAITING") || !strings.Contains(shown.String(), "no space left on device") {
		t.Errorf("status: %v\n%s", err, shown)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := <-exited; err != nil {
		t.Fatalf("run: %v\n%s", err, output)
	}
	n.check()
}

// waitForTrouble waits until status reports a full disk; it returns false when the
// run ends first.
func (n *night) waitForTrouble(exited chan error) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(hangAfter); time.Now().Before(deadline); {
		select {
		case err := <-exited:
			exited <- errors.Join(err)
			return false
		case <-tick.C:
		}
		c, output := n.command("status", "harvest", "--json")
		if c.Run() == nil && strings.Contains(output.String(), "no space left on device") {
			return true
		}
	}
	return false
}
