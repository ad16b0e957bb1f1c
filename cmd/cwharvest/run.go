package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cwharvest/cmd/cwharvest/harvest"
	"cwharvest/pipeline/config"
	"cwharvest/store"
	"cwharvest/store/record"

	"github.com/spf13/cobra"
)

// now is the clock that decides what is due, frozen, aged out, tolerated and pruned; tests of many nights set it.
// Signatures, logs and measurements use the machine's clock.
var now = time.Now

func newRun() *cobra.Command {
	f := &runFlags{}
	c := &cobra.Command{
		Use:   "run",
		Short: "Continue open jobs and start what is due",
		Long: `If a previous run was interrupted, continues its job from the last committed series. Then it
retries failed and denied parts of the last job, or of the jobs of --night, and starts the
jobs that are due. Each begins when the one before has ended, or can only wait for the end
of an outage or for a person. If nothing is due, it prints that, calls nothing and exits 0.
Run the same command every night, and after a crash or an outage.

Most flags can also be set by environment variables: --max-cost 5 is CWHARVEST_MAX_COST=5.
Flags override variables, which override the file.`,
		Example: `  cwharvest run -c harvest.yaml
  cwharvest run --role-arn arn:aws:iam::111122223333:role/metrics-reader --external-id x1 \
      --region us-east-1 --metric CPUUtilization --stat Average,Maximum --last 24h --dir ./harvest`,
		Args: usage(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := f.configuration(c)
			if err != nil {
				return err
			}
			if f.printConfig {
				return s.Print(c.OutOrStdout())
			}
			return f.run(c, s)
		},
	}
	f.register(c, func(string) bool { return true })
	f.log.register(c)
	c.Flags().BoolVar(&f.printConfig, "print-config", false, "print the effective configuration and where each value comes from; do nothing")
	return c
}

// run opens the log, runs, and reports the result to on_finish and the metrics file. The directory is free by then, so
// a hook may read it or export from it.
func (f *runFlags) run(c *cobra.Command, s *config.Config) (err error) {
	var shown *progress
	if !f.log.quiet {
		shown, _ = c.ErrOrStderr().(*progress)
	}
	log, closeLog, err := f.log.open(c.ErrOrStderr(), shown)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	ctx := c.Context()
	defer context.AfterFunc(ctx, func() {
		if by, signalled := context.Cause(ctx).(interruptedError); signalled {
			fmt.Fprintf(c.ErrOrStderr(), "cwharvest: %v: finishing the requests in flight; interrupt again to abort\n", by.signal)
		}
	})()
	m, err := newMonitor(f, s.Dir, s.QuotaShare, log)
	if err != nil {
		return err
	}
	p := &presenter{
		out: c.OutOrStdout(), dir: s.Dir, shown: shown, log: log, stats: f.log.stats, share: s.QuotaShare, patience: 2 * f.callTimeout, lines: map[string]string{},
	}
	last, err := f.harvest(ctx, s, m, p)
	runHooks(ctx, s.OnFinish, newSummary(last, p.lines, err, f.choice(s.Dir)), log)
	m.stop() // again, for a run that did not get as far as its directory
	m.finish(exitCode(err))
	return err
}

// harvest takes the directory and runs its jobs. It returns the status of the job worked last, if on_finish needs it.
func (f *runFlags) harvest(ctx context.Context, s *config.Config, m *monitor, p *presenter) (last *record.Status, err error) {
	limitMemory(s.MaxInFlight)
	ctx, stop := harvest.LimitDuration(ctx, s.MaxDuration)
	defer stop()
	resolver, err := f.prepare(s, p.log)
	if err != nil {
		return nil, err
	}
	defer resolver.Manager.Close()
	dir, err := store.Open(s.Dir, store.Config{Remote: remotes(ctx, resolver.Manager, s.S3), SpoolLimit: s.SpoolLimit, Options: f.chosen(), Log: p.log})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	m.start()
	defer m.stop()
	cfg := f.harvestConfig(s, resolver, p.log)
	p.current, cfg.Follow, cfg.Report = dir.Current, p.follow, p.report
	outcome, err := harvest.Run(ctx, dir, cfg)
	if outcome.Idle != nil && err == nil {
		p.idle(outcome.Idle, f.only, s.Shard)
	}
	p.conclude(s)
	if n := len(outcome.Jobs); n > 0 && len(s.OnFinish) > 0 {
		var statusErr error
		if last, statusErr = dir.Current(); statusErr != nil {
			p.log.Warn("on_finish is not called", "error", statusErr)
		}
	}
	if err == nil && outcome.Incomplete() {
		err = &outcomeError{code: exitIncomplete}
	}
	return last, err
}
