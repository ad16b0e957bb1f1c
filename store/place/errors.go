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
	"syscall"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// s3Error is a failed call, and where it happened.
type s3Error struct {
	s3         *S3
	doing, key string
	err        error
}

func (s *S3) fail(doing, name string, err error) error { return s.failKey(doing, s.key(name), err) }

func (s *S3) failKey(doing, key string, err error) error {
	if err == nil {
		return nil
	}
	return &s3Error{s, doing, key, err}
}

// Error leaves out the SDK's layers around an answer of S3.
func (e *s3Error) Error() string {
	text := e.err.Error()
	var api smithy.APIError
	if errors.As(e.err, &api) {
		text = strings.TrimSuffix(api.ErrorCode()+": "+api.ErrorMessage(), ": ")
	}
	return fmt.Sprintf("%s s3://%s/%s: %s", e.doing, e.s3.bucket, e.key, text)
}

func (e *s3Error) Unwrap() error { return e.err }

func (e *s3Error) Is(target error) bool {
	return target == fs.ErrNotExist && code(e.err) == "NoSuchKey"
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// waitByCode holds the codes whose HTTP status says otherwise whether waiting
// helps (S3 API reference, Error responses; the session codes also AWS general
// reference, common errors).
var waitByCode = map[string]bool{
	"RequestTimeout": true, "IncompleteBody": true, // 400: the body came too slowly, or not to its end
	"RequestTimeTooSkewed": true, // 403: the SDK's client learns the clock from the answer

	// A session that is over is renewed by who gave it.
	"ExpiredToken": true, "ExpiredTokenException": true, "RequestExpired": true,
	"InvalidToken": true, "TokenRefreshRequired": true,

	"ConditionalRequestConflict": true, "OperationAborted": true, // 409: another write is under way
	"NoSuchUpload": true, // somebody aborted it; the next attempt begins another

	"SlowDown": true, "Throttling": true, "ThrottlingException": true, "RequestLimitExceeded": true,
	"InternalError": true, "ServiceUnavailable": true,

	"NotImplemented": false, // 501
}

// Transient reports whether doing the same again later may succeed without
// anybody's help, except that of who must log in again. A full disk is none of
// it: what fills it does not go away.
func Transient(err error) bool {
	var refusal interface{ Refused() bool } // of credentials: they will not work as things are
	switch {
	case err == nil, errors.Is(err, ErrExists), errors.Is(err, fs.ErrNotExist), errors.Is(err, context.Canceled):
		return false
	case errors.As(err, &refusal):
		return !refusal.Refused()
	}
	if wait, known := waitByCode[code(err)]; known {
		return wait
	}
	if broken(err) { // also in the middle of an answer that says no: its reason is lost
		return true
	}
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &answer) || answer.Response == nil {
		return false
	}
	status := answer.HTTPStatusCode()
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

// broken reports that there was no answer, or no whole one. A name that DNS does
// not know counts: resolvers say so in outages of their own, too.
func broken(err error) bool {
	switch {
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return false
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errNoList):
		return true
	case errors.Is(err, io.ErrUnexpectedEOF): // of an answer, not of a file that was cut
		return errors.As(err, new(*s3Error))
	case errors.As(err, new(*smithyhttp.RequestSendError)), errors.As(err, new(*net.OpError)):
		return true
	}
	var timeout net.Error // every syscall.Errno is one, too
	return errors.As(err, &timeout) && timeout.Timeout()
}

// Remedy is what a person can do about an error that is not transient; empty
// when the error says it all.
func Remedy(err error) string {
	var e *s3Error
	if !errors.As(err, &e) {
		return localRemedy(err)
	}
	switch code(err) {
	case "AccessDenied", "Forbidden", "AllAccessDisabled":
		return e.s3.needs()
	case "NoSuchBucket":
		return fmt.Sprintf("create the bucket %s, or mend out", e.s3.bucket)
	case "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return "the bucket is in another region; " + region(err)
	case "InvalidAccessKeyId", "SignatureDoesNotMatch":
		return "S3 does not know these keys; log in again, or renew them"
	}
	return localRemedy(err)
}

func localRemedy(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "make room on the disk"
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return "let this user write there"
	}
	return ""
}

// needs names every action that a Place calls. Without s3:ListBucket a missing
// object answers AccessDenied, too (S3 API reference, GetObject).
func (s *S3) needs() string {
	objects := s.bucket + "/" + s.dir("") + "*"
	if s.prefix != "" {
		objects += " and " + s.bucket + "/" + s.dir("../instances") + "*"
	}
	return fmt.Sprintf("the principal needs s3:PutObject, s3:GetObject, s3:DeleteObject and s3:AbortMultipartUpload on %s, "+
		"s3:ListBucket and s3:ListBucketMultipartUploads on %s, "+
		"and kms:GenerateDataKey and kms:Decrypt on the bucket's KMS key if it has one", objects, s.bucket)
}

// region reads what S3 tells of the bucket's region.
func region(err error) string {
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil {
		if name := answer.Response.Header.Get("X-Amz-Bucket-Region"); name != "" {
			return "use " + name
		}
	}
	return "use that"
}
