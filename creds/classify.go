package creds

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cwharvest/creds/wire"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// This file is the only one that looks at the codes and messages of AWS and of
// the SDK.

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

func httpStatus(err error) int {
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.Response != nil {
		return response.HTTPStatusCode()
	}
	return 0
}

func apiMessageContains(err error, part string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && strings.Contains(api.ErrorMessage(), part)
}

// isExpired reports a code of an expired session (CloudWatch and STS, EC2).
func isExpired(err error) bool {
	switch code(err) {
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired":
		return true
	}
	return false
}

// isAmbiguous reports a response that an expired session gets, and a valid one
// in a region that is not enabled gets as well.
func isAmbiguous(err error) bool {
	switch code(err) {
	case "InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure":
		return true
	case "", "UnknownError": // the SDK's own code for an empty XML response
		return httpStatus(err) == 403
	}
	return false
}

// isBadSignature reports a code for a wrong secret, region, service or time.
func isBadSignature(err error) bool {
	switch code(err) {
	case "SignatureDoesNotMatch", "RequestTimeTooSkewed", "InvalidSignatureException":
		return true
	}
	return false
}

// isWrongSecret reports a signature that was made with another secret.
func isWrongSecret(err error) bool {
	return isBadSignature(err) && apiMessageContains(err, "signature we calculated does not match")
}

// isWrongTime reports a signature that AWS refused for its time.
func isWrongTime(err error) bool {
	return code(err) == "RequestTimeTooSkewed" ||
		isBadSignature(err) && (apiMessageContains(err, "Signature expired") || apiMessageContains(err, "Signature not yet current"))
}

// isDenied reports that the keys are known and the call is not allowed.
func isDenied(err error) bool { return code(err) == "AccessDenied" }

// isUnauthorized reports that a service did not allow a call: in JSON and CBOR, in
// XML, and by EC2.
func isUnauthorized(err error) bool {
	switch code(err) {
	case "AccessDenied", "AccessDeniedException", "UnauthorizedOperation":
		return true
	}
	return false
}

// isRegionOff reports that the account has turned STS off in the region.
func isRegionOff(err error) bool { return code(err) == "RegionDisabledException" }

// isDurationTooLong reports that AssumeRole refused the duration, for the maximum
// of the role or for role chaining.
func isDurationTooLong(err error) bool {
	return code(err) == "ValidationError" && strings.Contains(err.Error(), "DurationSeconds exceeds")
}

func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// isBadProcessOutput reports the SDK's error about the output of a
// credential_process, which can contain that output, secrets included.
func isBadProcessOutput(err error) bool {
	return strings.Contains(err.Error(), "parse failed of process output")
}

// isNoInstanceRole reports that the last provider of the default chain, the
// instance, has no role. The SDK does not report the providers before it.
func isNoInstanceRole(err error) bool { return strings.Contains(err.Error(), "no EC2 IMDS role found") }

func isMissingProfile(err error) bool {
	return errors.As(err, new(config.SharedConfigProfileNotExistError))
}

// accountError reports credentials of an account that the target does not
// belong to. They would harvest no data without any error.
type accountError struct{ want, got string }

func (e *accountError) Error() string {
	return fmt.Sprintf("the credentials belong to %s, not to account %s", e.got, e.want)
}

// loadError explains why the SDK could not load a principal.
func loadError(src Source, err error) *Error {
	e := &Error{Source: src, Err: err, class: person, remedy: remedy{do: "check AWS_PROFILE, AWS_CONFIG_FILE and the files they name"}}
	if errors.As(err, new(config.AssumeRoleTokenProviderNotSetError)) {
		e.state = "the profile needs an MFA code, which an unattended run cannot enter"
		e.remedy.do = "use a role without MFA for this job, an SSO profile or the instance role"
	}
	return e
}

// absentError explains why a principal has no keys; fix brings them back.
func absentError(src Source, err error, fix remedy) *Error {
	e := &Error{Source: src, Err: err, class: person, remedy: fix}
	switch {
	case errors.As(err, new(*wire.PlainHTTPError)):
		e.class, e.remedy = refused, remedy{}
	case isTimeout(err):
		e.class = outage
	case !src.InstanceRole && isNoInstanceRole(err):
		e.Err = errors.New("no credentials: the environment and the profile have none, and this machine has no role")
		e.remedy = remedy{"log in (aws sso login, aws configure), export AWS_PROFILE, or attach a role", true}
	}
	return e
}

