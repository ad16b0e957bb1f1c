package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cwharvest/pipeline"
	"cwharvest/pipeline/awssim"
)

// situation is a command line that fails.
type situation struct {
	name string
	args string // separated by blanks
	env  string // NAME=VALUE, separated by blanks
	code int
	want string // the hint that must be printed
}

const asked = "-c right.yaml " // a valid configuration

var situations = []situation{
	// The command line.
	{"no such command", "stauts", "", 2, `unknown command "stauts" for "cwharvest" (did you mean "status"?); see cwharvest --help`},
	{"nothing like a command", "frobnicate", "", 2, `unknown command "frobnicate" for "cwharvest"; see cwharvest --help`},
	{"nothing like a flag", "run --frobnicate", "", 2, "unknown flag: --frobnicate; see cwharvest run --help"},
	{"an argument too many", "run right.yaml", "", 2, "see cwharvest run --help"},
	{"no such flag", "plan --perid 5m", "", 2, `unknown flag: --perid (did you mean "--period"?); see cwharvest plan --help`},
	{"not a number", "run --concurrency many", "", 2, "see cwharvest run --help"},
	{"a duration", "run --last soon", "", 2, `--last: duration "soon" is not valid; write 300, 5m, 24h or 7d`},
	{"a time", "run --from monday --to friday", "", 2, "write 2026-11-01, 2026-11-01T06:00 or 2026-11-01T06:00:00Z"},
	{"half a range", "run --from 2026-11-01", "", 2, "--from and --to go together"},
	{"two ranges", "run --last 24h --range yesterday", "", 2, "use one of --range, --last"},
	{"less than a period", "run --last 1m", "", 2, "write 24h or 7d"},
	{"a night to come", "run --night 2999-01-01", "", 2, "run again then, or name an earlier night"},
	{"a night long ago", "run --night 2001-01-01", "", 2, "begin after 2"},
	{"no night", "run --night monday", "", 2, "write a UTC day, such as 2026-11-20"},
	{"a period", "run --period 90", "", 2, "use a multiple of 60 seconds"},
	{"a misspelt metric", "run --metric CPUUtilisation", "", 2, `did you mean "CPUUtilization"?`},
	{"an unknown metric", "run --metric Frobs", "", 2, "set allow_unknown_metric to request it anyway"},
	{"a misspelt statistic", "run --stat Averge", "", 2, `did you mean "Average"?`},
	{"no dimensions", "run --namespace AWS/RDS --metric CPUUtilization", "", 2, "such as dimensions: [DBInstanceIdentifier]"},
	{"a region", "run --region US-EAST-1", "", 2, "write a name such as us-east-1, a pattern such as us-*, or enabled"},
	{"a role", "run --role-arn reader", "", 2, "such as arn:aws:iam::111122223333:role/metrics-reader"},
	{"a format", "run --format xml", "", 2, "use parquet, csv or jsonl"},
	{"a compression", "run --compression gzip", "", 2, "leave it out, or use csv or jsonl"},
	{"a size", "run --part-size huge", "", 2, "write 128MB, 64MiB or a number of bytes"},
	{"a price", "run --max-cost -1", "", 2, "write USD, such as 25, or leave it out"},
	{"a place", "run --out ftp://x/y", "", 2, "write a directory or s3://bucket/prefix"},
	{"a bucket", "run --out s3://X", "", 2, "3 to 63 lowercase letters, digits, dots and hyphens"},
	{"a prefix", "run --out s3://bucket/../x", "", 2, "leave it out"},
	{"a target", "run --only reader", "", 2, "write ACCOUNT or ACCOUNT/REGION, such as 111122223333/us-east-1"},
	{"another target", "run " + asked + "--only 999999999999", "", 2, "name some of 111122223333/us-east-1"},
	{"redo of everything", "run --redo", "", 2, "name the targets with --only ACCOUNT or ACCOUNT/REGION"},
	{"redo of nothing", "run " + asked + "--dir other --redo --only 111122223333", "", 2, "name the day of a finished job with --night"},
	{"a log format", "run --log-format xml", "", 2, "text or json"},
	{"a log level", "run --log-level loud", "", 2, "debug, info, warn or error"},
	{"a log that cannot be", "run --log-file nowhere/log", "", 2, "create it, or name another path"},
	{"metrics that cannot be", "run --metrics-file nowhere/x.prom", "", 2, "create it, or name another path"},
	{"no port", "run --listen 9464", "", 2, "such as 127.0.0.1:9464"},
	{"an address for all", "run --listen 0.0.0.0:9464", "", 2, "add --listen-anywhere"},
	{"an address in use", "run --listen $TAKEN", "", 2, "name a free address of this machine, such as 127.0.0.1:9464"},
	{"plain http", "run --endpoint-url http://example.com", "", 2, "use https"},
	{"no endpoint", "run --endpoint-url :::", "", 2, "write https://host or https://host:port"},
	{"a variable", "run", "CWHARVEST_MAX_COST=much", 2, "it sets --max-cost, which takes a number"},

	// The file.
	{"no file", "run -c nowhere.yaml", "", 2, "create it with: cwharvest init nowhere.yaml"},
	{"a directory", "plan -c .", "", 2, "name a file that this user can read"},
	{"broken YAML", "run -c broken.yaml", "", 2, "broken.yaml:1:7: sequence end token ']' not found; see every key in its place with: cwharvest init -"},
	{"a text", "run -c text.yaml", "", 2, "see every key in its place with: cwharvest init -"},
	{"a misspelt key", "run -c key.yaml", "", 2, `key.yaml:2:1: unknown key "metrcs" (did you mean "metrics"?)`},
	{"an unknown key", "run -c other.yaml", "", 2, "see every key in its place with: cwharvest init -"},
	{"a type", "run -c type.yaml", "", 2, "type.yaml:1:14: value of the wrong type; write a whole number here"},
	{"a number for an account", "run -c account.yaml", "", 2, "write 12 digits, in quotes"},
	{"a variable that is not set", "run -c secret.yaml", "", 2, "export it, or write the value"},
	{"init over a file", "init right.yaml", "", 2, "name another file, or overwrite it with --force"},
	{"init nowhere", "init nowhere/harvest.yaml", "", 2, "create it, or name another path"},
	{"no ids", "plan --instances-from nowhere.txt", "", 2, "create it, or name another path"},
	{"ids that are none", "plan --instances-from ids.txt", "", 2, `ids.txt:1: "garbage!" is not an instance id; write an id such as i-0123456789abcdef0`},

	// The harvest directory.
	{"status of nothing", "status", "", 10, "name the harvest directory (dir in harvest.yaml), or start one with: cwharvest run"},
	{"verify of nothing", "verify nowhere", "", 10, "name the harvest directory"},
	{"repair of nothing", "repair nowhere", "", 10, "name the harvest directory"},
	{"prune of nothing", "prune nowhere", "", 10, "name the harvest directory"},
	{"export of nothing", "export nowhere --format csv --to x", "", 10, "name the harvest directory"},
	{"ddl of nothing", "ddl duckdb nowhere", "", 10, "name the harvest directory"},
	{"ddl of what", "ddl mysql done", "", 2, "choose athena or duckdb"},
	{"a directory that is a file", "run " + asked + "--dir text.yaml", "", 1, "passes through a file"},
	{"a directory nobody can make", "run " + asked + "--dir /proc/x", "", 1, "create it, or name another path"},
	{"output that is a file", "run " + asked + "--dir new --out text.yaml", "", 1, "passes through a file"},
	{"a damaged database", "status damaged", "", 1, "repair the directory: cwharvest repair "},
	{"a lost database", "run " + asked + "--dir lost", "", 1, "repair the directory: cwharvest repair "},
	{"another's output", "run " + asked + "--dir new --out done/data", "", 2, "choose another out, or remove .cwharvest.json from there"},
	{"another plan", "run " + asked + "--dir open --period 1h", "", 12, "finish it with the old settings, or use another --dir"},
	{"export without a format", "export done", "", 2, "choose parquet, csv or jsonl"},
	{"export to nowhere", "export done --format csv", "", 2, "name the directory to write to"},
	{"export into itself", "export done --format csv --to done/data", "", 1, "export to another directory"},
	{"keep for seconds", "prune done --keep 90", "", 2, "write days, such as 90d"},
	{"keep how long", "prune done --keep ever", "", 2, "write 300, 5m, 24h or 7d"},
	{"a policy", "policy " + asked + "--format xml", "", 2, "json or cloudformation"},
	{"a demo", "demo --dir /proc/x", "", 1, "name another path"},
	{"a shard", "run " + asked + "--dir new --shard 5/4", "", 2, "shards are counted from 1 to M"},
	{"no shard", "run " + asked + "--dir new --shard= ", "", 2, "write N/M"},
	{"no array", "run " + asked + "--dir new --shard auto/4", "", 2, "write 1/4 to 4/4"},
	{"not divided", "run " + asked + "--dir done --shard 1/4", "", 2, "leave --shard out, or use another --dir"},
	{"a price too high", "run " + asked + "--dir dear --max-cost 0.00001", "", 5, "raise it, or ask for less"},

	// Credentials.
	{"no region", "plan", "AWS_REGION=", 2, "give --region, regions in the file, AWS_REGION or one in the profile"},
	{"no credentials", "plan", "AWS_ACCESS_KEY_ID= AWS_SECRET_ACCESS_KEY=", 4, "log in (aws sso login, aws login, aws configure), export AWS_PROFILE, or unset AWS_EC2_METADATA_DISABLED"},
	{"a wrong key", "plan", "AWS_SECRET_ACCESS_KEY=wrong", 4, "replace the keys, or set this machine's clock"},
	{"no such profile", "plan --profile nobody", "", 2, "correct the name in AWS_PROFILE or the configuration, or add the profile to "},
	{"nobody mends them", "run --dir waits --wait-for-credentials 1ms", "AWS_ACCESS_KEY_ID= AWS_SECRET_ACCESS_KEY=", 4, "log in (aws sso login, aws login, aws configure)"},
}

