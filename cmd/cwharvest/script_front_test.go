package main

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"cwharvest/pipeline/awssim"
	"cwharvest/pipeline/awssim/front"

	"github.com/rogpeppe/go-internal/testscript"
)

// The commands in this file put the real host names of AWS before the simulated AWS:
//
//	simulate accounts=111122223333,444455556666 partitions=444455556666:aws-cn regions=us-east-1,cn-north-1 disabled=me-south-1
//	front                                 before: simulate. From here on, the program calls https://sts.us-east-1.amazonaws.com
//	                                      and so on, through a proxy. No endpoint, key or region is in the environment
//	keys 2 [newline]                      puts long-lived key 2 into the environment; 0: none. Keys belong to the accounts in turn.
//	                                      newline: the secret ends with one. The command "profile NAME N" writes a key into a profile
//	process FILE 2 [account=A] [ends=-1h] writes key 2 as a credential_process prints it; ACCESS and SECRET are its texts
//	grant imds 111122223333/node          instance metadata hands out sessions of the role; "grant imds" without a role: 404
//	grant container 111122223333/task     so does the container's endpoint (ECS); a third argument is the account that it claims
//	grant pod 111122223333/pod            the same with a token file, pod-token (EKS Pod Identity)
//	grant signin 111122223333/admin       "aws login" refreshes to sessions of the role
//	login sso corp [expired] [refresh]    writes the token of sso-session corp (or of a start URL) as "aws sso login" does;
//	                                      expired: it has ended; refresh: it can be refreshed
//	login aws arn:aws:... [expired]       writes the token of login_session arn:aws:... as "aws login" does; instead of expired,
//	                                      the account that it claims
//	login web FILE [CODE]                 writes a web identity token that STS accepts, or refuses with CODE
//	login pod                             writes another token into pod-token
//	logout                                makes the tokens of SSO, "aws login" and pods invalid at AWS
//	front-fault HOST SETTING=VALUE...     replaces the responses of hosts that match: sts.*.amazonaws.com, portal.sso.*,
//	                                      imds, container. Settings: status=503 code=ServiceUnavailable message=TEXT,
//	                                      kind=html|garbage|hang|cut, count=3, for=2s, connect=true (the proxy itself answers),
//	                                      match=REGEXP (on the line that requests sees), keys=seen (only for access keys that
//	                                      have signed before, as after AWSRevokeOlderSessions)
//	front-clear [HOST]
//	requests [!] REGEXP [<=|>=|== N]      counts the requests whose line matches, default >= 1:
//	                                      host=H service=S operation=O region=R key=K role=R account=A session=S external=X status=N
//	forget                                forgets the requests so far
//	remember                              keeps the output of the last "exec" or "wait" for hidden; "exits" does so itself
//	hidden                                proves that no output so far and no file but the credentials holds a secret of eight
//	                                      characters or more that the front gave out or got: secret keys, session tokens, tokens
//	                                      of logins, web identities and pods, external ids. The last command of a script

// frontOf returns the script's front.
func frontOf(ts *testscript.TestScript) *front.Front {
	f := simulationOf(ts).front
	if f == nil {
		ts.Fatalf("no front")
	}
	return f
}

func startFront(ts *testscript.TestScript, _ bool, _ []string) {
	sim := simulationOf(ts)
	f, err := front.Start(sim.server)
	ts.Check(err)
	sim.front = f
	ts.Defer(f.Close)
	ts.Check(os.WriteFile(ts.MkAbs("front-ca.pem"), f.CA(), 0o600))
	for name, value := range map[string]string{
		"HTTPS_PROXY": f.URL(), "AWS_CA_BUNDLE": ts.MkAbs("front-ca.pem"),
		"AWS_ENDPOINT_URL": "", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_REGION": "",
		"AWS_CONFIG_FILE": ts.MkAbs("config"), "AWS_SHARED_CREDENTIALS_FILE": ts.MkAbs("credentials"),
	} {
		ts.Setenv(name, value)
	}
}

