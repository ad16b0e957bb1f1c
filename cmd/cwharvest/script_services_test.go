package main

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cwharvest/pipeline/awssim"
	"cwharvest/pipeline/awssim/front"
	"cwharvest/store/place/s3test"

	"github.com/rogpeppe/go-internal/testscript"
)

// simulation is the simulated AWS of one script.
type simulation struct {
	config awssim.Config
	server *awssim.Server
	http   *httptest.Server

	profiles map[string]string // sections of the credentials file

	t           *testing.T // shared by all scripts: its cleanups run after the last of them
	s3          *s3test.Server
	instanceKey atomic.Int64 // the number of the key of the instance's role
	metadata    *httptest.Server

	front   *front.Front
	outputs []string // of the commands so far
}

type simulationKey struct{}

func simulationOf(ts *testscript.TestScript) *simulation {
	return ts.Value(simulationKey{}).(*simulation)
}

// simulate serves a simulated AWS until the script ends and points the SDK's
// environment to it: simulate instances=100 life=2s ...
func simulate(ts *testscript.TestScript, _ bool, args []string) {
	c := awssim.Config{
		Accounts: []string{"111122223333"}, Regions: []string{"us-east-1"}, Instances: 50, Distinct: true,
		RoleName: "metrics-reader", ExternalID: "x1", TrackRepeats: true,
	}
	for _, arg := range args {
		ts.Check(setConfig(&c, arg))
	}
	sim := simulationOf(ts)
	sim.config, sim.server = c, awssim.New(c)
	sim.http = httptest.NewServer(sim.server)
	ts.Defer(func() {
		sim.server.Clear("")
		sim.http.CloseClientConnections()
		sim.http.Close()
	})
	for _, variable := range awssim.Environment(c, sim.http.URL) {
		name, value, _ := strings.Cut(variable, "=")
		ts.Setenv(name, value)
	}
}

// overTLS serves the script's simulated AWS over TLS as well, with a certificate
// in ca.pem, and points the SDK's environment there.
func overTLS(ts *testscript.TestScript, _ bool, _ []string) {
	server := httptest.NewUnstartedServer(simulationOf(ts).server)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	ts.Defer(server.Close)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	ts.Check(os.WriteFile(ts.MkAbs("ca.pem"), text, 0o600))
	ts.Setenv("AWS_ENDPOINT_URL", server.URL)
}

func setConfig(c *awssim.Config, arg string) (err error) {
	name, value, _ := strings.Cut(arg, "=")
	switch name {
	case "instances":
		c.Instances, err = strconv.Atoi(value)
	case "accounts":
		c.Accounts = strings.Split(value, ",")
	case "regions":
		c.Regions = strings.Split(value, ",")
	case "values": // measured: like those of real metrics
		c.Distinct = value != "measured"
	case "disabled":
		c.Disabled = strings.Split(value, ",")
	case "partitions": // ACCOUNT:PARTITION,...
		c.Partitions = map[string]string{}
		for pair := range strings.SplitSeq(value, ",") {
			account, partition, _ := strings.Cut(pair, ":")
			c.Partitions[account] = partition
		}
	case "page": // datapoints on each page of GetMetricData
		c.PageDatapoints, err = strconv.Atoi(value)
	case "life":
		c.SessionLife, err = time.ParseDuration(value)
	case "latency":
		c.Latency, err = time.ParseDuration(value)
	case "external":
		c.ExternalID = value
	case "roles":
		c.RoleName = value
	case "max":
		c.MaxSession, err = time.ParseDuration(value)
	case "clock":
		var ahead time.Duration
		ahead, err = time.ParseDuration(value)
		c.Now = func() time.Time { return time.Now().Add(ahead) }
	case "datapoints":
		c.DatapointsPerSecond, err = strconv.ParseFloat(value, 64)
	default:
		err = fmt.Errorf("simulate: unknown setting %q", name)
	}
	return err
}

