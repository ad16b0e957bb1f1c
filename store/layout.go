package store

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// Buckets of a job's database. Every nested key is described at its function.
var (
	bucketMeta      = []byte("meta")
	bucketTargets   = []byte("targets")   // target key -> targetRecord (JSON)
	bucketInstances = []byte("instances") // target key -> bucket: instance key -> Instance (JSON), never changed
	bucketProgress  = []byte("progress")  // target key -> bucket: instance key -> progress; absent: nothing yet
	bucketSpool     = []byte("spool")     // segment number -> bucket: spool key -> spool value
	bucketIntents   = []byte("intents")   // segment number -> intent (JSON)
	bucketParts     = []byte("parts")     // part name -> Part (JSON): the manifest
	bucketFailures  = []byte("failures")  // target key 0 instance key -> Failure (JSON), the first
	bucketGarbage   = []byte("garbage")   // name of an output file that is to be removed -> nothing

	keyJob  = []byte("job")  // jobRecord (JSON)
	keyPlan = []byte("spec") // Spec (JSON)

	keyDenied = []byte("denied") // targets that the job before was denied -> since when (JSON)
)

// schemaVersion is the one format of databases that this version reads and writes.
const schemaVersion = 3

func targetKey(t Target) []byte { return []byte(t.Account + "/" + t.Region) }

func segmentKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func failureKey(t Target, instance []byte) []byte {
	return append(append(targetKey(t), 0), instance...)
}

const secondsPerDay = 86400

// spoolKey sorts as the rows of parts do: by date first, since each date is a
// part of its own, then account, region, instance, series, window.
func spoolKey(day int64, t Target, instance string, series, window int) []byte {
	k := make([]byte, 0, 4+len(t.Account)+len(t.Region)+len(instance)+9)
	k = binary.BigEndian.AppendUint32(k, uint32(day))
	k = append(append(k, t.Account...), 0)
	k = append(append(k, t.Region...), 0)
	k = append(append(k, instance...), 0)
	k = binary.BigEndian.AppendUint16(k, uint16(series))
	return binary.BigEndian.AppendUint32(k, uint32(window))
}

// spoolName is a spool key taken apart.
type spoolName struct {
	day                       int64
	account, region, ns, dims string
	series, window            int
}

func parseSpoolKey(k []byte) (n spoolName, err error) {
	const tail = 1 + 2 + 4
	if len(k) < 4+tail {
		return n, fmt.Errorf("spool key %x is too short", k)
	}
	n.day = int64(binary.BigEndian.Uint32(k))
	n.series = int(binary.BigEndian.Uint16(k[len(k)-6:]))
	n.window = int(binary.BigEndian.Uint32(k[len(k)-4:]))
	fields := strings.Split(string(k[4:len(k)-tail]), "\x00")
	if len(fields) != 5 {
		return n, fmt.Errorf("spool key %x has %d fields, want 5", k, len(fields))
	}
	n.account, n.region, n.ns, n.dims = fields[0], fields[1], fields[2], fields[4]
	return n, nil
}

func dateOf(day int64) string {
	return time.Unix(day*secondsPerDay, 0).UTC().Format(time.DateOnly)
}