func keys(ts *testscript.TestScript, _ bool, args []string) {
	key := numberedKey(ts, args[0])
	if len(args) > 1 {
		key.Secret += "\n"
	}
	ts.Setenv("AWS_ACCESS_KEY_ID", key.ID)
	ts.Setenv("AWS_SECRET_ACCESS_KEY", key.Secret)
}

func numberedKey(ts *testscript.TestScript, number string) awssim.Key {
	n, err := strconv.Atoi(number)
	ts.Check(err)
	if n == 0 {
		return awssim.Key{}
	}
	return awssim.NumberedKey(n)
}

func process(ts *testscript.TestScript, _ bool, args []string) {
	key := numberedKey(ts, args[1])
	out := map[string]any{"Version": 1, "AccessKeyId": key.ID, "SecretAccessKey": key.Secret}
	for _, arg := range args[2:] {
		switch name, value, _ := strings.Cut(arg, "="); name {
		case "account":
			out["AccountId"] = value
		case "ends":
			d, err := time.ParseDuration(value)
			ts.Check(err)
			out["Expiration"] = time.Now().Add(d).UTC().Format(time.RFC3339)
		}
	}
	writeLogin(ts, args[0], out)
}

func grant(ts *testscript.TestScript, _ bool, args []string) {
	f, service := frontOf(ts), args[0]
	switch service {
	case "imds":
		ts.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f.URL())
		ts.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	case "pod":
		service = "container"
		f.NeedToken()
		ts.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", ts.MkAbs("pod-token"))
		writeToken(ts, "pod-token", f.NewToken())
		fallthrough
	case "container":
		ts.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f.URL()+front.ContainerPath)
	}
	if len(args) < 2 {
		return
	}
	account, name, _ := strings.Cut(args[1], "/")
	f.Grant(service, front.Role{Account: account, Name: name, Claims: strings.Join(args[2:], "")})
}

func writeToken(ts *testscript.TestScript, name, text string) {
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(name)), 0o700))
	ts.Check(os.WriteFile(ts.MkAbs(name)+".new", []byte(text), 0o600))
	ts.Check(os.Rename(ts.MkAbs(name)+".new", ts.MkAbs(name)))
}

func login(ts *testscript.TestScript, _ bool, args []string) {
	f, end, kind := frontOf(ts), time.Now().Add(time.Hour), args[0]
	options := strings.Join(args[1:], " ")
	if strings.Contains(options, "expired") {
		end = time.Now().Add(-time.Hour)
	}
	switch kind {
	case "sso":
		loginSSO(ts, args[1], end, strings.Contains(options, "refresh"))
	case "aws":
		claims := ""
		if len(args) > 2 && args[2] != "expired" {
			claims = args[2]
		}
		loginAWS(ts, args[1], claims, end)
	case "web":
		token := f.NewToken()
		simulationOf(ts).server.TrustWebIdentity(token, strings.Join(args[2:], ""))
		writeToken(ts, args[1], token)
	case "pod":
		writeToken(ts, "pod-token", f.NewToken())
	default:
		ts.Fatalf("login: unknown kind %q", kind)
	}
}

// loginSSO writes a file of ~/.aws/sso/cache as the AWS CLI does.
func loginSSO(ts *testscript.TestScript, session string, end time.Time, refresh bool) {
	f, sum := frontOf(ts), sha1.Sum([]byte(session))
	token := map[string]string{
		"startUrl": "https://corp.awsapps.com/start", "region": "us-east-1",
		"accessToken": f.NewToken(), "expiresAt": end.UTC().Format(time.RFC3339),
	}
	if refresh {
		token["refreshToken"], token["clientId"], token["clientSecret"] = f.NewToken(), "client", f.NewToken()
		token["registrationExpiresAt"] = time.Now().Add(720 * time.Hour).UTC().Format(time.RFC3339)
	}
	writeLogin(ts, ".aws/sso/cache/"+hex.EncodeToString(sum[:])+".json", token)
}

