package accounts

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cwharvest/creds"
	"cwharvest/pipeline"
	"cwharvest/pipeline/awssim"
	"cwharvest/pipeline/config"
	"cwharvest/store/record"
)

var simulated = awssim.Config{
	Accounts: []string{"111122223333", "222233334444", "333344445555"}, Regions: []string{"us-east-1", "eu-west-1"}, Instances: 1,
	RoleName: "metrics-reader", ExternalID: "x1",
}

// newResolver returns a resolver for the given YAML, which calls a simulated AWS.
func newResolver(t *testing.T, yaml string) (*Resolver, *awssim.Server) {
	t.Helper()
	sim := awssim.New(simulated)
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	for _, variable := range awssim.Environment(simulated, server.URL) {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	c, err := config.Parse("harvest.yaml", []byte(yaml), func(string) (string, bool) { return "", false })
	if err == nil {
		err = c.Validate()
	}
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	manager := creds.NewManager(creds.Config{Log: log})
	t.Cleanup(manager.Close)
	return &Resolver{Config: &c, Manager: manager, Getenv: os.Getenv, Log: log, Attended: true}, sim
}

const organization = "defaults: {role_name: metrics-reader, external_id: x1, regions: [us-east-1, eu-west-1]}\naccounts: [{organization: {}}]\n"

func TestResolve(t *testing.T) {
	file := filepath.Join(t.TempDir(), "accounts.csv")
	if err := os.WriteFile(file, []byte("id,regions\n222233334444,us-*\n333344445555,eu-west-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		yaml string
		want []string
	}{
		"the caller in the default region": {"job: x\n", []string{"111122223333/us-east-1"}},
		"the caller in named regions":      {"defaults: {regions: [eu-west-1, us-east-1]}\n", []string{"111122223333/eu-west-1", "111122223333/us-east-1"}},
		"a named account":                  {"accounts: [{id: \"222233334444\", role_arn: \"arn:aws:iam::222233334444:role/metrics-reader\", regions: [us-east-1]}]\n", []string{"222233334444/us-east-1"}},
		"a file of accounts":               {"defaults: {role_name: metrics-reader, external_id: x1}\naccounts: [{file: " + file + "}]\n", []string{"222233334444/us-*", "333344445555/eu-west-1"}},
		"an organization": {organization, []string{"111122223333/eu-west-1", "111122223333/us-east-1",
			"222233334444/eu-west-1", "222233334444/us-east-1", "333344445555/eu-west-1", "333344445555/us-east-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newResolver(t, c.yaml)
			var err error
			if r.Members, err = ReadFiles(r.Config); err != nil {
				t.Fatal(err)
			}
			set, err := r.Resolve(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, target := range set.Targets() {
				got = append(got, target.String())
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("targets %q, want %q", got, c.want)
			}
		})
	}
}

func TestEveryTargetBelongsToOneShard(t *testing.T) {
	r, _ := newResolver(t, organization)
	whole, err := r.Resolve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	holders := map[record.Target]int{}
	const of = 3
	for n := 1; n <= of; n++ {
		r.Config.Shard = record.Shard{Number: n, Of: of}
		set, err := r.Resolve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range set.Targets() {
			holders[target]++
		}
		for _, target := range whole.Targets() {
			only := Selection{target.String()}
			if set.OnlyElsewhere(only) == set.Has(target) {
				t.Errorf("shard %d, %s: elsewhere %t, here %t", n, target, set.OnlyElsewhere(only), set.Has(target))
			}
		}
		if set.OnlyElsewhere(Selection{"999999999999"}) {
			t.Errorf("shard %d: an unknown account is elsewhere", n)
		}
	}
	for _, target := range whole.Targets() {
		if holders[target] != 1 {
			t.Errorf("%s is in %d shards", target, holders[target])
		}
	}
}

func TestOpenJobNeedsNoOrganization(t *testing.T) {
	r, sim := newResolver(t, organization)
	if err := sim.Inject(awssim.Fault{Kind: "access_denied", Service: "organizations"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Resolve(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot list the accounts of the organization") {
		t.Errorf("without an open job: %v", err)
	}
	r.OpenJob = []string{"222233334444"}
	set, err := r.Resolve(t.Context())
	if err != nil || len(set.Targets()) != 2 || set.Targets()[0].Account != "222233334444" {
		t.Errorf("with an open job: %v, %v", set, err)
	}
}

func TestConnect(t *testing.T) {
	r, _ := newResolver(t, "defaults: {role_name: metrics-reader, external_id: x1}\naccounts: [{id: \"222233334444\", regions: [us-*, eu-west-1]}]\n")
	set, err := r.Resolve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for region, want := range map[string]string{"eu-west-1": "eu-west-1", "us-east-1": "us-east-1", "us-*": "eu-west-1", "ap-south-1": ""} {
		cfg, err := set.Connect(t.Context(), record.Target{Account: "222233334444", Region: region})
		if cfg.Region != want || (err != nil) != (want == "") {
			t.Errorf("%s: region %q, want %q; %v", region, cfg.Region, want, err)
		}
	}
	_, err = set.Connect(t.Context(), record.Target{Account: "999999999999", Region: "us-east-1"})
	if f := pipeline.Explain(err); f.Class != "not_configured" || !pipeline.IsRefused(err) {
		t.Errorf("a removed target: %v, %+v", err, f)
	}
}

func TestHome(t *testing.T) {
	for _, c := range []struct{ regions, own, partition, want string }{
		{"enabled", "", "aws", "us-east-1"},
		{"us-*", "eu-west-1", "aws", "eu-west-1"},
		{"eu-* eu-west-1", "us-east-1", "aws", "eu-west-1"},
		{"cn-*", "us-east-1", "aws-cn", "cn-northwest-1"},
		{"enabled", "cn-north-1", "aws-cn", "cn-north-1"},
		{"us-gov-*", "", "aws-us-gov", "us-gov-west-1"},
		{"enabled", "me-south-1", "aws", "us-east-1"},
		{"me-south-1 eu-*", "eu-west-1", "aws", "eu-west-1"},
		{"me-south-1", "eu-west-1", "aws", "me-south-1"},
		{"enabled", "us-new-1", "aws-new", "us-new-1"},
	} {
		if got := home(strings.Fields(c.regions), c.own, c.partition); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestJobLength(t *testing.T) {
	for points, want := range map[int64]time.Duration{0: time.Hour, 396_000 * 3600: 3 * time.Hour, 1 << 50: 12 * time.Hour} {
		r := &Resolver{Config: &config.Config{QuotaShare: 1}, Points: points}
		if got := r.JobLength(); got != want {
			t.Errorf("%d datapoints: %v, want %v", points, got, want)
		}
	}
	r := &Resolver{Config: &config.Config{QuotaShare: 0.5}, Points: 396_000 * 3600}
	if got := r.JobLength(); got != 6*time.Hour {
		t.Errorf("at half the quota: %v", got)
	}
}

func TestSelection(t *testing.T) {
	target := record.Target{Account: "111122223333", Region: "us-east-1"}
	for text, want := range map[string]bool{
		"": true, "111122223333": true, "111122223333/us-east-1": true, "111122223333/us-west-2": false, "222233334444": false,
		"222233334444,111122223333": true,
	} {
		s := Selection(strings.FieldsFunc(text, func(r rune) bool { return r == ',' }))
		if err := s.Check(); err != nil || s.Selects(target) != want {
			t.Errorf("%q: %t, want %t; %v", text, s.Selects(target), want, err)
		}
	}
	if !(Selection{"111122223333/us-east-1"}).Selects(record.Target{Account: "111122223333", Region: "us-*"}) {
		t.Error("a pattern that covers the region is not selected")
	}
	for _, text := range []string{"reader", "1111", "111122223333/", "111122223333/US", "111122223333/us-east-1/x"} {
		var input *InputError
		if err := (Selection{text}).Check(); !errors.As(err, &input) || input.Hint() == "" {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestRetryTransient(t *testing.T) {
	outage := errors.New("connection refused")
	for name, c := range map[string]struct {
		patience time.Duration
		open     []string
		attended bool
		fails    int // calls
		err      error
		want     error
		longest  time.Duration
	}{
		"succeeds":                      {patience: time.Hour, longest: 0},
		"outage that ends":              {patience: time.Hour, fails: 20, err: outage, longest: 20 * longestPause},
		"outage that lasts":             {patience: time.Minute, fails: 1 << 20, err: outage, want: pipeline.ErrCredentials, longest: time.Minute + longestPause},
		"outage that lasts, open job":   {patience: time.Hour, open: []string{"111122223333"}, fails: 1 << 20, err: outage, want: pipeline.ErrCredentials, longest: shortPatience + longestPause},
		"refusal":                       {patience: time.Hour, fails: 1 << 20, err: &removedError{}, want: &removedError{}, longest: 0},
		"a person waits for an outage":  {patience: time.Hour, attended: true, fails: 3, err: outage, longest: 3 * longestPause},
		"a person waits, lasting fault": {patience: time.Second, attended: true, fails: 1 << 20, err: outage, want: pipeline.ErrCredentials, longest: time.Second + longestPause},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := &Resolver{Log: slog.New(slog.DiscardHandler), Patience: c.patience, OpenJob: c.open, Attended: c.attended}
			began, calls := time.Now(), 0
			err := r.retryTransient(t.Context(), "unknown", func() error {
				if calls++; calls <= c.fails {
					return c.err
				}
				return nil
			})
			var removed *removedError
			if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) && !(errors.As(c.want, &removed) && errors.As(err, &removed)) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
			if took := time.Since(began); took > c.longest {
				t.Errorf("%s: took %v, at most %v expected", name, took, c.longest)
			}
		})
	}
}

func TestRetryEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		interrupted := errors.New("interrupted")
		time.AfterFunc(time.Minute, func() { cancel(interrupted) })
		r := &Resolver{Log: slog.New(slog.DiscardHandler), Patience: time.Hour}
		if err := r.retryTransient(ctx, "unknown", func() error { return errors.New("outage") }); !errors.Is(err, interrupted) {
			t.Error(err)
		}
	})
}
