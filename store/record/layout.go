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

// Buckets of a job's database; doc.go has the table of their keys and values.
var (
	BucketMeta      = []byte("meta")
	BucketTargets   = []byte("targets")
	BucketInstances = []byte("instances")
	BucketProgress  = []byte("progress")
	BucketSpool     = []byte("spool")
	BucketIntents   = []byte("intents")
	BucketParts     = []byte("parts")
	BucketFailures  = []byte("failures")
	bucketGarbage   = []byte("garbage")
	bucketLost      = []byte("lost") // only after a repair
)

// Keys of BucketMeta.
var (
	KeyJob    = []byte("job")    // JobRecord (JSON)
	KeyPlan   = []byte("spec")   // Plan (JSON)
	KeyDenied = []byte("denied") // targets that were denied in the previous job -> since when (JSON)
)

// SchemaVersion is the one format of databases that this version reads and writes.
const SchemaVersion = 3

// TargetKey returns ACCOUNT/REGION.
func TargetKey(t Target) []byte { return []byte(t.Account + "/" + t.Region) }

// SegmentKey returns the number in 8 bytes, big-endian.
func SegmentKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// FailureKey returns the target's key, a zero byte and the instance's key.
func FailureKey(t Target, instance []byte) []byte {
	return append(append(TargetKey(t), 0), instance...)
}

const SecondsPerDay = 86400

// SpoolKey returns the key of a spool value. Keys sort as the rows of parts do: by
// date, since each date becomes a part, then by account, region, instance, series
// and window.
func SpoolKey(day int64, t Target, instance string, series, window int) []byte {
	k := make([]byte, 0, 4+len(t.Account)+len(t.Region)+len(instance)+9)
	k = binary.BigEndian.AppendUint32(k, uint32(day))
	k = append(append(k, t.Account...), 0)
	k = append(append(k, t.Region...), 0)
	k = append(append(k, instance...), 0)
	k = binary.BigEndian.AppendUint16(k, uint16(series))
	return binary.BigEndian.AppendUint32(k, uint32(window))
}

// SpoolName holds the fields of a spool key.
type SpoolName struct {
	day                                    int64
	Account, Region, Namespace, Dimensions string
	Series, window                         int
}

// ParseSpoolKey is the inverse of SpoolKey.
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

// DateOf returns the date of a day that is counted from 1970, as 2006-01-02.
func DateOf(day int64) string {
	return time.Unix(day*SecondsPerDay, 0).UTC().Format(time.DateOnly)
}

func jobFile(dir, id, suffix string) string { return filepath.Join(dir, "jobs", id+suffix) }

// ReadJSON decodes a JSON file. Errors name the file.
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
