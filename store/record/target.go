package record

import (
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
