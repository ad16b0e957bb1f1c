package origin

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode"

	"cwharvest/creds/wire"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Error reports a value that neither a login, a new file nor the network can
// correct. A run would wait for ever for it.
type Error struct {
	name  string // variable, or key and profile
	value string // "": absent, or a secret
	fault string // such as: is an availability zone
	do    string // an imperative; "": correct it
}

func (e *Error) Error() string {
	if e.value == "" {
		return e.name + " " + e.fault
	}
	return fmt.Sprintf("%s %q %s", e.name, cut(wire.HidePassword(e.value)), e.fault)
}

// Hint returns the correction.
func (e *Error) Hint() string { return cmp.Or(e.do, "correct "+e.name) }

// settings collects the first mistake in the values of a principal.
type settings struct{ err *Error }

func (s *settings) add(wrong bool, name, value, fault, do string) {
	if wrong && s.err == nil {
		s.err = &Error{name, value, fault, do}
	}
}

// Check returns an error for a value of the environment or of the shared files that
// makes every call with a loaded configuration fail on this machine.
func Check(from Origin, cfg aws.Config) error {
	var s settings
	first, last := profilesOf(cfg)
	s.checkBundle(os.Getenv("AWS_CA_BUNDLE"))
	s.checkProxy("HTTPS_PROXY")
	s.checkProxy("https_proxy")
	s.checkRegion(cfg.Region, from.Outer)
	switch from.Kind {
	case Environment:
		s.checkKeys("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", environmentKeys(cfg))
	case SharedKeys:
		of := " of profile " + from.Profile
		s.checkKeys("aws_access_key_id"+of, "aws_secret_access_key"+of, "aws_session_token"+of, last.Credentials)
	}
	s.checkProviders(from, environmentKeys(cfg).HasKeys(), last)
	s.checkRole(from, first)
	if s.err != nil {
		return s.err
	}
	return rehearse(cfg)
}

// checkKeys checks keys. A newline comes with a key that was read from a file, as from
// a secret of Kubernetes; quotes come with docker --env-file.
func (s *settings) checkKeys(id, secret, token string, keys aws.Credentials) {
	s.add(hasStray(keys.AccessKeyID), id, keys.AccessKeyID, "holds a character that no access key id has", "write the key without line breaks, spaces and quotes")
	const fault, do = "holds a line break, a space or a quote, which no key has", "write the value without line breaks, spaces and quotes"
	s.add(hasStray(keys.SecretAccessKey), secret, "", fault, do)
	s.add(hasStray(keys.SessionToken), token, "", fault, do)
}

// hasStray reports a character that cannot be part of a key.
func hasStray(value string) bool {
	return strings.ContainsFunc(value, func(r rune) bool { return unicode.IsSpace(r) || r < ' ' || r > '~' || strings.ContainsRune("\"'`", r) })
}

func environmentKeys(cfg aws.Config) (keys aws.Credentials) {
	for _, source := range cfg.ConfigSources {
		if env, ok := source.(config.EnvConfig); ok {
			keys = env.Credentials
		}
	}
	return keys
}

