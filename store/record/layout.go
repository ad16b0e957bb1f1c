package record

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Buckets of a job's database. Every nested key is described at its function.
var (
	BucketMeta      = []byte("meta")
	BucketTargets   = []byte("targets")   // target key -> targetRecord (JSON)
	BucketInstances = []byte("instances") // target key -> bucket: instance key -> Instance (JSON), never changed
	BucketProgress  = []byte("progress")  // target key -> bucket: instance key -> progress; absent: nothing yet
	BucketSpool     = []byte("spool")     // segment number -> bucket: spool key -> spool value
	BucketIntents   = []byte("intents")   // segment number -> intent (JSON)
	BucketParts     = []byte("parts")     // part name -> Part (JSON): the manifest
	BucketFailures  = []byte("failures")  // target key 0 instance key -> Failure (JSON), the first
	bucketGarbage   = []byte("garbage")   // name of an output file that is to be removed -> nothing

	KeyJob  = []byte("job")  // jobRecord (JSON)
	KeyPlan = []byte("spec") // Spec (JSON)

	KeyDenied = []byte("denied") // targets that the job before was denied -> since when (JSON)
)

// schemaVersion is the one format of databases that this version reads and writes.
const SchemaVersion = 3

func TargetKey(t Target) []byte { return []byte(t.Account + "/" + t.Region) }

func SegmentKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func FailureKey(t Target, instance []byte) []byte {
	return append(append(TargetKey(t), 0), instance...)
}

const SecondsPerDay = 86400

// spoolKey sorts as the rows of parts do: by date first, since each date is a
// part of its own, then account, region, instance, series, window.
func SpoolKey(day int64, t Target, instance string, series, window int) []byte {
	k := make([]byte, 0, 4+len(t.Account)+len(t.Region)+len(instance)+9)
	k = binary.BigEndian.AppendUint32(k, uint32(day))
	k = append(append(k, t.Account...), 0)
	k = append(append(k, t.Region...), 0)
	k = append(append(k, instance...), 0)
	k = binary.BigEndian.AppendUint16(k, uint16(series))
	return binary.BigEndian.AppendUint32(k, uint32(window))
}

// spoolName is a spool key taken apart.
type SpoolName struct {
	day                                    int64
	Account, Region, Namespace, Dimensions string
	Series, window                         int
}

func ParseSpoolKey(k []byte) (n SpoolName, err error) {
	const tail = 1 + 2 + 4
	if len(k) < 4+tail {
		return n, fmt.Errorf("spool key %x is too short", k)
	}
	n.day = int64(binary.BigEndian.Uint32(k))
	n.Series = int(binary.BigEndian.Uint16(k[len(k)-6:]))
	n.window = int(binary.BigEndian.Uint32(k[len(k)-4:]))
	fields := strings.Split(string(k[4:len(k)-tail]), "\x00")
	if len(fields) != 5 {
		return n, fmt.Errorf("spool key %x has %d fields, want 5", k, len(fields))
	}
	n.Account, n.Region, n.Namespace, n.Dimensions = fields[0], fields[1], fields[2], fields[4]
	return n, nil
}

func DateOf(day int64) string {
	return time.Unix(day*SecondsPerDay, 0).UTC().Format(time.DateOnly)
}

func jobFile(dir, id, suffix string) string { return filepath.Join(dir, "jobs", id+suffix) }

func ReadJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
