package creds

import (
	"strings"

	"cwharvest/creds/origin"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// condition is the state of the keys of a source.
type condition int

const (
	unavailable  condition = iota // no answer, an answer that does not come from AWS, or one that asks to try again
	denied                        // the provider knows the caller or its token, and gives it no keys
	roleDenied                    // AWS knows the caller, which may not assume the role
	loggedOut                     // a login, session or token has ended
	noToken                       // the file of a token cannot be used
	wrongKeys                     // AWS does not know the key, or it has another secret
	noKeys                        // the provider has no keys to give
	wrongSetting                  // neither a login, a new file nor the network can correct a value
	conditions
)

// classOf holds the class of each condition.
var classOf = [conditions]class{
	unavailable: outage, denied: refused, roleDenied: refused, loggedOut: person, noToken: person, wrongKeys: person, noKeys: person,
	wrongSetting: configuration,
}

// remedyFor returns how a person brings a principal back whose login, token or keys do
// not work any more.
func remedyFor(src Source, cfg aws.Config) remedy { return remedyOf(originOf(src, cfg), loggedOut) }

// originOf returns where the keys of a principal come from.
func originOf(src Source, cfg aws.Config) origin.Origin {
	if src.InstanceRole {
		return origin.Origin{Kind: origin.Instance}
	}
	return origin.Of(src.Profile, cfg)
}

// remedies has the hint for each provider and condition. A condition that a row lacks
// has the hint of loggedOut, which renews the keys. {profile} is the profile that has the
// keys or the login, {outer} the one that the configuration names.
var remedies = [origin.Kinds]map[condition]remedy{
	origin.Nothing: { // of the default chain, the instance has given keys, or no provider has any
		loggedOut: {"check the role attached to this instance", true},
		noKeys:    {"log in (aws sso login, aws login, aws configure), export AWS_PROFILE, or attach a role to this machine", true},
		denied:    {"check that the role attached to this instance exists and trusts ec2.amazonaws.com", false},
	},
	origin.Environment: {
		loggedOut: {"export fresh AWS_* variables and start again, since a running process cannot see them, or put the keys into {credentials}", false},
	},
	origin.SharedKeys: {
		loggedOut: {"put fresh keys into profile {profile} of {credentials}", true},
	},
	origin.SSO: {
		loggedOut: {"run: aws sso login --profile {profile}", true},
		denied:    {"assign the permission set and the account to this user in IAM Identity Center, or correct sso_account_id and sso_role_name in profile {profile} of {config}", false},
	},
	origin.Login: {
		loggedOut: {"run: aws login --profile {profile}", true},
		denied:    {"allow signin:CreateOAuth2Token for the user of profile {profile}", false},
	},
	origin.Process: {
		loggedOut: {"run the credential_process of profile {profile} in {config} by hand, and renew its login", true},
	},
	origin.WebIdentity: {
		loggedOut: {"let the platform renew the token file {token}", true},
		noToken:   {"check that the platform mounts the token file {token} and that this user may read it", true},
		denied:    {"let the trust policy of role {token role} accept the issuer, subject and audience of the token in {token}, and add the issuer as an identity provider in IAM", false},
	},
	origin.Container: {
		loggedOut: {"check the role of the ECS task, or the EKS Pod Identity association", true},
		noToken:   {"check that AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names the token file ({token})", true},
		denied:    {"check the role of the ECS task, or the EKS Pod Identity association; the role must trust pods.eks.amazonaws.com with sts:AssumeRole and sts:TagSession", false},
	},
	origin.Instance: {
		loggedOut: {"check the role attached to this instance", true},
		denied:    {"check that the role attached to this instance exists and trusts ec2.amazonaws.com", false},
	},
}

// remedyOfRole is for a role that a profile assumes with the keys of any provider.
var remedyOfRole = remedy{"let role {role} trust the keys of profile {profile}, or correct role_arn and external_id in profile {outer} of {config}", false}

// remedyOf returns the hint for a condition of a principal.
func remedyOf(o origin.Origin, c condition) remedy {
	r, ok := remedies[o.Kind][c]
	switch {
	case classOf[c] == outage, classOf[c] == configuration:
		return remedy{}
	case !ok && classOf[c] == person:
		r = remedies[o.Kind][loggedOut]
	case !ok:
		r = remedyOfRole
	}
	files := origin.Files()
	r.do = strings.NewReplacer("{profile}", quoted(o.Profile), "{outer}", quoted(o.Outer), "{role}", o.Role, "{token role}", o.TokenRole,
		"{token}", o.TokenFile, "{credentials}", files[1], "{config}", files[0]).Replace(r.do)
	return r
}

// quoted quotes a profile for a shell if it needs that.
func quoted(profile string) string {
	if strings.ContainsAny(profile, " \t'\"$`\\;&|<>()*?") {
		return "'" + strings.ReplaceAll(profile, "'", `'\''`) + "'"
	}
	return profile
}
