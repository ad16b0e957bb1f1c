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

// The requests in flight bound the memory of a run. The garbage collector gets that much as its limit and works little
// below it; the limit of a smaller container lowers it further. GOGC and GOMEMLIMIT override this.
const (
	memoryBase       = 48 << 20
	memoryPerRequest = 1 << 20 // one request and the datapoints of its response

	garbagePercent = 400 // of the live heap: the limit is reached first
	containerShare = 0.9 // of the container's limit; the rest is for memory that Go does not count
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

// containerLimit returns the smallest memory limit of the process's control group and its visible parents, or MaxInt64 if
// there is none (cgroups(7): version 2 has memory.max, version 1 memory.limit_in_bytes).
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
		// In a container this may be a path of the host, of which only the end exists.
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
	if err != nil || n <= 0 || n > 1<<60 { // "max" means no limit; version 1 writes a huge number instead
		return math.MaxInt64
	}
	return n
}
