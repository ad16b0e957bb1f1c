package accounts

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"cwharvest/creds/partition"
	"cwharvest/pipeline"
	"cwharvest/pipeline/config"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

const (
	lookupTimeout = 10 * time.Second // of all lookups together: a run must not wait for each of a thousand accounts
	mostLookups   = 3                // accounts that are tried in a partition
)

// checkRegions looks up the named regions that the table of this version lacks: AWS may have announced them since, or they are misspelled.
// A region that cannot be looked up is used as it is.
func (r *Resolver) checkRegions(ctx context.Context, all []Account) error {
	limited, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	lists := map[string]*regionList{} // by partition
	unknown := map[string]*regionList{}
	for i := range all {
		for _, t := range all[i].Targets {
			if !t.IsPattern() && !partition.Known(t.Region) {
				unknown[t.Region] = r.regionsOf(limited, &all[i], lists)
			}
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, region := range slices.Sorted(maps.Keys(unknown)) {
		switch list := unknown[region]; {
		case list.err != nil:
			r.Log.Warn("the region is new to this version and cannot be looked up; it is used as it is", "region", region, "error", pipeline.Explain(list.err).Message)
		case !slices.Contains(list.names, region):
			return unknownRegion(region, list.names)
		}
	}
	return nil
}

// regionList is the list of the regions of a partition.
type regionList struct {
	names []string
	tries int
	err   error // of the last try
}

// regionsOf returns the list of the account's partition. If it is not known yet, the account asks for it.
func (r *Resolver) regionsOf(ctx context.Context, a *Account, lists map[string]*regionList) *regionList {
	id := partition.Of(a.Home)
	list := lists[id]
	if list == nil {
		list = &regionList{}
		lists[id] = list
	}
	if list.names == nil && list.tries < mostLookups {
		list.tries++
		list.names, list.err = r.listRegions(ctx, a, id)
	}
	return list
}

// listRegions returns all regions of a partition, those that the account has not enabled included.
func (r *Resolver) listRegions(ctx context.Context, a *Account, id string) (names []string, err error) {
	cfg, err := r.Manager.Config(ctx, partition.First(id), a.Sources...)
	if err != nil {
		return nil, err
	}
	out, err := ec2.NewFromConfig(cfg).DescribeRegions(ctx, &ec2.DescribeRegionsInput{AllRegions: aws.Bool(true)})
	if err != nil {
		return nil, err
	}
	for i := range out.Regions {
		names = append(names, aws.ToString(out.Regions[i].RegionName))
	}
	if len(names) == 0 {
		return nil, errors.New("DescribeRegions: the response lists no region; it probably came from a proxy, not from AWS")
	}
	return names, nil
}

func unknownRegion(region string, names []string) error {
	e := &InputError{Err: fmt.Errorf("AWS has no region %s", region), Advice: "correct it in regions, AWS_REGION or the profile, or by --region"}
	if nearest := config.Nearest(region, names); nearest != "" {
		e.Advice = "did you mean " + nearest + "?"
	}
	return e
}
