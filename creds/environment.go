package creds

import (
	"fmt"
	"strings"
	"time"
)

// conflictsWith returns a line for each setting of the environment that has no
// effect, or an unexpected one, for a principal: the profile that the
// configuration names, or the default chain if it names none. signs reports that
// the profile has the keys of the environment (credential_source = Environment). No
// line contains the value of a secret. The rules are those of the SDK's config
// package (resolve_credentials.go).
func conflictsWith(profile string, signs bool, env func(name string) string) []string {
	c := conflicts{env: env}
	keys := c.keys()
	c.checkKeys(keys)
	switch {
	case profile != "":
		if !signs {
			c.ignored("the configuration names profile "+profile, "AWS_ACCESS_KEY_ID")
		}
		c.ignored("the configuration names profile "+profile, "AWS_WEB_IDENTITY_TOKEN_FILE")
		if other := c.first("AWS_PROFILE", "AWS_DEFAULT_PROFILE"); other != "" && other != profile {
			c.ignored("the configuration names profile "+profile, "AWS_PROFILE", "AWS_DEFAULT_PROFILE")
		}
	case keys:
		c.ignored("keys in the environment come first (its region is still used); unset them or use --ignore-env-credentials",
			"AWS_PROFILE", "AWS_DEFAULT_PROFILE")
		c.ignored("keys in the environment come first", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
			"AWS_CONTAINER_CREDENTIALS_FULL_URI")
	case env("AWS_WEB_IDENTITY_TOKEN_FILE") != "":
		c.ignored("the web identity token in the environment comes first", "AWS_PROFILE", "AWS_DEFAULT_PROFILE")
	}
	if a, b := env("AWS_PROFILE"), env("AWS_DEFAULT_PROFILE"); a != "" && b != "" && a != b && profile == "" && !keys {
		c.add("AWS_DEFAULT_PROFILE is ignored: AWS_PROFILE comes first")
	}
	if a, b := env("AWS_REGION"), env("AWS_DEFAULT_REGION"); a != "" && b != "" && a != b {
		c.add("AWS_DEFAULT_REGION=" + b + " is ignored: AWS_REGION=" + a + " comes first")
	}
	if end := env("AWS_CREDENTIAL_EXPIRATION"); end != "" && keys && profile == "" {
		if _, err := time.Parse(time.RFC3339, end); err != nil {
			c.add(fmt.Sprintf("AWS_CREDENTIAL_EXPIRATION is ignored: %q is not a time such as 2026-11-20T04:00:00Z", cut(end)))
		}
	}
	if env("AWS_ROLE_ARN") != "" && env("AWS_WEB_IDENTITY_TOKEN_FILE") == "" {
		c.add("AWS_ROLE_ARN is ignored: it has an effect only beside AWS_WEB_IDENTITY_TOKEN_FILE; name the role by role_arn or --role-arn")
	}
	return c.lines
}

// conflicts collects the lines of Conflicts.
type conflicts struct {
	env   func(string) string
	lines []string
}

func (c *conflicts) add(line string) { c.lines = append(c.lines, line) }

func (c conflicts) key() string    { return c.first("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY") }
func (c conflicts) secret() string { return c.first("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY") }

// keys reports whether the environment has an access key and its secret.
func (c conflicts) keys() bool { return c.key() != "" && c.secret() != "" }

// first returns the first of some variables that is set.
func (c conflicts) first(names ...string) string {
	for _, name := range names {
		if v := c.env(name); v != "" {
			return v
		}
	}
	return ""
}

// ignored adds a line for each variable that is set.
func (c *conflicts) ignored(reason string, names ...string) {
	for _, name := range names {
		if c.env(name) != "" {
			c.add(name + " is ignored: " + reason)
		}
	}
}

// checkKeys adds lines for a key without a secret and for a token that does not
// belong to the key. Key ids that begin with ASIA are temporary, those with AKIA
// are not (IAM user guide, unique identifiers).
func (c *conflicts) checkKeys(keys bool) {
	key, secret := c.key(), c.secret()
	token := c.env("AWS_SESSION_TOKEN") != ""
	switch {
	case key != "" && secret == "":
		c.add("AWS_ACCESS_KEY_ID is ignored: AWS_SECRET_ACCESS_KEY is not set")
	case key == "" && secret != "":
		c.add("AWS_SECRET_ACCESS_KEY is ignored: AWS_ACCESS_KEY_ID is not set")
	case token && !keys:
		c.add("AWS_SESSION_TOKEN is ignored: no keys are set beside it")
	case token && strings.HasPrefix(key, "AKIA"):
		c.add("AWS_SESSION_TOKEN is left over from another key: " + masked(key) + " is a long-term key and has no token; unset it, or AWS refuses every call")
	case keys && !token && strings.HasPrefix(key, "ASIA"):
		c.add("AWS_SESSION_TOKEN is missing: " + masked(key) + " is a temporary key, and AWS refuses every call without its token")
	}
}

// EnvironmentCredentials names the variables that put credentials into the
// environment. Without them profiles and the machine's role remain.
var EnvironmentCredentials = []string{
	"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN",
	"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME",
}
