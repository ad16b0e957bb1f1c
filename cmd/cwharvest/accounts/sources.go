package accounts

import (
	"strings"
	"time"

	"cwharvest/creds"
	"cwharvest/pipeline/cloudwatch"
	"cwharvest/pipeline/config"
	"cwharvest/store/record"
)

// JobLength returns how long a job takes whose largest target has this many estimated datapoints: three times the time
// at the share of the quota that it may use, at least one hour and at most twelve, which are the limits of a session.
func JobLength(points int64, share float64) time.Duration {
	const margin = 3
	quota := cloudwatch.DatapointsPerSecond(cloudwatch.Oldest) * share
	length := time.Duration(float64(margin*points)/quota) * time.Second
	return min(max(length.Round(time.Hour), time.Hour), 12*time.Hour)
}

// sources returns the credential sources of an entry: its own first, then its fallbacks. A fallback that names no
// principal signs with the principal of the entry, through the same intermediate role.
func (r *Resolver) sources(e *config.Account) []creds.Source {
	duration := e.SessionDuration
	if duration == config.Auto {
		duration = r.JobLength
	}
	own := creds.Source{
		Profile: e.Profile, RoleARN: e.RoleARN, ExternalID: e.ExternalID, Via: e.Via.RoleARN, ViaExternalID: e.Via.ExternalID,
		Duration: duration, Account: e.ID,
	}
	sources := []creds.Source{own}
	for _, f := range e.Fallbacks {
		other := creds.Source{
			Profile: f.Profile, InstanceRole: f.InstanceRole, RoleARN: f.RoleARN, ExternalID: f.ExternalID, Duration: duration, Account: e.ID,
		}
		if f.Profile == "" && !f.InstanceRole {
			other.Profile, other.Via, other.ViaExternalID = own.Profile, own.Via, own.ViaExternalID
		}
		sources = append(sources, other)
	}
	return sources
}

// Principals returns the distinct principals that sign for the accounts, in order of first use.
func Principals(all []Account) (principals []creds.Source) {
	seen := map[creds.Source]bool{}
	for _, a := range all {
		for _, s := range a.Sources {
			p := creds.Source{Profile: s.Profile, InstanceRole: s.InstanceRole}
			if !seen[p] {
				seen[p] = true
				principals = append(principals, p)
			}
		}
	}
	return principals
}

// home returns the region in which an account's enabled regions are listed: the first region that the entry names, or
// one that is always enabled in the partition of its patterns.
func home(regions []string) string {
	for _, region := range regions {
		if !(record.Target{Region: region}).IsPattern() {
			return region
		}
	}
	for _, pattern := range regions {
		switch {
		case strings.HasPrefix(pattern, "cn-"):
			return "cn-north-1"
		case strings.HasPrefix(pattern, "us-gov-"):
			return "us-gov-west-1"
		}
	}
	return "us-east-1"
}
