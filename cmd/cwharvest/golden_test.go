package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cwharvest/pipeline/config"
	"cwharvest/pipeline/config/golden"
)

// goldenDir is absolute, because a test changes the working directory.
var goldenDir, _ = filepath.Abs(filepath.Join("testdata", "golden"))

// TestGoldenHelp proves that the help of each command lists the expected flags.
func TestGoldenHelp(t *testing.T) {
	for _, c := range newRoot().Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		var out strings.Builder
		execute([]string{c.Name(), "--help"}, &out, &out)
		_, flags, _ := strings.Cut(out.String(), "\nFlags:\n")
		flags, _, _ = strings.Cut(flags, "\n\n")
		golden.Compare(t, filepath.Join(goldenDir, "help", c.Name()+".txt"), flags+"\n")
	}
}

// TestFlagsOfCommandsExist proves that every flag in the commands' lists of flags exists.
func TestFlagsOfCommandsExist(t *testing.T) {
	var f runFlags
	f.define()
	for _, name := range slices.Concat(doctorFlags, notPlanFlags) { // doctorFlags include policyFlags
		if f.all.Lookup(name) == nil {
			t.Errorf("there is no flag --%s", name)
		}
	}
}

// TestGoldenSettings proves that settings in the file, in variables and by flags give the expected configuration or error.
func TestGoldenSettings(t *testing.T) {
	files := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(files, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write("all.yaml", allFlagsInFile)
	write("few.yaml", "dir: here\nout: there\ninstances: {file: ids.txt}\nperiod: 1m\n")
	t.Chdir(files)
	var out strings.Builder
	for _, line := range settingsCases {
		out.WriteString("$ " + line + "\n" + runLine(t, line))
	}
	golden.Compare(t, filepath.Join(goldenDir, "settings.txt"), defaultLine.ReplaceAllString(out.String(), ""))
}

// defaultLine matches a default value. These are left out, so that a new setting does not change the file.
var defaultLine = regexp.MustCompile(`(?m)^.* # default\n`)

// runLine runs NAME=VALUE... COMMAND ARGUMENT... and returns its output and exit code. The run command only prints its configuration.
func runLine(t *testing.T, line string) string {
	args := strings.Fields(line)
	for len(args) > 0 && strings.HasPrefix(args[0], config.VariablePrefix) {
		name, value, _ := strings.Cut(args[0], "=")
		before, set := os.LookupEnv(name)
		os.Setenv(name, value)
		defer func() {
			if os.Unsetenv(name); set {
				os.Setenv(name, before)
			}
		}()
		args = args[1:]
	}
	if args[0] == "run" {
		args = append(args, "--print-config")
	}
	var stdout, stderr strings.Builder
	code := execute(args, &stdout, &stderr)
	return fmt.Sprintf("%s%sexit %d\n\n", stderr.String(), stdout.String(), code)
}

// allFlagsInFile sets every key that has a flag.
const allFlagsInFile = `dir: a
out: b
format: csv
compression: gzip
range: since_last
settle: 1h
period: 1h
defaults: {profile: p, role_arn: "arn:aws:iam::111122223333:role/x", external_id: x1, session_duration: 2h, regions: [us-east-1]}
instances: {file: ids.txt}
metrics: [{namespace: AWS/EC2, names: [CPUUtilization], statistics: [Sum]}]
part_size: 64MiB
concurrency: 4
api: statistics
protocol: json
strict_period: true
max_cost: 1
max_duration: 1h
give_up_after: 1h
allow_unknown_metric: true
insecure_endpoint: true
`

// allFlags sets every flag that has a key.
const allFlags = "--dir c --out ./d/ --format jsonl --compression zstd --settle 2h --period 2m --profile q --external-id x2 " +
	"--role-arn arn:aws:iam::111122223333:role/y --session-duration auto --region eu-west-1,us-* --instances-from other.txt " +
	"--metric NetworkIn,NetworkOut --stat Maximum --part-size 32MiB --concurrency 5 --api data --protocol query --strict-period=false --max-cost 2 " +
	"--max-duration 2h --give-up-after never --allow-unknown-metric=false --insecure-endpoint=false"

const allVariables = "CWHARVEST_DIR=e CWHARVEST_OUT=f CWHARVEST_FORMAT=jsonl CWHARVEST_COMPRESSION=gzip CWHARVEST_SETTLE=3h CWHARVEST_PERIOD=3m CWHARVEST_PROFILE=r " +
	"CWHARVEST_EXTERNAL_ID=x3 CWHARVEST_ROLE_ARN=arn:aws:iam::111122223333:role/z CWHARVEST_SESSION_DURATION=3h CWHARVEST_REGION=eu-west-3 CWHARVEST_INSTANCES_FROM=more.txt " +
	"CWHARVEST_METRIC=EBSReadOps CWHARVEST_STAT=Minimum CWHARVEST_PART_SIZE=16MiB CWHARVEST_CONCURRENCY=6 CWHARVEST_API=data CWHARVEST_PROTOCOL=cbor CWHARVEST_STRICT_PERIOD=false " +
	"CWHARVEST_MAX_COST=3 CWHARVEST_MAX_DURATION=3h CWHARVEST_GIVE_UP_AFTER=3h CWHARVEST_ALLOW_UNKNOWN_METRIC=0 CWHARVEST_INSECURE_ENDPOINT=f CWHARVEST_CONFIG=all.yaml "

var settingsCases = []string{
	"run -c few.yaml",
	"run -c all.yaml",
	"run -c all.yaml --range yesterday " + allFlags,
	"run -c few.yaml --last 7d " + allFlags,
	allVariables + "run",
	allVariables + "run " + allFlags,
	"CWHARVEST_RANGE=since_last run -c few.yaml --last 7d --settle 1m",
	"CWHARVEST_FROM=2026-11-01 run -c few.yaml --to 2026-11-02",
	"CWHARVEST_NAMESPACE=AWS/RDS CWHARVEST_DIMENSION=DBInstanceIdentifier run -c few.yaml --metric CPUUtilization",
	"CWHARVEST_STAT=p99 run -c few.yaml --shard 2/4 --night 2026-11-20",
	"CWHARVEST_PEROID=5m CWHARVEST_REDO=true CWHARVEST_VERBOSE=true run -c few.yaml --call-timeout 60 --wait-for-credentials 1d",
	"run -c few.yaml --period x", "run -c few.yaml --period 90", "CWHARVEST_PERIOD=90 run -c few.yaml", "CWHARVEST_PERIOD=x plan -c few.yaml",
	"run -c few.yaml --settle -1", "run -c few.yaml --part-size big", "CWHARVEST_PART_SIZE=big run -c few.yaml", "run -c few.yaml --part-size 1",
	"run -c few.yaml --max-cost five", "CWHARVEST_MAX_COST=five doctor -c few.yaml", "run -c few.yaml --max-cost -1", "CWHARVEST_MAX_COST=-1 run -c few.yaml",
	"run -c few.yaml --concurrency 0", "run -c few.yaml --concurrency many", "CWHARVEST_CONCURRENCY=many run -c few.yaml", "CWHARVEST_STRICT_PERIOD=perhaps run -c few.yaml",
	"run -c few.yaml --format xml", "run -c few.yaml --compression zstd", "run -c few.yaml --api x", "run -c few.yaml --protocol soap", "run -c few.yaml --out ftp://x",
	"run -c few.yaml --session-duration x", "run -c few.yaml --session-duration never", "run -c few.yaml --session-duration 1m", "run -c few.yaml --give-up-after x", "run -c few.yaml --max-duration x",
	"run -c few.yaml --region useast1", "run -c few.yaml --role-arn x", "CWHARVEST_EXTERNAL_ID=! run -c few.yaml",
	"run -c few.yaml --range tomorrow", "run -c few.yaml --last x", "run -c few.yaml --range 7d --last 7d", "run -c few.yaml --from 2026-11-01", "run -c few.yaml --from 2026-11-02 --to 2026-11-01",
	"CWHARVEST_FROM=x CWHARVEST_TO=y run -c few.yaml", "run -c few.yaml --night x", "run -c few.yaml --shard 5/4", "run -c few.yaml --redo", "run -c few.yaml --only x",
	"run -c few.yaml --metric CPUUtilisation", "run -c few.yaml --stat Averge", "CWHARVEST_STAT=Averge run -c few.yaml", "run -c few.yaml --metric a --namespace X", "CWHARVEST_CALL_TIMEOUT=x run -c few.yaml",
	"run -c few.yaml --call-timeout x", "run -c few.yaml --peroid 5m", "policy -c few.yaml --period 5m", "CWHARVEST_API=statistics policy -c few.yaml --principal x", "CWHARVEST_PERIOD=x policy -c few.yaml",
	"plan -c few.yaml --period x --listen x", "doctor -c few.yaml --redo --json", "status --period 5m", "run -c missing.yaml",
}
