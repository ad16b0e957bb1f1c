package creds

import (
	"cmp"
	"os"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// remedyFor returns how a person brings a principal back. providers are those of
// the SDK that found its keys.
func remedyFor(src Source, providers []aws.CredentialSource) remedy {
	profile := cmp.Or(src.Profile, os.Getenv("AWS_PROFILE"), os.Getenv("AWS_DEFAULT_PROFILE"), "default")
	file := sharedFiles()[1]
	from := func(any ...aws.CredentialSource) bool {
		return slices.ContainsFunc(any, func(s aws.CredentialSource) bool { return slices.Contains(providers, s) })
	}
	switch {
	case src.InstanceRole, from(aws.CredentialSourceIMDS):
		return remedy{"check the role attached to this instance", true}
	case from(aws.CredentialSourceSSO, aws.CredentialSourceSSOLegacy, aws.CredentialSourceProfileSSO, aws.CredentialSourceProfileSSOLegacy):
		return remedy{"run: aws sso login --profile " + profile, true}
	case from(aws.CredentialSourceProcess, aws.CredentialSourceProfileProcess):
		return remedy{"check the credential_process of profile " + profile, true}
	case from(aws.CredentialSourceEnvVars):
		return remedy{"export fresh AWS_* variables and start again, since a running process cannot see them, or put the keys into " + file, false}
	case from(aws.CredentialSourceProfile):
		return remedy{"put fresh keys into profile " + profile + " of " + file, true}
	case from(aws.CredentialSourceHTTP):
		return remedy{"check the role of the container", true}
	}
	return remedy{"run: aws sso login --profile " + profile + ", or put keys into " + file, true}
}
