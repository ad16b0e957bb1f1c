package place

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// bucketName follows the rules for general purpose buckets (S3 User Guide,
// General purpose bucket naming rules).
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// ParseS3 splits s3://bucket/prefix. It sets ok if out begins with s3://. The
// prefix has no slash at its end and may be empty.
func ParseS3(out string) (bucket, prefix string, ok bool, err error) {
	rest, ok := strings.CutPrefix(out, "s3://")
	if !ok {
		return "", "", false, nil
	}
	bucket, prefix, _ = strings.Cut(rest, "/")
	prefix = strings.TrimSuffix(prefix, "/")
	if !bucketName.MatchString(bucket) || strings.Contains(bucket, "..") || isAddress(bucket) {
		return "", "", true, &locationError{fmt.Sprintf("%s: invalid bucket name %q", out, bucket), "use 3 to 63 lowercase letters, digits, dots and hyphens"}
	}
	if prefix == "" {
		return bucket, "", true, nil
	}
	for element := range strings.SplitSeq(prefix, "/") {
		if element == "" || element == "." || element == ".." {
			return "", "", true, &locationError{fmt.Sprintf("%s: invalid element %q in the prefix", out, element), "leave it out"}
		}
	}
	return bucket, prefix, true, nil
}

// locationError is the error of an invalid location.
type locationError struct{ fact, hint string }

func (e *locationError) Error() string { return e.fact }

// Hint returns the next step for the user.
func (e *locationError) Hint() string { return e.hint }

func isAddress(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}