// loginAWS writes a file of ~/.aws/login/cache as the AWS CLI does.
func loginAWS(ts *testscript.TestScript, session, claims string, end time.Time) {
	f, sum := frontOf(ts), sha256.Sum256([]byte(session))
	account := cmp.Or(claims, strings.Split(session, ":")[4])
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	der, err := x509.MarshalECPrivateKey(key)
	ts.Check(err)
	issued := simulationOf(ts).server.Issue(strings.Split(session, ":")[4], "admin", "a.person", time.Hour)
	writeLogin(ts, ".aws/login/cache/"+hex.EncodeToString(sum[:])+".json", map[string]any{
		"accessToken": map[string]string{
			"accessKeyId": issued.ID, "secretAccessKey": issued.Secret, "sessionToken": issued.Token,
			"accountId": account, "expiresAt": end.UTC().Format(time.RFC3339),
		},
		"tokenType": "aws_sigv4", "refreshToken": f.NewToken(), "identityToken": f.NewToken(),
		"clientId": "arn:aws:signin:::devtools/same-device",
		"dpopKey":  string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})),
	})
}

func writeLogin(ts *testscript.TestScript, name string, v any) {
	text, err := json.Marshal(v)
	ts.Check(err)
	writeToken(ts, name, string(text))
}

func frontFault(ts *testscript.TestScript, _ bool, args []string) {
	fault := front.Fault{Host: args[0]}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		var err error
		switch name {
		case "status":
			fault.Status, err = strconv.Atoi(value)
		case "code":
			fault.Code = value
		case "message":
			fault.Message = value
		case "kind":
			fault.Kind = value
		case "count":
			fault.Count, err = strconv.Atoi(value)
		case "for":
			var d time.Duration
			d, err = time.ParseDuration(value)
			fault.Until = time.Now().Add(d)
		case "connect":
			fault.Connect, err = strconv.ParseBool(value)
		case "keys":
			fault.SeenKeys = value == "seen"
		case "match":
			fault.Match, err = regexp.Compile(value)
		default:
			ts.Fatalf("front-fault: unknown setting %q", name)
		}
		ts.Check(err)
	}
	ts.Check(frontOf(ts).AddFault(fault))
}

func requests(ts *testscript.TestScript, neg bool, args []string) {
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	var lines strings.Builder
	n := 0
	for _, r := range frontOf(ts).Requests() {
		if line := r.String(); true {
			fmt.Fprintln(&lines, line)
			if pattern.MatchString(line) {
				n++
			}
		}
	}
	relation, want := ">=", 1
	if len(args) == 3 {
		relation = args[1]
		want, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	holds := map[string]bool{"==": n == want, "<=": n <= want, ">=": n >= want}[relation]
	if holds == neg {
		ts.Fatalf("%d requests match %s, in:\n%s", n, args[0], lines.String())
	}
}

// hidden searches the outputs and files of a script for secrets.
func hidden(ts *testscript.TestScript, neg bool, _ []string) {
	remember(ts)
	texts := map[string]string{}
	for i, text := range simulationOf(ts).outputs {
		texts[fmt.Sprintf("output %d", i)] = text
	}
	ts.Check(filepath.WalkDir(ts.MkAbs("."), func(path string, entry os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".aws" || entry.Name() == ".tmp"):
			return filepath.SkipDir
		case entry.IsDir() || isSecret(ts, path):
			return nil
		}
		text, err := os.ReadFile(path)
		texts[path] = string(text)
		return err
	}))
	found := ""
	for _, secret := range frontOf(ts).Secrets() {
		for where, text := range texts {
			if len(secret) >= 8 && strings.Contains(text, secret) { // x1 is found anywhere
				found = fmt.Sprintf("%s holds a secret, %s...", where, secret[:4])
			}
		}
	}
	if (found != "") != neg {
		ts.Fatalf("hidden: %d texts; found: %s", len(texts), found)
	}
}

// isSecret reports whether a file of a script is one that holds credentials or an
// external id.
func isSecret(ts *testscript.TestScript, path string) bool {
	name := filepath.Base(path)
	return name == "credentials" || name == "config" || strings.HasSuffix(name, "token") ||
		filepath.Dir(path) == ts.MkAbs(".") && strings.HasSuffix(name, ".yaml")
}

// remember keeps the outputs of the last command for hidden.
func remember(ts *testscript.TestScript) {
	sim := simulationOf(ts)
	sim.outputs = append(sim.outputs, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
}
