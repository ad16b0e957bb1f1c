package main

import (
	"bufio"
	"bytes"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// A run's memory is bounded by its requests in flight, so the garbage
// collector is given just that much and left in peace below it; a container
// with less bounds it further. GOGC and GOMEMLIMIT overrule this.
const (
	memoryBase       = 48 << 20
	memoryPerRequest = 1 << 20 // the datapoints of one answer, and its request

	garbagePercent = 400 // of what lives: the limit comes first
	containerShare = 0.9 // of the container's limit; the rest is for what Go does not count
)

func limitMemory(inFlight int) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	limit := containerLimit(os.DirFS("/"))
	if limit < math.MaxInt64 {
		limit = int64(float64(limit) * containerShare)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
		limit = min(limit, memoryBase+int64(inFlight)*memoryPerRequest)
	}
	debug.SetMemoryLimit(limit)
}

// containerLimit is the least memory limit of the process's control group and
// those above it, as far as they can be seen; MaxInt64 where there is none
// (cgroups(7): version 2 has memory.max, version 1 memory.limit_in_bytes).
func containerLimit(root fs.FS) int64 {
	least := int64(math.MaxInt64)
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return least
	}
	for lines := bufio.NewScanner(bytes.NewReader(groups)); lines.Scan(); {
		_, rest, _ := strings.Cut(lines.Text(), ":") // hierarchy:controllers:path
		controllers, group, _ := strings.Cut(rest, ":")
		mount, name := "sys/fs/cgroup", "memory.max"
		switch {
		case controllers == "":
		case strings.Contains(","+controllers+",", ",memory,"):
			mount, name = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		// In a container the path may be the host's, and only its end exists.
		for dir := path.Join("/", group); ; dir = path.Dir(dir) {
			least = min(least, readLimit(root, path.Join(mount, dir, name)))
			if dir == "/" {
				break
			}
		}
	}
	return least
}

func readLimit(root fs.FS, name string) int64 {
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return math.MaxInt64
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil || n <= 0 || n > 1<<60 { // max; version 1 writes a huge number instead
		return math.MaxInt64
	}
	return n
}
