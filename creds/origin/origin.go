// Package origin finds where the keys of a principal come from, and mistakes in the
// settings that lead to them. It calls no service.
//
// Callers may rely on this: an error of Check or Explain is about a value that neither
// a login, a new file nor the network can correct. Error names the variable, or the key
// and its profile, and quotes the value unless it is a secret; Hint returns the
// correction.
package origin

import (
	"cmp"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// Kind is a way in which the SDK gets the keys that sign first. A role of a profile
// stands on top of one of them and fails for reasons of its own, those of STS.
type Kind int

// The kinds of keys.
const (
	Nothing     Kind = iota // the default chain came to its end and asks the instance
	Environment             // AWS_ACCESS_KEY_ID
	SharedKeys              // keys in a profile
	SSO                     // IAM Identity Center
	Login                   // aws login
	Process                 // credential_process
	WebIdentity             // a token file of EKS, GitHub and so on
	Container               // ECS, EKS Pod Identity
	Instance                // instance metadata
	OwnRole                 // no provider of the SDK: a role of harvest.yaml
	Kinds                   // the number of kinds
)

// Origin is where the keys of a principal come from.
type Origin struct {
	Kind      Kind
	Profile   string // that has the keys or the login: the last one of a chain of source profiles
	Outer     string // the profile that the principal names
	Role      string // that a profile or a web identity assumes; empty if none
	TokenRole string // that the token of a web identity assumes, on top of which Role may be
	TokenFile string // of a web identity or a container
}

var kindBySource = map[aws.CredentialSource]Kind{
	aws.CredentialSourceEnvVars: Environment, aws.CredentialSourceProfile: SharedKeys,
	aws.CredentialSourceSSO: SSO, aws.CredentialSourceSSOLegacy: SSO,
	aws.CredentialSourceProfileSSO: SSO, aws.CredentialSourceProfileSSOLegacy: SSO,
	aws.CredentialSourceLogin: Login, aws.CredentialSourceProfileLogin: Login,
	aws.CredentialSourceProcess: Process, aws.CredentialSourceProfileProcess: Process,
	aws.CredentialSourceEnvVarsSTSWebIDToken: WebIdentity, aws.CredentialSourceProfileSTSWebIDToken: WebIdentity,
	aws.CredentialSourceHTTP: Container, aws.CredentialSourceIMDS: Instance,
}

// Of returns the origin of the keys of a loaded configuration. profile is the one that
// the principal names; it may be empty.
func Of(profile string, cfg aws.Config) Origin {
	o := Origin{Outer: cmp.Or(profile, os.Getenv("AWS_PROFILE"), os.Getenv("AWS_DEFAULT_PROFILE"), "default")}
	o.Profile = o.Outer
	if cache, ok := cfg.Credentials.(*aws.CredentialsCache); ok {
		for _, s := range cache.ProviderSources() {
			o.Kind = max(o.Kind, kindBySource[s])
		}
	}
	if o.Kind == Environment {
		return o
	}
	if token := os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE"); o.Kind == WebIdentity && profile == "" && token != "" {
		o.TokenFile, o.Role, o.TokenRole = token, os.Getenv("AWS_ROLE_ARN"), os.Getenv("AWS_ROLE_ARN")
		return o
	}
	first, last := profilesOf(cfg)
	o.Role = first.RoleARN
	o.Profile = cmp.Or(last.Profile, o.Profile)
	o.TokenFile, o.TokenRole = last.WebIdentityTokenFile, last.RoleARN
	switch {
	case o.Kind == Container && last.CredentialSource == fromEnvironment: // the SDK reports it as a container
		o.Kind = Environment
	case o.Kind == Container:
		o.TokenFile = os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
	case o.Kind == Instance && last.CredentialSource == "":
		o.Kind = Nothing
	}
	return o
}

// fromEnvironment is a value of credential_source.
const fromEnvironment = "Environment"

// profilesOf returns the first profile of a chain of source profiles, and the last one,
// which has the keys.
func profilesOf(cfg aws.Config) (first, last config.SharedConfig) {
	for _, source := range cfg.ConfigSources {
		if profile, ok := source.(config.SharedConfig); ok {
			first, last = profile, profile
			for last.Source != nil {
				last = *last.Source
			}
		}
	}
	return first, last
}
