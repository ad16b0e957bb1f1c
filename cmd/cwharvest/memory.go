package main

import (
	"os"
	"runtime/debug"
)

// A run's memory is bounded by its requests in flight, so the garbage
// collector is given just that much and left in peace below it. GOGC and
// GOMEMLIMIT overrule this.
const (
	memoryBase       = 48 << 20
	memoryPerRequest = 1 << 20 // the datapoints of one answer, and its request

	garbagePercent = 400 // of what lives: the limit comes first
)

func limitMemory(inFlight int) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetGCPercent(garbagePercent)
	debug.SetMemoryLimit(memoryBase + int64(inFlight)*memoryPerRequest)
}
