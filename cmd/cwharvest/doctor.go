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
	var asJSON *bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check every account, region and permission that a run needs",
		Long: `Checks, for every account and region, each credential source and each permission that the
job needs, and also the environment, the clock and the directory. It leaves nothing behind
and costs one metric ($0.00001) for each account and region. Exit code 0 if all is well, 4
if credentials need a person, 3 if something else would fail.`,
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
			return show(c, report, *asJSON)
		},
	}
	f.register(c, func(flag string) bool { return slices.Contains(doctorFlags, flag) })
	asJSON = jsonFlag(c)
	return c
}

// doctor checks everything that a run needs.
type doctor struct {
	config   *config.Config
	flags    *runFlags
	accounts *accounts.Resolver
	creds    *creds.Manager

	mu     sync.Mutex // guards report
	report checkup
}

// mostProbes bounds the probes in flight, which may be for hundreds of accounts.
const mostProbes = 64

func (d *doctor) examine(ctx context.Context) (*checkup, error) {
	d.report = checkup{Version: 1, options: d.flags.chosen(), Environment: []string{}, Directory: checkDirectory(d.config), Out: d.checkOut(ctx)}
	if jobs, err := record.ReadJobs(d.config.Dir); err == nil && len(jobs) > 0 { // the check of the directory reports an error
		d.accounts.Points = jobs[len(jobs)-1].MostPoints
	}
	located, err := d.accounts.Locate(ctx)
	if err != nil {
		return nil, err
	}
	principals := accounts.Principals(located)
	for _, p := range principals {
		for _, line := range d.creds.Conflicts(ctx, p, d.accounts.Getenv) {
			if !slices.Contains(d.report.Environment, line) {
				d.report.Environment = append(d.report.Environment, line)
			}
		}
	}
	if err := d.probeAll(ctx, principals, located); err != nil {
		return nil, err
	}
	slices.SortFunc(d.report.Principals, func(a, b checkedPrincipal) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(d.report.Targets, func(a, b checkedTarget) int { return strings.Compare(a.String(), b.String()) })
	return &d.report, context.Cause(ctx)
}

// probeAll checks principals and targets at the same time. Members of the first group resolve patterns and start members
// of the second one.
func (d *doctor) probeAll(ctx context.Context, principals []creds.Source, located []accounts.Account) error {
	var first, second errgroup.Group
	first.SetLimit(mostProbes)
	second.SetLimit(mostProbes)
	for _, p := range principals {
		first.Go(func() error { d.principal(ctx, p); return nil })
	}
	for _, a := range located {
		for _, t := range a.Targets {
			if !d.flags.only.Selects(t) {
				continue
			}
			first.Go(func() error {
				for _, region := range d.resolve(ctx, a, t) {
					second.Go(func() error { d.add(d.target(ctx, a, region)); return nil })
				}
				return nil
			})
		}
	}
	return errors.Join(first.Wait(), second.Wait())
}

func (d *doctor) add(c checkedTarget) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.report.Targets = append(d.report.Targets, c)
}

// principal checks the keys of a principal, and whether they last for a job and the environment is right about their account.
func (d *doctor) principal(ctx context.Context, src creds.Source) {
	var p creds.Principal
	err := d.try(ctx, func(call context.Context) (err error) {
		p, err = d.creds.Principal(call, src)
		return err
	})
	checked := checkedPrincipal{
		Name: p.Name, From: p.Source, Key: p.Key, Account: p.Account, ARN: p.ARN, ValidUntil: p.Expires.UTC(),
		ClockOffset: p.Offset.Seconds(), Warning: p.Warning(d.accounts.JobLength()), Finding: finding(err),
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.report.Principals = append(d.report.Principals, checked)
	if line := p.Conflict(d.accounts.Getenv); line != "" && !slices.Contains(d.report.Environment, line) {
		d.report.Environment = append(d.report.Environment, line)
	}
}

// resolve returns the regions that a target stands for. If a pattern cannot be resolved, it adds the reason to the report.
func (d *doctor) resolve(ctx context.Context, a accounts.Account, t record.Target) (regions []string) {
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
		d.add(checkedTarget{Target: t, Probes: []checkedProbe{{"ec2:DescribeRegions", finding(err)}}})
	}
	return regions
}

// target checks each credential source of a target, then each permission with the first source that works.
func (d *doctor) target(ctx context.Context, a accounts.Account, region string) checkedTarget {
	t := checkedTarget{Target: record.Target{Account: a.ID, Region: region}}
	for _, src := range a.Sources {
		var caller creds.Identity
		err := d.try(ctx, func(call context.Context) (err error) {
			caller, err = d.creds.Identity(call, src, region)
			return err
		})
		if t.Account == "" {
			t.Account = caller.Account
		}
		t.Links = append(t.Links, checkedLink{Source: src.String(), ARN: caller.ARN, Finding: finding(err)})
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
		err := d.try(ctx, func(call context.Context) error { return p.call(call, cfg) })
		t.Probes = append(t.Probes, checkedProbe{p.permission, finding(err)})
	}
	return t
}

// try makes one call and repeats it while it is throttled, since a run may use up the quota of the account, and through a
// short outage, in which all sources on one principal fail together.
func (d *doctor) try(ctx context.Context, call func(context.Context) error) error {
	const first = 200 * time.Millisecond
	tries := map[string]int{"throttled": 6, "outage": 3}
	for n := 0; ; n++ {
		callCtx, cancel := context.WithTimeout(ctx, d.flags.callTimeout)
		began, err := time.Now(), call(callCtx)
		cancel()
		if err == nil || n >= tries[pipeline.Explain(err).Class] || ctx.Err() != nil || time.Since(began) > time.Second {
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

// probes returns the smallest calls that need the permissions of the job.
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
