package creds

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"cwharvest/creds/origin"

	"github.com/aws/aws-sdk-go-v2/credentials/ssocreds"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// refusal returns the SDK's error for a response of a service.
func refusal(service, operation string, status int, code, contentType string) error {
	response := &smithyhttp.Response{Response: &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}}}}
	return fmt.Errorf("failed to refresh cached credentials, %w", &smithy.OperationError{ServiceID: service, OperationName: operation,
		Err: &smithyhttp.ResponseError{Response: response, Err: &smithy.GenericAPIError{Code: code, Message: "m"}}})
}

// Each provider fails in each condition, and has a hint that names its login, file or
// role.
func TestConditions(t *testing.T) {
	from := func(k origin.Kind) origin.Origin {
		return origin.Origin{Kind: k, Profile: "inner", Outer: "outer", Role: "ROLE", TokenRole: "TOKENROLE", TokenFile: "TOKENFILE"}
	}
	web := func(code string) error { return refusal("STS", "AssumeRoleWithWebIdentity", 400, code, "text/xml") }
	portal := func(status int, code string) error {
		return refusal("SSO", "GetRoleCredentials", status, code, "application/json")
	}
	for _, c := range []struct {
		kind      origin.Kind
		err       error
		condition condition
		hint      string
	}{
		{origin.Nothing, sendError(&net.OpError{Op: "dial", Err: errors.New("no route")}), noKeys, "export AWS_PROFILE"},
		{origin.Nothing, errors.New("no EC2 IMDS role found"), noKeys, "attach a role"},
		{origin.Environment, apiError("ExpiredToken", "m"), loggedOut, "export fresh AWS_* variables"},
		{origin.Environment, apiError("InvalidClientTokenId", "m"), wrongKeys, "export fresh AWS_* variables"},
		{origin.Environment, apiError("AccessDenied", "m"), roleDenied, "let role ROLE trust"},
		{origin.SharedKeys, apiError("InvalidClientTokenId", "m"), wrongKeys, "put fresh keys into profile inner"},
		{origin.SharedKeys, apiError("AccessDenied", "m"), roleDenied, "external_id in profile outer"},
		{origin.SharedKeys, apiError("ValidationError", "m"), roleDenied, "correct role_arn"},
		{origin.SharedKeys, apiError("SignatureDoesNotMatch", "The request signature we calculated does not match"), wrongKeys, "put fresh keys"},
		{origin.SharedKeys, apiError("Throttling", "m"), unavailable, ""},
		{origin.SharedKeys, refusal("STS", "AssumeRole", 403, "UnknownError", "text/html"), unavailable, ""},
		{origin.SharedKeys, refusal("STS", "AssumeRole", 503, "UnknownError", "text/html"), unavailable, ""},
		{origin.SSO, &ssocreds.InvalidTokenError{}, loggedOut, "aws sso login --profile inner"},
		{origin.SSO, fmt.Errorf("failed to read cached SSO token file, %w", fs.ErrNotExist), loggedOut, "aws sso login --profile inner"},
		{origin.SSO, portal(401, "UnauthorizedException"), loggedOut, "aws sso login --profile inner"},
		{origin.SSO, portal(403, "ForbiddenException"), denied, "permission set"},
		{origin.SSO, portal(404, "ResourceNotFoundException"), denied, "sso_account_id"},
		{origin.SSO, portal(429, "TooManyRequestsException"), unavailable, ""},
		{origin.SSO, refusal("SSO OIDC", "CreateToken", 400, "InvalidGrantException", "application/json"), loggedOut, "aws sso login"},
		{origin.SSO, apiError("AccessDenied", "m"), roleDenied, "keys of profile inner"},
		{origin.Login, errors.New("load login token: token file not found, please reauthenticate"), loggedOut, "aws login --profile inner"},
		{origin.Login, errors.New("create oauth2 token: insufficient permissions, you may be missing permissions for the CreateOAuth2Token action"), denied, "signin:CreateOAuth2Token"},
		{origin.Login, sendError(&net.DNSError{}), unavailable, ""},
		{origin.Process, errors.New("error in credential_process: exit status 1"), noKeys, "credential_process of profile inner"},
		{origin.Process, errors.New("credential process timed out: signal: killed"), unavailable, ""},
		{origin.WebIdentity, errors.New("unable to read file at TOKENFILE: no such file"), noToken, "mounts the token file TOKENFILE"},
		{origin.WebIdentity, web("ExpiredTokenException"), loggedOut, "renew the token file TOKENFILE"},
		{origin.WebIdentity, web("InvalidIdentityToken"), denied, "trust policy of role TOKENROLE"},
		{origin.WebIdentity, web("AccessDenied"), denied, "trust policy of role TOKENROLE"},
		{origin.WebIdentity, web("IDPCommunicationError"), unavailable, ""},
		{origin.Container, errors.New("resolve auth token: failed to read"), noToken, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"},
		{origin.Container, refusal("", "GetCredentials", 400, "AccessDeniedException", "application/json"), denied, "sts:TagSession"},
		{origin.Container, refusal("", "GetCredentials", 500, "x", "application/json"), unavailable, ""},
		{origin.Instance, refusal("", "GetMetadata", 404, "", ""), noKeys, "role attached to this instance"},
		{origin.Instance, fmt.Errorf("failed, %w", &smithy.GenericAPIError{Code: "AssumeRoleUnauthorizedAccess"}), denied, "trusts ec2.amazonaws.com"},
		{origin.Instance, sendError(errors.New("refused")), unavailable, ""},
		{origin.OwnRole, context.DeadlineExceeded, unavailable, ""},
		{origin.OwnRole, errors.New("AssumeRole: the response has no session"), unavailable, ""},
	} {
		if got := conditionOf(c.err, c.kind); got != c.condition {
			t.Errorf("kind %d, %v: condition %d, want %d", c.kind, c.err, got, c.condition)
			continue
		}
		got := remedyOf(from(c.kind), c.condition).String()
		if !strings.Contains(got, c.hint) || c.hint == "" && got != "" || strings.ContainsAny(got, "{}") {
			t.Errorf("kind %d, %v: hint %q, want %q", c.kind, c.err, got, c.hint)
		}
	}
}

var update = flag.Bool("update", false, "write the golden files again")

// TestEveryCell holds the class and the hint of each provider in each kind of failure.
// Read a change of testdata/classes.txt as a user of that provider.
func TestEveryCell(t *testing.T) {
	t.Setenv("AWS_CONFIG_FILE", "CONFIG")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "CREDENTIALS")
	providers := [origin.Kinds]string{"none", "environment", "keys of a profile", "SSO", "aws login", "credential_process", "web identity", "container", "instance", "role of harvest.yaml"}
	classes := map[class]string{outage: "outage", refused: "refused", person: "person", configuration: "configuration"}
	failures := []struct {
		name string
		err  error
	}{
		{"no network", sendError(&net.OpError{Op: "dial", Err: errors.New("no route")})},
		{"no answer", context.DeadlineExceeded},
		{"503", refusal("STS", "AssumeRole", 503, "ServiceUnavailable", "text/xml")},
		{"throttled", apiError("Throttling", "m")},
		{"page of a proxy", refusal("STS", "AssumeRole", 403, "UnknownError", "text/html")},
		{"AccessDenied", apiError("AccessDenied", "m")},
		{"ExpiredToken", apiError("ExpiredToken", "m")},
		{"unknown key", apiError("InvalidClientTokenId", "m")},
		{"wrong secret", apiError("SignatureDoesNotMatch", "The request signature we calculated does not match")},
		{"file or process fails", errors.New("it cannot be read")},
	}
	var b strings.Builder
	for kind, provider := range providers {
		o := origin.Origin{Kind: origin.Kind(kind), Profile: "inner", Outer: "outer", Role: "ROLE", TokenRole: "TOKENROLE", TokenFile: "TOKENFILE"}
		for _, f := range failures {
			c := conditionOf(f.err, o.Kind)
			fmt.Fprintf(&b, "%-20s  %-22s  %-13s  %s\n", provider, f.name, classes[classOf[c]], remedyOf(o, c))
		}
	}
	const golden = "testdata/classes.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || string(want) != b.String() {
		t.Errorf("%s (%v) differs from\n%s", golden, err, b.String())
	}
}