// stsError explains why STS refused a call for a source that the principal
// signed; fix renews the principal.
func stsError(src Source, err error, principal Source, fix remedy) *Error {
	e := &Error{Source: src, Err: err}
	set := func(c class, do string) { e.class, e.remedy = c, remedy{do: do} }
	switch c := code(err); {
	case errors.As(err, new(*wire.PlainHTTPError)):
		e.class = refused
	case errors.As(err, new(*accountError)):
		set(refused, "correct the role or the account id")
	case isDenied(err) && apiMessageContains(err, "sts:TagSession"):
		set(refused, "allow sts:TagSession beside sts:AssumeRole in the trust policy of the role: the caller's session has tags, as that of EKS Pod Identity")
	case isDenied(err):
		set(refused, "check that the role exists and trusts this caller, and that external_id is correct")
	case isExpired(err), isAmbiguous(err):
		e.class, e.state, e.remedy = person, principal.String()+" has expired", fix
	case isWrongSecret(err):
		e.class, e.state, e.remedy = person, "the secret key of "+principal.String()+" is wrong", fix
	case isRegionOff(err):
		set(refused, "enable STS in the region, or use another region")
	case c == "ValidationError", c == "MalformedPolicyDocument":
		set(refused, "check role_arn, external_id and session_duration")
	}
	return e
}

// identityError explains why a service call that identifies a source failed.
func identityError(src Source, err error) error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case isBadSignature(err), isAmbiguous(err):
		return &Error{Source: src, Err: err, class: configuration, state: "the keys or this machine's clock are wrong",
			remedy: remedy{do: "replace the keys, or set this machine's clock"}}
	}
	return fmt.Errorf("cannot identify %s: %w", src, plainError{err})
}

// MayBeNew reports that AWS refused to let a role be assumed, as it also does for a
// while after the role was created or its trust changed (IAM user guide,
// troubleshooting: changes that I make are not always immediately visible).
func (e *Error) MayBeNew() bool {
	var op *smithy.OperationError
	return slices.ContainsFunc(e.sources, (*Error).MayBeNew) ||
		e.class == refused && isDenied(e.Err) && errors.As(e.Err, &op) && strings.HasPrefix(op.Operation(), "AssumeRole")
}

// chainError combines the errors of all sources of a chain. It is as final as
// the least final of them: while one source may work again by itself, the target
// must wait for it.
func chainError(src Source, errs []error) *Error {
	all := &Error{Source: src, Err: errors.Join(errs...), class: refused}
	for _, err := range errs {
		var e *Error
		if !errors.As(err, &e) {
			e = &Error{Source: src, Err: err}
		}
		all.sources = append(all.sources, e)
		switch {
		case e.class == outage || all.class == outage:
			all.class = outage
		case e.NeedsPerson():
			all.class = person
		}
	}
	return all
}

// rejectionError explains why a principal's key is not used any more: AWS
// rejected it with a code. fix renews it.
func rejectionError(src Source, code string, fix remedy) *Error {
	text := "the credentials have expired"
	switch code {
	case "InvalidClientTokenId":
		text = "AWS does not recognize the access key (InvalidClientTokenId): it is wrong or was deleted"
	case "SignatureDoesNotMatch":
		text = "the secret key does not belong to the access key (SignatureDoesNotMatch)"
	}
	return &Error{Source: src, Err: errors.New(text), class: person, remedy: fix}
}

// signerError explains that the credentials that sign for a source are not
// available. It is as final as their own error.
func signerError(src Source, err error) *Error {
	var e *Error
	if !errors.As(err, &e) {
		return &Error{Source: src, Err: err}
	}
	return &Error{Source: src, Err: e, class: e.class, shared: true}
}

// identificationError explains why the account of a source's keys is not confirmed.
// Only the policy of a VPC endpoint can deny GetCallerIdentity, which needs no
// permission (STS API reference, GetCallerIdentity).
func identificationError(src Source, err error, principal Source, fix remedy) *Error {
	e := stsError(src, err, principal, fix)
	if isDenied(err) {
		e.remedy = remedy{do: "allow sts:GetCallerIdentity in the policy of the VPC endpoint for STS"}
	}
	return e
}