// TestErrorsSayWhatToDo proves that every error is one line with a hint.
func TestErrorsSayWhatToDo(t *testing.T) {
	prepareSituations(t)
	for _, s := range situations {
		t.Run(s.name, func(t *testing.T) {
			for variable := range strings.FieldsSeq(s.env) {
				name, value, _ := strings.Cut(variable, "=")
				t.Setenv(name, value)
			}
			var stdout, stderr bytes.Buffer
			code := execute(strings.Fields(os.ExpandEnv(s.args)), &stdout, &stderr)
			var told []string
			for line := range strings.Lines(stderr.String()) {
				if !strings.HasPrefix(line, "time=") { // the log
					told = append(told, strings.TrimSpace(line))
				}
			}
			if code != s.code {
				t.Errorf("exit code %d, want %d", code, s.code)
			}
			if len(told) != 1 || !strings.HasPrefix(told[0], "cwharvest: ") || !strings.Contains(told[0], s.want) {
				t.Errorf("told %q, want one line with %q", told, s.want)
			}
		})
	}
}

// prepareSituations makes a simulated AWS and a directory with all kinds of files,
// and works there.
func prepareSituations(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("HOME", dir)
	c := awssim.Config{Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}, Instances: 3, RoleName: "metrics-reader"}
	server := httptest.NewServer(awssim.New(c))
	t.Cleanup(server.Close)
	for _, variable := range awssim.Environment(c, server.URL) {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	t.Setenv("TAKEN", taken.Addr().String())
	for name, text := range map[string]string{
		"right.yaml":  "dir: harvest\ndefaults: {role_name: metrics-reader, regions: [us-east-1]}\naccounts: [{id: \"111122223333\"}]\nmetrics: [{namespace: AWS/EC2, names: [CPUUtilization], statistics: [Average]}]\n",
		"broken.yaml": "tags: [\n", "text.yaml": "only a text\n", "key.yaml": "job: x\nmetrcs: []\n", "other.yaml": "frobnicate: 1\n", "type.yaml": "concurrency: many\n",
		"account.yaml": "accounts: [{id: \"1111\"}]\n", "secret.yaml": "defaults: {external_id: \"${NOT_SET_ANYWHERE}\"}\n", "ids.txt": "garbage!\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for dir, args := range map[string]string{"first": "", "damaged": "", "lost": "", "open": "--max-cost 0.00001"} {
		var output lockedBuffer // one for both, as 2>&1 has it
		if code := execute(strings.Fields("run "+asked+"--dir "+dir+" "+args), &output, &output); code != exitComplete && args == "" {
			t.Fatalf("exit code %d\n%s", code, output.String())
		}
	}
	if err := os.Rename("first", "done"); err != nil {
		t.Fatal(err)
	}
	for _, path := range databases(t, "damaged") {
		if err := os.WriteFile(path, make([]byte, 8192), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range databases(t, "lost") {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func databases(t *testing.T, dir string) []string {
	paths, err := filepath.Glob(filepath.Join(dir, "jobs", "*.db"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("databases of %s: %q, %v", dir, paths, err)
	}
	return paths
}

// TestHintOfAnUnforeseenError: an error that no rule covers still prints a next step.
func TestHintOfAnUnforeseenError(t *testing.T) {
	var b bytes.Buffer
	printError(&b, fmt.Errorf("commit: %w", net.ErrWriteToConnected), choice{})
	if got, want := b.String(), "; run it again; if the error persists, check the directory: cwharvest verify\n"; !strings.HasSuffix(got, want) {
		t.Errorf("%q", got)
	}
	b.Reset()
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("connection refused")} // AWS, not the address of --listen
	printError(&b, fmt.Errorf("%w: %w", pipeline.ErrCredentials, dial), choice{})
	if got, want := b.String(), "cwharvest: "+pipeline.ErrCredentials.Error()+": dial tcp: connection refused\n"; got != want {
		t.Errorf("%q", got)
	}
	b.Reset()
	printError(&b, joined{usageError{error: fmt.Errorf("one; do this")}, &outcomeError{3}, usageError{error: fmt.Errorf("two; do that")}}, choice{})
	if got, want := b.String(), "cwharvest: one; do this\ncwharvest: two; do that\n"; got != want {
		t.Errorf("%q", got)
	}
}

var harvestCommand = regexp.MustCompile(`\bcwharvest (run|plan|status|verify|export|ddl|repair|prune|doctor|policy)\b`)

// TestCommandsRepeatTheChoice proves that the program builds the commands it prints with the type choice, or formats the options into
// them: a command without them reads another harvest, or none, where it is pasted. Help texts are examples.
func TestCommandsRepeatTheChoice(t *testing.T) {
	complete := regexp.MustCompile(`(%(\[\d\])?s|OPTIONS|cwharvest policy |run --help|doctor checks)`)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if field, ok := n.(*ast.KeyValueExpr); ok {
				name, _ := field.Key.(*ast.Ident)
				return name == nil || !slices.Contains([]string{"Use", "Short", "Long", "Example"}, name.Name)
			}
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			for _, at := range harvestCommand.FindAllStringIndex(literal.Value, -1) {
				if !complete.MatchString(literal.Value[at[0]:]) {
					t.Errorf("%s: %s: use choice.look or choice.run", set.Position(literal.Pos()), literal.Value)
				}
			}
			return true
		})
	}
}

type joined []error

func (j joined) Error() string   { return "one\ntwo" }
func (j joined) Unwrap() []error { return j }
