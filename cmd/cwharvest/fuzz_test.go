package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode"

	"cwharvest/pipeline/config"
	"cwharvest/store/record"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
)

// FuzzStatus proves that any status.json is shown, in lines without control
// characters and in metrics.
func FuzzStatus(f *testing.F) {
	for _, text := range []string{
		`{"job":"night-1","name":"n","state":"running","source":"snapshot","written":"2026-11-25T01:02:03Z","range":{"start":"2026-11-24T00:00:00Z","end":"2026-11-25T00:00:00Z"},` +
			`"estimated_datapoints":{"planned":10,"done":3},"eta_seconds":5,"attempts":[{"started":"2026-11-25T01:00:00Z"}],"instances":{"planned":2,"failed":1},` +
			`"target_details":[{"account":"111122223333","region":"us-east-1","state":"waiting","class":"outage","reason":"r","since":"2026-11-25T01:00:00Z","retry_at":"2999-01-01T00:00:00Z"},` +
			`{"account":"111122223333","region":"us-east-2","state":"denied","class":"refused","reason":"r","new":true},{"account":"111122223333","region":"us-west-2","state":"denied","tolerated":true,"instances":{"denied":4}}],` +
			`"failed":[{"account":"1","region":"r","namespace":"n","dimensions":"d","class":"poison","message":"m"}],"trouble":{"reason":"full"},"redo":[{}]}`,
		`{}`, `null`, `{"eta_seconds":1e308,"written":"9999-12-31T23:59:59Z"}`, `{"rows":-123456,"instances":{"failed":-1}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var s record.Status
		if json.Unmarshal(data, &s) != nil {
			return
		}
		var out strings.Builder
		for _, width := range []int{0, 1, columns} {
			printStatus(&out, &s, "harvest", width)
		}
		printFailed(&out, &s, s.Failed)
		fmt.Fprintln(&out, lastLine(&s, time.Minute, exitComplete))
		if text := progressLine(&s); strings.Contains(text, "\n") {
			t.Errorf("not one line: %q", text)
		}
		if i := strings.IndexFunc(out.String(), func(r rune) bool { return unicode.IsControl(r) && r != '\n' }); i >= 0 {
			t.Errorf("a control character is shown: %q", out.String()[max(i-40, 0):min(i+40, out.Len())])
		}
		all := prometheus.NewRegistry()
		all.MustRegister(collector{func() (*record.Status, error) { return &s, nil }})
		if _, err := all.Gather(); err != nil {
			t.Errorf("metrics: %v", err)
		}
		var h history
		for range 3 {
			h.add(&s, 1)
		}
		if _, err := json.Marshal(h.all()); err != nil {
			t.Errorf("history: %v", err)
		}
	})
}

// FuzzSettings proves that any variables and flags, one per line, are either refused
// in one line or give a valid configuration.
func FuzzSettings(f *testing.F) {
	for _, text := range []string{"", "CWHARVEST_PERIOD=1m\n--metric=CPUUtilization,NetworkIn\n--stat=p99,Sum", "CWHARVEST_RANGE=2026-11-01\n--last=24h", "--from=2026-11-01\n--to=2026-11-02",
		"CWHARVEST_CONCURRENCY=many", "CWHARVEST_EXTERNAL_ID=x1\nCWHARVEST_REDO=true\nCWHARVEST_PEROID=5m", "--only=111122223333/us-east-1\n--redo", "--region=us-east-1,eu-*\n--out=s3://bucket/p",
		"--metric=\"a,b\"\n--namespace=AWS/RDS\n--dimension=DBInstanceIdentifier", "--part-size=1\n--max-cost=-1", "--night=2026-11-20\n--settle=-1", "--period=\"\n--strict-period"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var flags runFlags
		flags.define()
		flags.all.SetOutput(io.Discard)
		var environment, args []string
		for _, line := range strings.Split(text, "\n") {
			if strings.HasPrefix(line, config.VariablePrefix) {
				environment = append(environment, line)
			} else {
				args = append(args, line)
			}
		}
		if flags.all.Parse(args) != nil {
			return // pflag reports the error
		}
		var warnings strings.Builder
		err := flags.readEnvironment(environment, &warnings)
		s := config.Default()
		if err == nil {
			err = flags.override(&s)
		}
		if err == nil {
			err = checkOnly(flags.only)
		}
		if err == nil {
			if err = s.Validate(); err != nil && !config.IsError(err) {
				t.Errorf("%v is not about the configuration", err)
			}
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("not one line: %q", err)
		}
		checkSettings(t, &flags, &s, err)
	})
}

func checkSettings(t *testing.T, flags *runFlags, s *config.Config, err error) {
	t.Helper()
	if err != nil {
		if id := flags.all.Lookup("external-id").Value.String(); len(id) > 20 && strings.Contains(err.Error(), id) {
			t.Errorf("an external id is shown: %v", err)
		}
		return
	}
	flags.all.VisitAll(func(flag *pflag.Flag) {
		if flag.Changed && !flags.isSet(flag.Name) {
			t.Errorf("nobody said --%s", flag.Name)
		}
	})
	var out strings.Builder
	if err := s.Print(&out); err != nil || len(s.Defaults.ExternalID) > 20 && strings.Contains(out.String(), s.Defaults.ExternalID) {
		t.Errorf("printed %s, %v", out.String(), err)
	}
	now := time.Date(2026, 11, 25, 2, 0, 0, 0, time.UTC)
	if due, _, err := s.Due(now, nil); err == nil && due != nil {
		if _, err := s.Freeze(*due, now); err != nil && !config.IsError(err) {
			t.Error(err)
		}
	}
}