// profile writes a profile with a simulated AWS's numbered key into the
// credentials file, instead of keys in the environment: profile default 1.
func profile(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs("credentials")
	ts.Setenv("AWS_SHARED_CREDENTIALS_FILE", path)
	ts.Setenv("AWS_ACCESS_KEY_ID", "")
	ts.Setenv("AWS_SECRET_ACCESS_KEY", "")
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	key := awssim.NumberedKey(n)
	sections := simulationOf(ts).profiles
	if sections == nil {
		sections = map[string]string{}
		simulationOf(ts).profiles = sections
	}
	sections[args[0]] = fmt.Sprintf("[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n", args[0], key.ID, key.Secret)
	var text strings.Builder
	for _, section := range sections {
		text.WriteString(section)
	}
	ts.Check(os.WriteFile(path+".new", []byte(text.String()), 0o600))
	ts.Check(os.Rename(path+".new", path))
}

// imds serves an instance's metadata: its role's credentials are a simulated
// AWS's numbered key, with an end an hour ago or an hour ahead: imds 2 past.
func imds(ts *testscript.TestScript, _ bool, args []string) {
	sim := simulationOf(ts)
	n, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	sim.instanceKey.Store(n)
	past := len(args) > 1 && args[1] == "past"
	if sim.metadata != nil {
		return
	}
	const role = "/latest/meta-data/iam/security-credentials/"
	sim.metadata = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
			fmt.Fprint(w, "token")
		case role:
			fmt.Fprint(w, "harvester")
		case role + "harvester":
			n := sim.instanceKey.Load()
			key, end := awssim.NumberedKey(int(n)), time.Now().Add(time.Hour)
			if past && n == 2 {
				end = time.Now().Add(-time.Hour)
			}
			fmt.Fprintf(w, `{"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": %q, "SecretAccessKey": %q, "Token": "", "Expiration": %q}`,
				key.ID, key.Secret, end.UTC().Format(time.RFC3339))
		default:
			http.NotFound(w, r)
		}
	}))
	ts.Defer(sim.metadata.Close)
	ts.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", sim.metadata.URL)
	ts.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	ts.Setenv("AWS_ACCESS_KEY_ID", "")
	ts.Setenv("AWS_SECRET_ACCESS_KEY", "")
}

// bucket serves an S3 with a bucket of that name until the script ends, and injects
// a fault into matching requests: bucket 'PUT .*date=' count=3 status=503
// code=SlowDown; bucket none. "bucket other" is an empty bucket of the same name, and
// "bucket first" the first one again.
func bucket(ts *testscript.TestScript, _ bool, args []string) {
	sim := simulationOf(ts)
	if sim.s3 == nil {
		sim.s3 = s3test.Start(sim.t, "bucket")
		ts.Setenv("AWS_ENDPOINT_URL_S3", sim.s3.URL)
	}
	switch args[0] {
	case "none":
		sim.s3.Fault(s3test.Fault{})
		return
	case "other":
		ts.Setenv("AWS_ENDPOINT_URL_S3", s3test.Start(sim.t, "bucket").URL)
		return
	case "first":
		ts.Setenv("AWS_ENDPOINT_URL_S3", sim.s3.URL)
		return
	}
	f := s3test.Fault{Match: args[0]}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		var err error
		switch name {
		case "count":
			f.Count, err = strconv.Atoi(value)
		case "status":
			f.Status, err = strconv.Atoi(value)
		case "code":
			f.Code = value
		case "cut":
			f.Cut, err = strconv.ParseInt(value, 10, 64)
		case "lost":
			f.Lost, err = strconv.ParseBool(value)
		default:
			ts.Fatalf("bucket: unknown setting %q", name)
		}
		ts.Check(err)
	}
	sim.s3.Fault(f)
}

// webhook serves a webhook that answers 500 so many times first, and then writes
// the request body into webhook.json: webhook 1.
func webhook(ts *testscript.TestScript, _ bool, args []string) {
	failures, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	path := ts.MkAbs("webhook.json")
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if failures < 0 && r.URL.Path != "/elsewhere" { // a client that follows it writes webhook.json
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
			return
		}
		if n := asked.Add(1); n <= failures || err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			http.Error(w, "not now", http.StatusInternalServerError)
			return
		}
		if err := os.WriteFile(path, body, 0o600); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	ts.Defer(server.Close)
	ts.Setenv("WEBHOOK", server.URL+"/secret-of-ours")
}
