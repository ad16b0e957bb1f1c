package accounts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cwharvest/creds"
	"cwharvest/creds/partition"
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

// locate returns the account of an entry. An entry without regions gets the SDK's default region. The partition is that of the role or
// the regions, else that of the principal's region. A principal that cannot be loaded is reported by its targets.
func (r *Resolver) locate(ctx context.Context, e *config.Account) (Account, error) {
	own, loadErr := r.Manager.Region(ctx, creds.Source{Profile: e.Profile})
	if len(e.Regions) == 0 {
		region, err := r.defaultRegion(e, own, loadErr)
		if err != nil {
			return Account{ID: e.ID, Sources: r.sources(e)}, err
		}
		e.Regions = []string{region}
	}
	id := cmp.Or(e.Partition(), partition.Of(own))
	*e = e.InPartition(id)
	a := Account{ID: e.ID, Sources: r.sources(e), Home: home(e.Regions, own, id), Targets: e.Targets()}
	for i := range a.Sources {
		a.Sources[i].Home = a.Home
	}
	return a, nil
}

func (r *Resolver) defaultRegion(e *config.Account, own string, loadErr error) (string, error) {
	switch {
	case r.Config.Shard != (record.Shard{}):
		return "", &InputError{errors.New("--shard needs explicit regions: the default region may differ between machines"), "set regions in the file, or --region"}
	case loadErr != nil:
		return "", loadErr
	case own == "":
		return "", &InputError{errors.New("no region"), "give --region, regions in the file, AWS_REGION or one in the profile"}
	case e.RoleARN != "" && e.Partition() != "" && partition.Of(own) != e.Partition():
		return "", &InputError{fmt.Errorf("no region for %s: the default region %s is in partition %s", e.RoleARN, own, partition.Of(own)), "give regions in the file"}
	}
	return own, nil
}

// checkSessionName refuses a value of AWS_ROLE_SESSION_NAME that STS would refuse for every role.
func checkSessionName(name string) error {
	if name == "" {
		return nil
	}
	var e *config.Error
	if errors.As(config.CheckSessionName(name), &e) {
		return &InputError{fmt.Errorf("AWS_ROLE_SESSION_NAME: %w", e), e.Hint()}
	}
	return nil
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
		SessionName: e.RoleSessionName,
		Duration:    duration, Account: e.ID,
	}
	sources := []creds.Source{own}
	for _, f := range e.Fallbacks {
		other := creds.Source{
			Profile: f.Profile, InstanceRole: f.InstanceRole, RoleARN: f.RoleARN, ExternalID: f.ExternalID, Duration: duration, Account: e.ID,
			SessionName: e.RoleSessionName,
		}
		if f.Profile == "" && !f.InstanceRole {
			other.Profile, other.Via, other.ViaExternalID = own.Profile, own.Via, own.ViaExternalID
		}
		sources = append(sources, other)
	}
	return sources
}

// home returns the region in which STS and the list of enabled regions are asked: the first region that the entry names, unless the
// entry has patterns. EC2 lists them only in an enabled region, so then it is the first named one, or the principal's, that every account
// has enabled, or the first one of the partition.
func home(regions []string, own, id string) string {
	named := slices.DeleteFunc(slices.Clone(regions), func(region string) bool { return record.Target{Region: region}.IsPattern() })
	if len(named) == len(regions) {
		return named[0]
	}
	if partition.Of(own) == id {
		named = append(named, own)
	}
	for _, region := range named {
		if region != "" && partition.IsEnabled(region) {
			return region
		}
	}
	return cmp.Or(partition.First(id), own)
}