var (
	zoneForm    = regexp.MustCompile(`^([a-z]{2,}(?:-[a-z]+)+-\d+)(?:-[a-z]+-\d+)?[a-z]$`) // us-east-1a, us-west-2-lax-1a
	labelForm   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	roleForm    = regexp.MustCompile(`^arn:aws[a-z0-9-]*:iam::\d{12}:role/.+$`)
	sessionForm = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`) // STS API reference, AssumeRole
)

// checkRegion checks the default region and names the variable or profile that has it.
func (s *settings) checkRegion(region, profile string) {
	name := "region of profile " + profile
	for _, variable := range []string{"AWS_DEFAULT_REGION", "AWS_REGION"} { // the second one comes first
		if os.Getenv(variable) == region {
			name = variable
		}
	}
	if zone := zoneForm.FindStringSubmatch(region); zone != nil {
		s.add(true, name, region, "is an availability zone, not a region", "write "+zone[1])
	}
	s.add(region != "" && !labelForm.MatchString(region), name, region, "is not the name of a region", "write a name such as us-east-1")
}

// checkBundle checks the file of AWS_CA_BUNDLE, which the SDK does not name in its
// errors.
func (s *settings) checkBundle(file string) {
	if file == "" {
		return
	}
	const do = "name a file with certificates in PEM form, or unset AWS_CA_BUNDLE"
	data, err := os.ReadFile(file)
	var cause *os.PathError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	s.add(err != nil, "AWS_CA_BUNDLE", file, fmt.Sprintf("cannot be read: %v", err), do)
	s.add(err == nil && !x509.NewCertPool().AppendCertsFromPEM(data), "AWS_CA_BUNDLE", file, "holds no certificate", do)
}

// checkProxy checks the address of a proxy. Go calls hosts directly if it cannot be parsed
// (golang.org/x/net/http/httpproxy). It may have a password, and is not printed.
func (s *settings) checkProxy(variable string) {
	text := os.Getenv(variable)
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	at, err := url.Parse(text)
	s.add(os.Getenv(variable) != "" && (err != nil || at.Hostname() == ""), variable, "", "is not the URL of a proxy",
		"write http://host:port, or http://user:password@host:port with a % as %25 and a space as %20")
}

func (s *settings) checkProviders(from Origin, hasKeys bool, last config.SharedConfig) {
	in := " of profile " + from.Profile
	if last.CredentialSource == fromEnvironment && from.Kind == Environment {
		s.add(!hasKeys, "credential_source"+in, fromEnvironment, "needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "export them, or change credential_source in "+Files()[0])
	}
	if from.Kind == Container {
		token := os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN")
		s.add(hasBreak(token) && from.TokenFile == "", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "", "holds a line break", "")
	}
	if from.Kind == SSO {
		const fault = "is absent: the login alone gives no keys"
		s.add(last.SSOAccountID == "", "sso_account_id"+in, "", fault, "add sso_account_id to the profile in "+Files()[0])
		s.add(last.SSORoleName == "", "sso_role_name"+in, "", fault, "add sso_role_name to the profile in "+Files()[0])
	}
	if metadata := os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"); from.Kind == Instance || from.Kind == Nothing {
		s.add(metadata != "" && errors.As(wire.CheckEndpoint(metadata), new(*wire.EndpointError)), "AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata,
			"is not a URL", "unset it, or write http://169.254.169.254")
	}
	disabled := os.Getenv("AWS_EC2_METADATA_DISABLED")
	s.add(from.Kind == Instance && strings.EqualFold(disabled, "true"), "AWS_EC2_METADATA_DISABLED", disabled, "forbids the role of the instance that the configuration asks for", "unset it, or name another source of credentials")
}

// hasBreak reports a character that no HTTP header may hold.
func hasBreak(value string) bool {
	return strings.ContainsFunc(value, unicode.IsControl)
}

// checkRole checks the settings of the role that a profile or a web identity assumes.
func (s *settings) checkRole(from Origin, first config.SharedConfig) {
	name, in := "AWS_ROLE_ARN", ""
	if first.RoleARN != "" && from.Role == first.RoleARN {
		in = " of profile " + from.Outer
		name = "role_arn" + in
	}
	used := from.Role != "" && (from.Kind != Environment || in != "")
	s.add(used && !roleForm.MatchString(from.Role), name, from.Role, "is not the ARN of a role", "write arn:aws:iam::ACCOUNT:role/NAME")
	if in == "" {
		return
	}
	s.add(first.RoleSessionName != "" && !sessionForm.MatchString(first.RoleSessionName), "role_session_name"+in, first.RoleSessionName,
		"is not 2 to 64 letters, digits and +=,.@-_", "")
	if d := first.RoleDurationSeconds; d != nil {
		s.add(*d < 15*time.Minute || *d > 12*time.Hour, "duration_seconds"+in, fmt.Sprint(int(d.Seconds())), "is not between 900 and 43200", "")
	}
}

// errRehearsed ends a call that reached the network.
var errRehearsed = errors.New("not sent")

// unsent is an HTTP client that sends nothing.
type unsent struct{}

func (unsent) Do(*http.Request) (*http.Response, error) { return nil, errRehearsed }

// rehearse makes a call up to the network with keys that do not matter. An error is a
// mistake in the settings that endpoints and signatures are made of, such as FIPS with
// an endpoint of one's own: the SDK reports it with each call, as text.
func rehearse(cfg aws.Config) error {
	cfg.Credentials = credentials.NewStaticCredentialsProvider("rehearsal", "rehearsal", "")
	cfg.HTTPClient = unsent{}
	cfg.Region = cmp.Or(cfg.Region, "us-east-1")
	_, err := sts.NewFromConfig(cfg).GetCallerIdentity(context.Background(), nil)
	if errors.Is(err, errRehearsed) || errors.As(err, new(*wire.PlainHTTPError)) { // the latter is an error of each call
		return nil
	}
	if _, text, found := strings.Cut(err.Error(), "Invalid Configuration: "); found {
		return &Error{name: "AWS_USE_FIPS_ENDPOINT or AWS_USE_DUALSTACK_ENDPOINT", fault: "does not work here: " + text, do: "unset it, or unset AWS_ENDPOINT_URL"}
	}
	return err
}
