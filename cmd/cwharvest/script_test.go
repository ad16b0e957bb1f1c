package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cwharvest/cmd/cwharvest/demo"
	"cwharvest/pipeline/awssim"
	"cwharvest/store/record"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/rogpeppe/go-internal/testscript"
	bolt "go.etcd.io/bbolt"
)

// raceOptions configures the race detector of processes, which otherwise sleeps a
// second before each exits.
const raceOptions = "GORACE"

func TestMain(m *testing.M) {
	if os.Getenv(raceOptions) == "" {
		if err := os.Setenv(raceOptions, "atexit_sleep_ms=0"); err != nil {
			panic(err)
		}
	}
	testscript.Main(m, map[string]func(){"plainsdk": plainSDK, "profiled": profiled, "cwharvest": func() {
		if path := os.Getenv(otherBinary); path != "" {
			if err := os.Unsetenv(otherBinary); err != nil { // the program warns of variables that are no settings
				panic(err)
			}
			panic(syscall.Exec(path, os.Args, os.Environ()))
		}
		setClock()
		main()
	}})
}

// otherBinary is the environment variable that names the binary that the scripts run
// instead of this program, for example an older one:
//
//	CWHARVEST_BIN=/tmp/cwharvest go test ./cmd/cwharvest -run TestScripts/ways_
const otherBinary = "CWHARVEST_BIN"

// testClock is the environment variable that sets the program's clock, as RFC
// 3339. The program itself knows of no such variable.
const testClock = "TEST_CLOCK_OF_CWHARVEST"

func setClock() {
	text := os.Getenv(testClock)
	if text == "" {
		return
	}
	began, started := time.Time{}, time.Now()
	if err := began.UnmarshalText([]byte(text)); err != nil {
		panic(err)
	}
	now = func() time.Time { return began.Add(time.Since(started)) }
}

// TestScripts proves that the real program, as a separate process, behaves as the
// scripts under testdata/script say against the simulated AWS over HTTP. The map
// commands below extends testscript's own commands.
func TestScripts(t *testing.T) {
	needsProcesses(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("CWHARVEST_WAIT_FOR_ROLES", "0s") // scripts that deny a role would take two minutes
			env.Setenv(raceOptions, os.Getenv(raceOptions))
			env.Setenv(otherBinary, os.Getenv(otherBinary))
			env.Values[simulationKey{}] = &simulation{t: t}
			today := demo.LastSettled(time.Now())
			for n, name := range []string{"TODAY", "YESTERDAY", "DAYBEFORE"} {
				env.Setenv(name, today.AddDate(0, 0, -n).Format(time.DateOnly))
			}
			return nil
		},
		Cmds: commands,
	})
}

var commands = map[string]func(*testscript.TestScript, bool, []string){
	"simulate":  simulate,
	"overtls":   overTLS,
	"fault":     fault,
	"clear":     clearFaults,
	"exits":     exits,
	"paste":     paste,
	"until":     until,
	"counted":   counted,
	"rows":      rows,
	"profile":   profile,
	"imds":      imds,
	"bucket":    bucket,
	"webhook":   webhook,
	"remove":    remove,
	"abandon":   abandon,
	"uploads":   uploads,
	"publish":   publish,
	"unpublish": func(ts *testscript.TestScript, _ bool, _ []string) { simulationOf(ts).server.Unpublish() },
	"schema":    schema,

	"front":       startFront,
	"keys":        keys,
	"process":     process,
	"grant":       grant,
	"login":       login,
	"front-fault": frontFault,
	"requests":    requests,
	"hidden":      hidden,
	"remember":    func(ts *testscript.TestScript, _ bool, _ []string) { remember(ts) },
	"logout":      func(ts *testscript.TestScript, _ bool, _ []string) { frontOf(ts).Revoke() },
	"forget":      func(ts *testscript.TestScript, _ bool, _ []string) { frontOf(ts).Forget() },
	"front-clear": func(ts *testscript.TestScript, _ bool, args []string) {
		frontOf(ts).ClearFaults(strings.Join(args, ""))
	},
	"lasts": func(ts *testscript.TestScript, _ bool, args []string) { // trouble has a length: it waits for nothing
		d, err := time.ParseDuration(args[0])
		ts.Check(err)
		time.Sleep(d)
	},
	"deny-older": func(ts *testscript.TestScript, _ bool, _ []string) {
		ts.Check(simulationOf(ts).server.Inject(awssim.Fault{Kind: "deny_older"}))
	},
	"revoke": func(ts *testscript.TestScript, _ bool, _ []string) {
		ts.Check(simulationOf(ts).server.Inject(awssim.Fault{Kind: "revoke_all"}))
	},
}

