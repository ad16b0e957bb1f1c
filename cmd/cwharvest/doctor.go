package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"cwharvest/cmd/cwharvest/accounts"
	"cwharvest/creds"
	"cwharvest/pipeline"
	"cwharvest/pipeline/config"
	"cwharvest/store/record"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

func newDoctor() *cobra.Command {
	f := &runFlags{}
	asJSON := false
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Try every account, region and permission that the specification needs",
		Long: `Tries, for every account and region, each link of the way in and each permission that
the job needs, and looks at the environment, the clock and the directory. It leaves
nothing behind and costs one metric ($0.00001) for each account and region. Exit code 0 when
all is well, 4 when credentials need a person, 3 when something else would fail.`,
		Example: "  cwharvest doctor -c harvest.yaml",
		Args:    usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := f.configuration(c)
			if err != nil {
				return err
			}
			f.waitForCredentials, f.attended = min(f.waitForCredentials, 30*time.Second), true
			resolver, err := f.prepare(s, newLogger(io.Discard, false))
			if err != nil {
				return err
			}
			defer resolver.Manager.Close()
			d := &doctor{config: s, flags: f, accounts: resolver, creds: resolver.Manager}
			report, err := d.examine(c.Context())
			if err != nil {
				return err
			}
			return show(c, report, asJSON)
		},
	}
	f.register(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

// doctor tries everything that a run would need.
type doctor struct {
	config   *config.Config
	flags    *runFlags
	accounts *accounts.Resolver
	creds    *creds.Manager
}

// mostProbes bounds the probes in flight, over hundreds of accounts.
const mostProbes = 64

func (d *doctor) examine(ctx context.Context) (*checkup, error) {
	report := &checkup{Version: 1, Environment: []string{}, Directory: checkDirectory(d.config), Out: d.checkOut(ctx)}
	var pool errgroup.Group
	pool.SetLimit(mostProbes)
	var mu sync.Mutex // guards report
	located, err := d.accounts.Locate(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range accounts.Principals(located) {
		for _, line := range creds.Conflicts(p.Profile, d.accounts.Getenv) {
			if !slices.Contains(report.Environment, line) {
				report.Environment = append(report.Environment, line)
			}
		}
		pool.Go(func() error {
			c := d.principal(ctx, p)
			mu.Lock()
			defer mu.Unlock()
			report.Principals = append(report.Principals, c)
			return nil
		})
	}
	targets := errgroup.Group{}
	targets.SetLimit(mostProbes)
	add := func(c checkedTarget) {
		mu.Lock()
		defer mu.Unlock()
		report.Targets = append(report.Targets, c)
	}
	for _, a := range located {
		for _, t := range a.Targets {
			if d.flags.only.Selects(t) {
				pool.Go(func() error {
					for _, found := range d.resolve(ctx, a, t, add) {
						targets.Go(func() error { add(d.target(ctx, a, found)); return nil })
					}
					return nil
				})
			}
		}
	}
	if err := errors.Join(pool.Wait(), targets.Wait()); err != nil {
		return nil, err
	}
	slices.SortFunc(report.Principals, func(a, b checkedPrincipal) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(report.Targets, func(a, b checkedTarget) int { return strings.Compare(a.String(), b.String()) })
	return report, context.Cause(ctx)
}

func (d *doctor) principal(ctx context.Context, src creds.Source) checkedPrincipal {
	p, err := d.creds.Principal(ctx, src)
	return checkedPrincipal{
		Name: p.Name, From: p.Source, Key: p.Key, Account: p.Account, ARN: p.ARN, ValidUntil: p.Expires.UTC(),
		ClockOffset: p.Offset.Seconds(), Finding: finding(err),
	}
}

// resolve returns the regions that a target stands for, and adds to the report
// why it cannot.
func (d *doctor) resolve(ctx context.Context, a accounts.Account, t record.Target, add func(checkedTarget)) (regions []string) {
	if !t.IsPattern() {
		return []string{t.Region}
	}
	call, cancel := context.WithTimeout(ctx, d.flags.callTimeout)
	defer cancel()
	cfg, err := d.creds.Config(ctx, a.Home, a.Sources...)
	if err == nil {
		regions, err = pipeline.EnabledRegions(call, cfg, t, &pipeline.Discovery{})
	}
	if err != nil {
		add(checkedTarget{Target: t, Probes: []checkedProbe{{"ec2:DescribeRegions", finding(err)}}})
	}
	return regions
}

// target tries each link, then each permission with the first link that works.
func (d *doctor) target(ctx context.Context, a accounts.Account, region string) checkedTarget {
	t := checkedTarget{Target: record.Target{Account: a.ID, Region: region}}
	for _, src := range a.Sources {
		who, err := d.creds.Identity(ctx, src, region)
		if t.Account == "" {
			t.Account = who.Account
		}
		t.Links = append(t.Links, checkedLink{Source: src.String(), ARN: who.ARN, Finding: finding(err)})
	}
	if !slices.ContainsFunc(t.Links, func(l checkedLink) bool { return l.Class == "" }) {
		return t
	}
	cfg, err := d.creds.Config(ctx, region, a.Sources...)
	if err != nil {
		t.Probes = append(t.Probes, checkedProbe{"credentials", finding(err)})
		return t
	}
	for _, p := range d.probes() {
		t.Probes = append(t.Probes, checkedProbe{p.permission, finding(d.probe(ctx, p, cfg))})
	}
	return t
}

// probe repeats what is throttled: a run at work in the account may use up its
// quotas, and that says nothing of the permission.
func (d *doctor) probe(ctx context.Context, p permissionProbe, cfg aws.Config) error {
	const tries, first = 6, 200 * time.Millisecond
	for n := 0; ; n++ {
		call, cancel := context.WithTimeout(ctx, d.flags.callTimeout)
		err := p.call(call, cfg)
		cancel()
		if err == nil || n == tries || ctx.Err() != nil || pipeline.Explain(err).Class != "throttled" {
			return err
		}
		select {
		case <-time.After(first << n):
		case <-ctx.Done():
		}
	}
}

type permissionProbe struct {
	permission string
	call       func(context.Context, aws.Config) error
}

// probes are the smallest calls that need the permissions of the job.
func (d *doctor) probes() []permissionProbe {
	calls := map[string]func(context.Context, aws.Config) error{
		"cloudwatch:GetMetricData": d.probeMetrics,
		"cloudwatch:GetMetricStatistics": func(ctx context.Context, cfg aws.Config) error {
			m, end := &d.config.Metrics[0], time.Now().Truncate(time.Hour)
			_, err := d.cloudWatch(cfg).GetMetricStatistics(ctx, &cloudwatch.GetMetricStatisticsInput{
				StartTime: aws.Time(end.Add(-time.Hour)), EndTime: &end, Period: aws.Int32(3600),
				Namespace: &m.Namespace, MetricName: &m.Names[0], Statistics: []types.Statistic{types.StatisticAverage},
			})
			return err
		},
		"cloudwatch:ListMetrics": func(ctx context.Context, cfg aws.Config) error {
			_, err := d.cloudWatch(cfg).ListMetrics(ctx, &cloudwatch.ListMetricsInput{Namespace: &d.config.Metrics[0].Namespace})
			return err
		},
		"ec2:DescribeInstances": func(ctx context.Context, cfg aws.Config) error {
			_, err := ec2.NewFromConfig(cfg).DescribeInstances(ctx, &ec2.DescribeInstancesInput{MaxResults: aws.Int32(5)})
			return err
		},
		"ec2:DescribeRegions": func(ctx context.Context, cfg aws.Config) error {
			_, err := ec2.NewFromConfig(cfg).DescribeRegions(ctx, nil)
			return err
		},
	}
	var probes []permissionProbe
	for _, p := range permissionsOf(d.config) {
		probes = append(probes, permissionProbe{p.action, calls[p.action]})
	}
	return probes
}

func (d *doctor) cloudWatch(cfg aws.Config) *cloudwatch.Client {
	return pipeline.NewCloudWatch(cfg, pipeline.Protocol(d.config.Protocol))
}

func (d *doctor) probeMetrics(ctx context.Context, cfg aws.Config) error {
	m := &d.config.Metrics[0]
	end := time.Now().Truncate(time.Hour)
	_, err := d.cloudWatch(cfg).GetMetricData(ctx, &cloudwatch.GetMetricDataInput{
		StartTime: aws.Time(end.Add(-time.Hour)), EndTime: &end,
		MetricDataQueries: []types.MetricDataQuery{{Id: aws.String("doctor"), MetricStat: &types.MetricStat{
			Metric: &types.Metric{Namespace: &m.Namespace, MetricName: &m.Names[0]}, Period: aws.Int32(3600), Stat: &m.Statistics[0],
		}}},
	})
	return err
}
