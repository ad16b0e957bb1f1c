package place

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// s3Error is the error of a call of S3.
type s3Error struct {
	s3     *S3
	action string // read, write, remove, ...
	key    string
	err    error
}

// fail returns the error of an action on an object, or nil if err is nil.
func (s *S3) fail(action, name string, err error) error { return s.failKey(action, s.key(name), err) }

func (s *S3) failKey(action, key string, err error) error {
	if err == nil {
		return nil
	}
	return &s3Error{s, action, key, err}
}

// Error returns the code and message of S3's response without the text that the SDK
// puts around them.
func (e *s3Error) Error() string {
	text := e.err.Error()
	var api smithy.APIError
	if errors.As(e.err, &api) {
		text = strings.TrimSuffix(api.ErrorCode()+": "+api.ErrorMessage(), ": ")
	}
	return fmt.Sprintf("cannot %s s3://%s/%s: %s", e.action, e.s3.bucket, e.key, cut(text))
}

// cut returns at most the first 300 characters of a text from the network.
func cut(text string) string {
	if runes := []rune(text); len(runes) > 300 {
		return string(runes[:300]) + "..."
	}
	return text
}

func (e *s3Error) Unwrap() error { return e.err }

func (e *s3Error) Is(target error) bool {
	return target == fs.ErrNotExist && code(e.err) == "NoSuchKey"
}

// Unavailable reports whether the bucket is absent or cannot be reached. Such an error
// says nothing about the objects in it.
func (e *s3Error) Unavailable() bool { return code(e.err) == "NoSuchBucket" || Transient(e) }

// IsUnavailable reports whether err is about a place that is absent or cannot be reached,
// and not about an object.
func IsUnavailable(err error) bool {
	var away interface{ Unavailable() bool }
	return errors.As(err, &away) && away.Unavailable()
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// transientByCode holds the codes for which the HTTP status alone would give the
// wrong class (S3 API reference, Error responses; for the codes of sessions also
// AWS general reference, common errors).
var transientByCode = map[string]bool{
	"RequestTimeout": true, "IncompleteBody": true, // 400: the body was too slow or incomplete
	"RequestTimeTooSkewed": true, // 403: the SDK's client corrects its clock by the response

	// The credential manager refreshes an expired session.
	"ExpiredToken": true, "ExpiredTokenException": true, "RequestExpired": true,
	"InvalidToken": true, "TokenRefreshRequired": true,

	"ConditionalRequestConflict": true, "OperationAborted": true, // 409: another write is in progress
	"NoSuchUpload": true, // it was aborted elsewhere; the next attempt creates another one

	"SlowDown": true, "Throttling": true, "ThrottlingException": true, "RequestLimitExceeded": true,
	"InternalError": true, "ServiceUnavailable": true,

	"NotImplemented": false, // 501
}

// Transient reports whether the same call may succeed later, without help or after
// the user has logged in again. A full disk is not transient, because it stays full
// without help.
func Transient(err error) bool {
	var refusal interface{ Refused() bool } // credentials that will not work until the user changes something
	switch {
	case err == nil, errors.Is(err, ErrExists), errors.Is(err, fs.ErrNotExist), errors.Is(err, context.Canceled):
		return false
	case errors.As(err, &refusal):
		return !refusal.Refused()
	}
	if transient, known := transientByCode[code(err)]; known {
		return transient
	}
	if incomplete(err) { // also an incomplete error response, whose code is lost
		return true
	}
	var response *smithyhttp.ResponseError
	if !errors.As(err, &response) || response.Response == nil {
		return false
	}
	status := response.HTTPStatusCode()
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

// incomplete reports whether a call had no response, or an incomplete one. It counts
// a host name that DNS does not know, because resolvers also say so during their own
// outages.
func incomplete(err error) bool {
	switch {
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return false
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errNoList):
		return true
	case errors.Is(err, io.ErrUnexpectedEOF): // of a response, not of a truncated file
		return errors.As(err, new(*s3Error))
	case errors.As(err, new(*smithyhttp.RequestSendError)), errors.As(err, new(*net.OpError)):
		return true
	}
	var timeout net.Error // a syscall.Errno is one, too
	return errors.As(err, &timeout) && timeout.Timeout()
}

// Hint returns the next step for the user, or "" if there is none.
func (e *s3Error) Hint() string {
	if errors.Is(e.err, ErrExists) {
		return existsError{}.Hint()
	}
	switch code(e.err) {
	case "AccessDenied", "Forbidden", "AllAccessDisabled":
		return "grant the principal " + e.s3.permissions()
	case "NoSuchBucket":
		return fmt.Sprintf("create the bucket %s, or correct out", e.s3.bucket)
	case "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		if region := bucketRegion(e.err); region != "" {
			return "the bucket is in another region; use " + region
		}
		return "the bucket is in another region; use that region"
	case "InvalidAccessKeyId", "SignatureDoesNotMatch":
		return "S3 rejects these access keys; log in again, or replace the keys"
	}
	return ""
}

// permissions lists every action that a Place calls. Without s3:ListBucket, S3
// responds AccessDenied for a missing object, too (S3 API reference, GetObject).
func (s *S3) permissions() string {
	objects := s.bucket + "/" + s.dir("") + "*"
	if s.prefix != "" {
		objects += " and " + s.bucket + "/" + s.dir("../instances") + "*"
	}
	return fmt.Sprintf("s3:PutObject, s3:GetObject, s3:DeleteObject and s3:AbortMultipartUpload on %s, "+
		"s3:ListBucket and s3:ListBucketMultipartUploads on %s, "+
		"and kms:GenerateDataKey and kms:Decrypt on the bucket's KMS key if it has one", objects, s.bucket)
}

// bucketRegion returns the region that a response of S3 names, or "".
func bucketRegion(err error) string {
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.Response != nil {
		return response.Response.Header.Get("X-Amz-Bucket-Region")
	}
	return ""
}
