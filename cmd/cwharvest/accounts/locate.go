package accounts

import (
	"context"
	"errors"
	"strings"
	"time"

	"cwharvest/creds"
	"cwharvest/pipeline/cloudwatch"
	"cwharvest/pipeline/config"
	"cwharvest/store/record"
)

// JobLength returns the expected length of a job: three times the time for its largest target at the speed of the quota,
// at least one hour and at most twelve, which are the limits of a session.
func (r *Resolver) JobLength() time.Duration {
	const margin = 3
	quota := cloudwatch.DatapointsPerSecond(cloudwatch.Oldest) * r.Config.QuotaShare
	length := time.Duration(float64(margin*r.Points)/quota) * time.Second
	return min(max(length.Round(time.Hour), time.Hour), 12*time.Hour)
}

// locate returns the account of an entry. An entry without regions gets the SDK's default region.
func (r *Resolver) locate(ctx context.Context, e *config.Account) (Account, error) {
	a := Account{ID: e.ID, Sources: r.sources(e)}
	if len(e.Regions) == 0 {
		region, err := r.defaultRegion(ctx, a.Sources[0])
		if err != nil {
			return a, err
		}
		e.Regions = []string{region}
	}
	a.Home, a.Targets = home(e.Regions), e.Targets()
	return a, nil
}

func (r *Resolver) defaultRegion(ctx context.Context, src creds.Source) (string, error) {
	if r.Config.Shard != (record.Shard{}) {
		return "", &InputError{errors.New("--shard needs explicit regions: the default region may differ between machines"), "set regions in the file, or --region"}
	}
	cfg, err := r.Manager.Config(ctx, "", src)
	if err != nil {
		return "", err
	}
	if cfg.Region == "" {
		return "", &InputError{errors.New("no region"), "give --region, regions in the file, AWS_REGION or one in the profile"}
	}
	return cfg.Region, nil
}

// sources returns the credential sources of an entry: its own first, then its fallbacks. A fallback that names no
// principal signs with the principal of the entry, through the same intermediate role.
func (r *Resolver) sources(e *config.Account) []creds.Source {
	duration := e.SessionDuration
	if duration == config.Auto {
		duration = r.JobLength()
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
