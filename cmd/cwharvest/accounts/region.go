package accounts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cwharvest/creds/partition"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// regionTimeout bounds the lookup of a region: without an answer the region is used as it is.
const regionTimeout = 10 * time.Second

// checkRegions looks up the named regions that the table of this version lacks: AWS may have announced them since, or they are misspelled.
// Each partition is asked once, by the first account that it answers.
func (r *Resolver) checkRegions(ctx context.Context, all []Account) error {
	listed := map[string][]string{} // by partition; nil: it did not answer
	for i := range all {
		for _, t := range all[i].Targets {
			if t.IsPattern() || partition.Known(t.Region) {
				continue
			}
			id := partition.Of(t.Region)
			if listed[id] == nil {
				names, err := r.listRegions(ctx, &all[i], id)
				if err != nil {
					r.Log.Warn("the region is new to this version and cannot be looked up; it is used as it is", "region", t.Region, "account", t.Account, "error", err)
					continue
				}
				listed[id] = names
			}
			if !slices.Contains(listed[id], t.Region) {
				return unknownRegion(t.Region, listed[id])
			}
		}
	}
	return nil
}

// listRegions returns all regions of a partition, those that the account has not enabled included.
func (r *Resolver) listRegions(ctx context.Context, a *Account, id string) (names []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, regionTimeout)
	defer cancel()
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
		return nil, errors.New("DescribeRegions: the response lists no region")
	}
	return names, nil
}

func unknownRegion(region string, names []string) error {
	e := &InputError{Err: fmt.Errorf("AWS has no region %s", region), Advice: "correct it in regions, or by --region"}
	if nearest := partition.Nearest(region, names); nearest != "" {
		e.Advice = "did you mean " + nearest + "?"
	}
	return e
}
