// Package partition holds the partitions of AWS and their regions. Keys, roles and
// ARNs are valid in one partition only.
//
// The table is that of the SDK (internal/endpoints/awsrulesfn/partitions.json), which
// the SDK does not export. A region that AWS announced later belongs to the partition
// whose form it has; only Known does not know it.
package partition

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

//go:generate go test -run TestTable -update .

// aws is the partition of everything that no other partition claims, as in the SDK.
const aws = "aws"

// data is one partition in the table.
type data struct {
	id      string
	first   string // the region of its global services, which is always enabled
	form    *regexp.Regexp
	regions []string // sorted
}

// Of returns the partition of a region. For a pattern such as "cn-*" it returns the
// partition of the known regions that it matches, or "" if they are in several.
func Of(region string) string {
	if strings.ContainsAny(region, "*?") {
		return ofPattern(region)
	}
	for _, p := range table {
		if p.form.MatchString(region) || slices.Contains(p.regions, region) {
			return p.id
		}
	}
	return aws
}

func ofPattern(pattern string) (id string) {
	for _, p := range table {
		matches := slices.ContainsFunc(p.regions, func(region string) bool {
			ok, err := path.Match(pattern, region)
			return ok && err == nil
		})
		switch {
		case matches && id != "":
			return ""
		case matches:
			id = p.id
		}
	}
	return id
}

// OfARN returns the partition of an ARN, or "" if it is not one.
func OfARN(arn string) string {
	prefix, rest, _ := strings.Cut(arn, ":")
	id, _, _ := strings.Cut(rest, ":")
	if prefix != "arn" {
		return ""
	}
	return id
}

// First returns the region of a partition that every account has enabled; for a
// partition that the table lacks, "".
func First(id string) string {
	for _, p := range table {
		if p.id == id {
			return p.first
		}
	}
	return ""
}

// enabledByDefault are the regions of partition aws that need not be enabled; later ones
// are off until an account enables them (AWS Account Management Reference Guide,
// "Enable or disable AWS Regions"). Other partitions have no such regions.
var enabledByDefault = []string{
	"ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-southeast-1", "ap-southeast-2", "ca-central-1",
	"eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3", "sa-east-1", "us-east-1", "us-east-2", "us-west-1", "us-west-2",
}

// IsEnabled reports whether every account has enabled a region.
func IsEnabled(region string) bool {
	return slices.Contains(enabledByDefault, region) || Of(region) != aws
}

// Known reports whether the table has a region.
func Known(region string) bool {
	return slices.ContainsFunc(table, func(p data) bool { return slices.Contains(p.regions, region) })
}

// IsRegion reports whether a name has the form of a region in some partition.
func IsRegion(name string) bool {
	return slices.ContainsFunc(table, func(p data) bool { return p.form.MatchString(name) })
}