// remove removes the objects whose keys hold a text: remove date=2026-11-20.
func remove(ts *testscript.TestScript, _ bool, args []string) {
	client, name := simulationOf(ts).s3.Client(), "bucket"
	list, err := client.ListObjectsV2(context.Background(), &s3.ListObjectsV2Input{Bucket: &name})
	ts.Check(err)
	for _, o := range list.Contents {
		if strings.Contains(*o.Key, args[0]) {
			_, err := client.DeleteObject(context.Background(), &s3.DeleteObjectInput{Bucket: &name, Key: o.Key})
			ts.Check(err)
		}
	}
}

// abandon begins an upload of a part of the open job and leaves it, as a process
// that is killed does: abandon 2026-11-20.
func abandon(ts *testscript.TestScript, _ bool, args []string) {
	paths, err := filepath.Glob(ts.MkAbs("harvest/jobs/*-" + args[0] + "-*.db"))
	ts.Check(err)
	name, key := "bucket", "night/data/date="+args[0]+"/"+strings.TrimSuffix(filepath.Base(paths[0]), ".db")+"-000001.parquet"
	_, err = simulationOf(ts).s3.Client().CreateMultipartUpload(context.Background(), &s3.CreateMultipartUploadInput{Bucket: &name, Key: &key})
	ts.Check(err)
}

// uploads counts those that were never completed: uploads 0.
func uploads(ts *testscript.TestScript, _ bool, args []string) {
	name := "bucket"
	list, err := simulationOf(ts).s3.Client().ListMultipartUploads(context.Background(), &s3.ListMultipartUploadsInput{Bucket: &name})
	ts.Check(err)
	if n := strconv.Itoa(len(list.Uploads)); n != args[0] {
		ts.Fatalf("%s uploads, want %s", n, args[0])
	}
}

// fault injects a fault into the simulated AWS: fault throttle count=5 operation=GetMetricData
func fault(ts *testscript.TestScript, _ bool, args []string) {
	f := awssim.Fault{Kind: args[0]}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		var err error
		switch name {
		case "count":
			f.Count, err = strconv.Atoi(value)
		case "probability":
			f.Probability, err = strconv.ParseFloat(value, 64)
		case "millis":
			f.Millis, err = strconv.Atoi(value)
		case "operation":
			f.Operation = value
		case "service":
			f.Service = value
		case "account":
			f.Account = value
		case "region":
			f.Region = value
		case "spelling":
			f.Spelling = value
		case "metric":
			f.Metric = value
		case "statistic":
			f.Statistic = value
		case "role":
			f.Role = value
		case "key":
			f.Key = value
		case "instance": // by its place in the fleet's first target
			var i int
			i, err = strconv.Atoi(value)
			c := simulationOf(ts).config
			f.Instance = c.Instance(c.Accounts[0], c.Regions[0], i).ID
		default:
			ts.Fatalf("fault: unknown setting %q", name)
		}
		ts.Check(err)
	}
	ts.Check(simulationOf(ts).server.Inject(f))
}

