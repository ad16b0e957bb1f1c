package record

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"path"
	"strings"
)

// Target is one account in one region: CloudWatch's quotas hold per target.
type Target struct {
	Account string `json:"account"`
	Region  string `json:"region"`
}

func (t Target) String() string { return t.Account + "/" + t.Region }

// AllRegions is the pattern of every enabled region.
const AllRegions = "enabled"

// IsPattern reports that the region stands for those of the account's enabled
// regions that it matches: "enabled", or patterns like "us-*,eu-*".
func (t Target) IsPattern() bool {
	return t.Region == AllRegions || strings.ContainsAny(t.Region, "*?,")
}

// Covers reports whether the target's region is or matches a region.
func (t Target) Covers(region string) bool {
	if t.Region == AllRegions {
		return true
	}
	for pattern := range strings.SplitSeq(t.Region, ",") {
		if ok, err := path.Match(pattern, region); err == nil && ok {
			return true
		}
	}
	return false
}

// Less orders targets as rows are sorted: by account, then region.
func (t Target) Less(o Target) bool {
	if t.Account != o.Account {
		return t.Account < o.Account
	}
	return t.Region < o.Region
}

func CompareTargets(a, b Target) int {
	switch {
	case a.Less(b):
		return -1
	case b.Less(a):
		return 1
	}
	return 0
}

// Shard is the share of all targets that one of several machines harvests. Each
// has a harvest directory of its own; they may share a place of output. The zero
// Shard holds everything.
type Shard struct {
	Number int `json:"number"` // from 1
	Of     int `json:"of"`
}

func (s Shard) String() string {
	if s == (Shard{}) {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.Number, s.Of)
}

// Holds reports whether a target is of the shard. That depends on the two names
// alone, so that shards agree without asking each other, also when accounts come
// and go between their starts. A pattern is of each: what it stands for is not.
func (s Shard) Holds(t Target) bool {
	if s == (Shard{}) || t.IsPattern() {
		return true
	}
	sum := sha256.Sum256([]byte(t.String()))
	return binary.BigEndian.Uint64(sum[:])%uint64(s.Of) == uint64(s.Number-1)
}

// name is part of the names of the shard's jobs and of its claim.
func (s Shard) Name() string { return fmt.Sprintf("shard-%d-of-%d", s.Number, s.Of) }

// ShardError says that a harvest directory is another shard's, or no shard's:
// targets would be harvested twice there, and others never.
type ShardError struct {
	Dir      string
	Has, Not Shard
}

func (e *ShardError) Error() string {
	const next = ", or another --dir"
	switch {
	case e.Has == (Shard{}):
		return fmt.Sprintf("%s is harvested without shards, and not by %s: leave --shard out, or give another --dir", e.Dir, e.Not)
	case e.Not == (Shard{}):
		return fmt.Sprintf("%s is the directory of shard %s: give --shard %s%s", e.Dir, e.Has, e.Has, next)
	}
	return fmt.Sprintf("%s is the directory of shard %s, and not of %s: give --shard %s%s", e.Dir, e.Has, e.Not, e.Has, next)
}
