package record

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"path"
	"strings"
)

// Target is one account in one region. CloudWatch applies its quotas per target.
type Target struct {
	Account string `json:"account"`
	Region  string `json:"region"`
}

func (t Target) String() string { return t.Account + "/" + t.Region }

// AllRegions is the pattern of every enabled region.
const AllRegions = "enabled"

// IsPattern reports whether other targets will replace this one: its region is a pattern
// for the account's enabled regions, "enabled" or a list such as "us-*,eu-*", or its
// account is not known yet.
func (t Target) IsPattern() bool {
	return t.Region == AllRegions || strings.ContainsAny(t.Region, "*?,") || t.IsUnidentified()
}

// IsUnidentified reports whether the account is not known yet. It has a name with a space
// then.
func (t Target) IsUnidentified() bool { return strings.Contains(t.Account, " ") }

// Covers reports whether the target's region equals or matches a region.
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

// Compare orders targets for slices.SortFunc, as Less does.
func (t Target) Compare(o Target) int {
	switch {
	case t.Less(o):
		return -1
	case o.Less(t):
		return 1
	}
	return 0
}

// Shard is one machine's share of all targets. Each shard has its own harvest
// directory; shards may share a place of output. The zero Shard holds every target.
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

// Holds reports whether a target belongs to the shard. It depends only on the
// names of account and region: shards agree without communication, even if
// accounts come and go between their starts. A pattern belongs to every shard, and
// the regions that it matches are divided.
func (s Shard) Holds(t Target) bool {
	if s == (Shard{}) || t.IsPattern() {
		return true
	}
	sum := sha256.Sum256([]byte(t.String()))
	return binary.BigEndian.Uint64(sum[:])%uint64(s.Of) == uint64(s.Number-1)
}

// Name returns the shard's part in the names of its jobs and of its claim.
func (s Shard) Name() string { return fmt.Sprintf("shard-%d-of-%d", s.Number, s.Of) }

// ShardError reports a harvest directory that belongs to another shard or to none.
// Some targets would be harvested twice there, and others never.
type ShardError struct {
	Dir      string
	Has, Not Shard
}

func (e *ShardError) Error() string {
	switch {
	case e.Has == (Shard{}):
		return fmt.Sprintf("%s is harvested without shards, and not by %s", e.Dir, e.Not)
	case e.Not == (Shard{}):
		return fmt.Sprintf("%s is the directory of shard %s", e.Dir, e.Has)
	}
	return fmt.Sprintf("%s is the directory of shard %s, and not of %s", e.Dir, e.Has, e.Not)
}

// Failure is the reason why something could not be harvested.
type Failure struct {
	Class   string `json:"class"`          // refused, poison, retention_passed, ...
	Message string `json:"message"`        // the fact and, after a semicolon, the hint
	Hint    string `json:"hint,omitempty"` // the next step alone; records of earlier versions have none
}