// publish adds a metric to those that ListMetrics returns; values may be Go strings
// in quotes: publish Shop Orders Stage=prod 'Cart="a\x00b"'.
func publish(ts *testscript.TestScript, _ bool, args []string) {
	m := awssim.Metric{Namespace: args[0], Name: args[1], Dimensions: [][2]string{}}
	for _, arg := range args[2:] {
		if unit, is := strings.CutPrefix(arg, "unit:"); is {
			m.Units = append(m.Units, unit)
			continue
		}
		name, value, _ := strings.Cut(arg, "=")
		if strings.HasPrefix(value, `"`) {
			text, err := strconv.Unquote(value)
			ts.Check(err)
			value = text
		}
		m.Dimensions = append(m.Dimensions, [2]string{name, value})
	}
	simulationOf(ts).server.Publish(m)
}

func clearFaults(ts *testscript.TestScript, _ bool, args []string) {
	simulationOf(ts).server.Clear(strings.Join(args, ""))
}

// exits runs a command that must end with an exit code: exits 2 cwharvest run
func exits(ts *testscript.TestScript, _ bool, args []string) {
	command := args[1:]
	if _, err := exec.LookPath("timeout"); err == nil && simulationOf(ts).front != nil {
		command = append([]string{"timeout", "-k", "2", "20"}, command...) // a wait without an end fails its own line
	}
	err := ts.Exec(command[0], command[1:]...)
	remember(ts)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// paste runs a command that the last program printed in a shell, as a user does who copies it: the text that the group of a
// pattern matches in its stdout or stderr.
func paste(ts *testscript.TestScript, _ bool, args []string) {
	printed := ts.ReadFile(args[0])
	found := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(printed)
	if found == nil || !strings.HasPrefix(found[1], "cwharvest ") {
		ts.Fatalf("no command matches %s in\n%s", args[1], printed)
	}
	ts.Check(ts.Exec("sh", "-c", found[1]))
}

// until waits for a status: until done 10 (at least so many instances done),
// until state waiting, until refused 1. A third argument names another directory
// than harvest.
func until(ts *testscript.TestScript, _ bool, args []string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var last *record.Status
	dir := strings.Join(append(args[2:], "harvest")[:1], "")
	for deadline := time.Now().Add(hangAfter); time.Now().Before(deadline); <-tick.C {
		s, err := record.ReadStatus(ts.MkAbs(dir))
		if err != nil {
			continue // not there yet
		}
		if last = s; reached(s, args[0], args[1]) {
			return
		}
	}
	ts.Fatalf("until %s %s: not within %v; status is %+v", args[0], args[1], hangAfter, last)
}

func reached(s *record.Status, what, value string) bool {
	switch what {
	case "state":
		return s.State == value
	case "reason": // of a target
		return slices.ContainsFunc(s.TargetDetails, func(d record.TargetDetail) bool { return strings.Contains(d.Reason, value) })
	}
	n, err := strconv.ParseInt(value, 10, 64)
	return err == nil && map[string]int64{
		"done": s.Instances.Done, "planned": s.Instances.Planned, "denied": s.Targets.Denied, "waiting": s.Targets.Waiting,
		"refused": s.Sessions.RefusedExpired, "switches": s.Sessions.Switches, "open": int64(len(s.OpenNights)), "parts": int64(s.Parts),
	}[what] >= n
}

// counted compares the counts of the simulated AWS: counted throttled 3,
// counted total '<=' 20.
func counted(ts *testscript.TestScript, _ bool, args []string) {
	s := simulationOf(ts).server.Stats()
	roles := 0
	for _, n := range s.Roles {
		roles += n
	}
	got, known := map[string]int{
		"total": s.Total(), "answered": s.Answered, "throttled": s.Throttled, "early": s.ExpiredEarly, "in_time": s.ExpiredInTime,
		"sessions": s.Sessions, "assumed": roles, "repeated": s.Repeated, "data": s.Calls["monitoring.GetMetricData"],
		"billed": int(s.BilledMetrics), "describe": s.Calls["ec2.DescribeInstances"], "listed": s.Calls["monitoring.ListMetrics"],
		"statistics": s.Calls["monitoring.GetMetricStatistics"], "regions": s.Calls["ec2.DescribeRegions"],
		"cbor": s.Protocols["cbor"], "json": s.Protocols["json"], "query": s.Protocols["query"],
		"accounts": s.Calls["organizations.ListAccounts"] + s.Calls["organizations.ListAccountsForParent"],
	}[args[0]]
	if !known {
		ts.Fatalf("counted: unknown count %q", args[0])
	}
	relation, number := "==", args[1]
	if len(args) == 3 {
		relation, number = args[1], args[2]
	}
	want, err := strconv.Atoi(number)
	ts.Check(err)
	if holds := map[string]bool{"==": got == want, "<=": got <= want, ">=": got >= want}[relation]; !holds {
		ts.Fatalf("%s is %d, want %s %d", args[0], got, relation, want)
	}
}

// schema gives every database of the harvest a schema version: schema 99.
func schema(ts *testscript.TestScript, _ bool, args []string) {
	paths, err := filepath.Glob(ts.MkAbs("harvest/jobs/*.db"))
	ts.Check(err)
	if len(paths) == 0 {
		ts.Fatalf("schema: no database")
	}
	version, err := strconv.Atoi(args[0])
	ts.Check(err)
	for _, path := range paths {
		db, err := bolt.Open(path, 0o600, nil)
		ts.Check(err)
		err = db.Update(func(tx *bolt.Tx) error {
			meta, record := tx.Bucket([]byte("meta")), map[string]any{}
			if err := json.Unmarshal(meta.Get([]byte("job")), &record); err != nil {
				return err
			}
			record["version"] = version
			data, err := json.Marshal(record)
			if err != nil {
				return err
			}
			return meta.Put([]byte("job"), data)
		})
		ts.Check(errors.Join(err, db.Close()))
	}
}

// rows compares every row of the harvest with the simulator's function, for
// yesterday: rows CPUUtilization,NetworkIn days=2 namespace=AWS/RDS
// by=DBInstanceIdentifier statistics=average:Average,p99:p99.
func rows(ts *testscript.TestScript, _ bool, args []string) {
	c := simulationOf(ts).config
	today, err := time.Parse(time.DateOnly, ts.Getenv("TODAY"))
	ts.Check(err)
	t := demo.Expected{
		AWS: c, Namespace: "AWS/EC2", Metrics: strings.Split(args[0], ","),
		Statistics: map[string]string{"average": "Average", "maximum": "Maximum"},
		Start:      today.AddDate(0, 0, -1), End: today, Period: 5 * time.Minute,
	}
	dir := "harvest"
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "days":
			days, err := strconv.Atoi(value)
			ts.Check(err)
			t.Start = today.AddDate(0, 0, -days)
		case "period":
			t.Period, err = time.ParseDuration(value)
			ts.Check(err)
		case "namespace":
			t.Namespace = value
		case "dir":
			dir = value
		case "beside":
			t.Beside = strings.Split(value, ",")
		case "by":
			t.By = strings.Split(value, ",")
		case "statistics":
			t.Statistics = map[string]string{}
			for column := range strings.SplitSeq(value, ",") {
				column, statistic, _ := strings.Cut(column, ":")
				t.Statistics[column] = statistic
			}
		case "accounts":
			t.AWS.Accounts = strings.Split(value, ",")
		case "regions":
			t.AWS.Regions = strings.Split(value, ",")
		default:
			ts.Fatalf("rows: unknown setting %q", name)
		}
	}
	found, err := t.Check(ts.MkAbs(dir + "/data"))
	ts.Check(err)
	if found.Bad() || found.Rows == 0 {
		ts.Fatalf("rows missing/duplicate/wrong %d/%d/%d of %d", found.Missing, found.Duplicate, found.Wrong, found.Rows)
	}
}
