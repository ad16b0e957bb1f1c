package creds

import "strings"

// Conflicts tells of settings of the environment that take no effect, or
// another than their owner may think, for a principal: the profile that the
// configuration names, or the default chain if it names none. Each is a line
// for people; no value of a secret is in it. The rules are those of the SDK's
// config package (resolve_credentials.go).
func Conflicts(profile string, env func(name string) string) []string {
	c := conflicts{env: env}
	keys := c.keys()
	c.pair(keys)
	switch {
	case profile != "":
		c.shadowed("the configuration names profile "+profile, "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE")
		if other := c.first("AWS_PROFILE", "AWS_DEFAULT_PROFILE"); other != "" && other != profile {
			c.shadowed("the configuration names profile "+profile, "AWS_PROFILE", "AWS_DEFAULT_PROFILE")
		}
	case keys:
		c.shadowed("keys in the environment come first (its region is used all the same); unset them or use --ignore-env-credentials",
			"AWS_PROFILE", "AWS_DEFAULT_PROFILE")
		c.shadowed("keys in the environment come first", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
			"AWS_CONTAINER_CREDENTIALS_FULL_URI")
	case env("AWS_WEB_IDENTITY_TOKEN_FILE") != "":
		c.shadowed("the web identity token in the environment comes first", "AWS_PROFILE", "AWS_DEFAULT_PROFILE")
	}
	if a, b := env("AWS_PROFILE"), env("AWS_DEFAULT_PROFILE"); a != "" && b != "" && a != b && profile == "" && !keys {
		c.add("AWS_DEFAULT_PROFILE is ignored: AWS_PROFILE comes first")
	}
	if a, b := env("AWS_REGION"), env("AWS_DEFAULT_REGION"); a != "" && b != "" && a != b {
		c.add("AWS_DEFAULT_REGION=" + b + " is ignored: AWS_REGION=" + a + " comes first")
	}
	if env("AWS_ROLE_ARN") != "" && env("AWS_WEB_IDENTITY_TOKEN_FILE") == "" {
		c.add("AWS_ROLE_ARN is ignored: it counts only beside AWS_WEB_IDENTITY_TOKEN_FILE; name the role by role_arn or --role-arn")
	}
	return c.lines
}

type conflicts struct {
	env   func(string) string
	lines []string
}

func (c *conflicts) add(line string) { c.lines = append(c.lines, line) }

func (c conflicts) key() string    { return c.first("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY") }
func (c conflicts) secret() string { return c.first("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY") }

// keys reports whether the environment holds a pair of keys.
func (c conflicts) keys() bool { return c.key() != "" && c.secret() != "" }

func (c conflicts) first(names ...string) string {
	for _, name := range names {
		if v := c.env(name); v != "" {
			return v
		}
	}
	return ""
}

func (c *conflicts) shadowed(why string, names ...string) {
	for _, name := range names {
		if c.env(name) != "" {
			c.add(name + " is ignored: " + why)
		}
	}
}

// pair looks at key, secret and token: half-set pairs, and tokens that do not
// belong to the key. Keys that begin with ASIA are temporary, with AKIA not
// (IAM user guide, unique identifiers).
func (c *conflicts) pair(keys bool) {
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
		c.add("AWS_SESSION_TOKEN is left over from another key: " + masked(key) + " is a long-term key and has none; unset it, or every call is refused")
	case keys && !token && strings.HasPrefix(key, "ASIA"):
		c.add("AWS_SESSION_TOKEN is missing: " + masked(key) + " is a temporary key, and every call is refused without it")
	}
}

// EnvironmentCredentials are the variables that put credentials into the
// environment. Dropping them leaves profiles and the machine's role.
var EnvironmentCredentials = []string{
	"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN",
	"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME",
}
