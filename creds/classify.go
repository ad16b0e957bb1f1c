package creds

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"cwharvest/creds/origin"
	"cwharvest/creds/wire"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
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

// httpStatus returns the status of a response; 0 if there was none.
func httpStatus(err error) int {
	var response interface{ HTTPStatusCode() int }
	if errors.As(err, &response) {
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
		return httpStatus(err) == 403 && isFromAWS(err)
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

func isMissingProfile(err error) bool {
	return errors.As(err, new(config.SharedConfigProfileNotExistError))
}

// accountError reports credentials of an account that the target does not
// belong to. They would harvest no data without any error.
type accountError struct{ want, got string }

func (e *accountError) Error() string {
	return fmt.Sprintf("the credentials belong to %s, not to account %s", e.got, e.want)
}

// settingError reports a value that must be corrected.
func settingError(src Source, mistake error) *Error {
	return &Error{Source: src, Err: mistake, class: configuration}
}

// loadError explains why the SDK could not load a principal. It reads files and the
// environment; only the host of a container's endpoint is looked up.
func loadError(src Source, err error) *Error {
	switch {
	case errors.As(err, new(config.AssumeRoleTokenProviderNotSetError)):
		return &Error{Source: src, Err: err, class: configuration, state: "the profile needs an MFA code, which an unattended run cannot enter",
			remedy: remedy{do: "use a role without MFA for this job, an SSO profile or the instance role"}}
	case strings.Contains(err.Error(), "failed to resolve host"):
		return &Error{Source: src, Err: err, remedy: remedy{do: "check AWS_CONTAINER_CREDENTIALS_FULL_URI and this machine's DNS"}}
	}
	return settingError(src, origin.Explain(err))
}

// conditionByCode maps the codes of the services that give keys: STS (API reference,
// AssumeRole and AssumeRoleWithWebIdentity), the portal and OIDC of IAM Identity Center
// (models in the SDK's service/sso and service/ssooidc), instance metadata (the code in
// the document of a role) and the container endpoint. The codes that ask to try again
// are in the SDK's tables (aws/retry).
var conditionByCode = map[string]condition{
	"AccessDenied": denied, "AccessDeniedException": denied, "ForbiddenException": denied, "ResourceNotFoundException": denied,
	"ValidationError": denied, "MalformedPolicyDocument": denied, "PackedPolicyTooLarge": denied, "RegionDisabledException": denied,
	"InvalidTokenException": noToken, // EKS Pod Identity (EKS Auth API reference, AssumeRoleForPodIdentity)

	"InvalidIdentityToken": denied, "IDPRejectedClaim": denied, "AssumeRoleUnauthorizedAccess": denied, "InvalidRequestException": denied,

	"ExpiredToken": loggedOut, "ExpiredTokenException": loggedOut, "RequestExpired": loggedOut, "UnauthorizedException": loggedOut,
	"InvalidClientTokenId": wrongKeys, "UnrecognizedClientException": wrongKeys, "AuthFailure": wrongKeys,

	"IDPCommunicationError": unavailable, "RequestTimeTooSkewed": unavailable, "SignatureDoesNotMatch": unavailable,
	"InvalidSignatureException": unavailable,
}

// conditionByText holds errors that the SDK reports as text only.
var conditionByText = []struct {
	text string
	condition
}{
	{"credential process timed out", unavailable},                                   // processcreds
	{"insufficient permissions, you may be missing permissions for", denied},        // logincreds
	{"Couldn't retrieve verification key from your identity provider", unavailable}, // STS, InvalidIdentityToken
	{"is not a valid JWT", noToken},                                                 // STS, InvalidIdentityToken
	{"at 'webIdentityToken' failed to satisfy constraint", noToken},                 // STS, ValidationError
}

// conditionOfOther is the condition of errors without a type or a code, by provider:
// about files, processes and documents the SDK wraps only text.
var conditionOfOther = [origin.Kinds]condition{
	origin.Nothing: noKeys, origin.Environment: noKeys, origin.SharedKeys: noKeys, origin.SSO: loggedOut, origin.Login: loggedOut, origin.Process: noKeys,
	origin.WebIdentity: noToken, origin.Container: noToken, origin.Instance: noKeys, origin.OwnRole: unavailable,
}

// conditionOf returns the condition that an error of a provider, or of the role on top
// of it, reports. It is the only classifier of errors about keys.
func conditionOf(err error, kind origin.Kind) condition {
	known, isKnown := conditionByCode[code(err)]
	status := httpStatus(err)
	if kind == origin.Nothing && code(err) == "" && status < 500 {
		return noKeys // a machine without metadata does not answer
	}
	switch text, found := textCondition(err); {
	case found:
		return text
	case isTransient(err), isTimeout(err):
		return unavailable
	case isWrongSecret(err):
		return wrongKeys
	case isKnown && known == denied && isOfRole(err):
		return roleDenied
	case isKnown:
		return known
	case kind == origin.Instance && status > 0:
		return noKeys // 404: no role; 401 and 403: metadata is restricted
	case isOf(err, "SSO OIDC") && isFromAWS(err):
		return loggedOut
	case isAmbiguous(err) && code(err) != "": // without any code, the body could not be decoded
		return wrongKeys
	case kind == origin.Container && status > 0 && isFromAWS(err): // the agent of EKS answers with text
		return denied
	case status > 0 && (!isFromAWS(err) || !hasCode(err)), errors.As(err, new(*smithy.DeserializationError)):
		return unavailable
	case status > 0:
		return denied // a code that this table lacks
	}
	return conditionOfOther[kind]
}

// hasCode reports a code of a service; UnknownError is the SDK's own.
func hasCode(err error) bool { return code(err) != "" && code(err) != "UnknownError" }

func textCondition(err error) (condition, bool) {
	for _, known := range conditionByText {
		if strings.Contains(err.Error(), known.text) {
			return known.condition, true
		}
	}
	return 0, false
}

// isTransient reports an error of the network, or a response that asks to try again.
func isTransient(err error) bool {
	_, isThrottle := retry.DefaultThrottleErrorCodes[code(err)]
	_, isRetryable := retry.DefaultRetryableErrorCodes[code(err)]
	status := httpStatus(err)
	return isThrottle || isRetryable || status >= 500 || status == http.StatusTooManyRequests || errors.As(err, new(*smithyhttp.RequestSendError))
}

// isFromAWS reports whether a response has the id that AWS gives each request, or is at
// least no page of text, as proxies send. The SDK keeps no response of a container's
// endpoint; a page begins with "<".
func isFromAWS(err error) bool {
	var response *smithyhttp.ResponseError
	var aws *awshttp.ResponseError
	var api smithy.APIError
	switch {
	case errors.As(err, &aws) && aws.ServiceRequestID() != "":
		return true
	case errors.As(err, &response) && response.Response != nil:
		kind := response.Response.Header.Get("Content-Type")
		return !strings.HasPrefix(kind, "text/html") && !strings.HasPrefix(kind, "text/plain")
	}
	return errors.As(err, &api) && !strings.HasPrefix(strings.TrimSpace(api.ErrorMessage()), "<")
}

// isOf reports whether the failed operation is of a service.
func isOf(err error, service string) bool {
	var op *smithy.OperationError
	return errors.As(err, &op) && op.Service() == service
}

// isOfRole reports whether AssumeRole itself failed, and not the call for the keys that
// sign it: the SDK reports that within AssumeRole.
func isOfRole(err error) bool {
	var op, inner *smithy.OperationError
	if !errors.As(err, &op) {
		return false
	}
	return op.Operation() == "AssumeRole" && !errors.As(op.Err, &inner)
}

// isDeniedTags reports a trust policy that forbids the tags of the caller's session.
func isDeniedTags(err error) bool { return isDenied(err) && apiMessageContains(err, "sts:TagSession") }

const tagRemedy = "allow sts:TagSession beside sts:AssumeRole in the trust policy of the role: the caller's session has tags, as that of EKS Pod Identity"

// absentError explains why a principal has no keys.
func absentError(src Source, err error, cfg aws.Config) *Error {
	from := originOf(src, cfg)
	c := conditionOf(err, from.Kind)
	e := &Error{Source: src, Err: err, class: classOf[c], remedy: remedyOf(from, c)}
	switch {
	case errors.As(err, new(*wire.PlainHTTPError)):
		e.class, e.remedy = refused, remedy{}
	case isDeniedTags(err):
		e.remedy.do = tagRemedy
	case isDurationTooLong(err):
		e.remedy.do = "lower duration_seconds in profile " + quoted(from.Outer) + " of " + origin.Files()[0] + ", or raise the maximum session duration of the role"
	case isTimeout(err) && from.Kind == origin.Process:
		e.remedy.do = "run the credential_process of profile " + quoted(from.Profile) + " by hand: it does not end"
	case from.Kind == origin.Nothing && c == noKeys:
		e.explainNoKeys()
	case c == unavailable && errors.As(err, new(*smithy.DeserializationError)), c == unavailable && httpStatus(err) >= 400 && !isFromAWS(err):
		e.state = "the answer does not come from AWS"
	}
	return e
}

// explainNoKeys explains that no provider has keys.
func (e *Error) explainNoKeys() {
	machine := "this machine has no role"
	if strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		machine = "AWS_EC2_METADATA_DISABLED forbids its role"
		e.remedy.do = strings.Replace(e.remedy.do, "attach a role to this machine", "unset AWS_EC2_METADATA_DISABLED if this machine has a role", 1)
	}
	e.Err = errors.New("no credentials: the environment and the profile have none, and " + machine)
	if e.Source.Profile != "" {
		e.remedy.do = "put keys, a login, source_profile or credential_source into profile " + quoted(e.Source.Profile) + " of " + origin.Files()[0]
	}
}

// stsError explains why STS refused a call for a source that the principal
// signed; fix renews the principal.
func stsError(src Source, err error, principal Source, fix remedy) *Error {
	e := &Error{Source: src, Err: err}
	set := func(c class, do string) { e.class, e.remedy = c, remedy{do: do} }
	if errors.As(err, new(*wire.PlainHTTPError)) {
		e.class = refused
		return e
	}
	if errors.As(err, new(*accountError)) {
		set(refused, "correct the role or the account id")
		return e
	}
	c := conditionOf(err, origin.OwnRole)
	e.class = classOf[c]
	switch {
	case isWrongSecret(err):
		e.state, e.remedy = "the secret key of "+principal.String()+" is wrong", fix
	case c == wrongKeys && code(err) == "InvalidClientTokenId":
		e.state, e.remedy = "AWS does not recognize the access key of "+principal.String(), fix
	case e.class == person:
		e.state, e.remedy = principal.String()+" has expired", fix
	case isRegionOff(err):
		set(refused, "enable STS in the region, or use another region")
	case isDeniedTags(err):
		set(refused, tagRemedy)
	case isDenied(err):
		set(refused, "check that the role exists and trusts this caller, and that external_id is correct")
	case e.class == refused:
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
		return &Error{Source: src, Err: err, class: person, state: "the keys or this machine's clock are wrong",
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
