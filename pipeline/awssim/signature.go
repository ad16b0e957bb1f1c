package awssim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// signature is a Signature Version 4 from an Authorization header (IAM User Guide,
// "AWS Signature Version 4 for API requests").
type signature struct {
	key                   string
	date, region, service string // the credential scope
	headers               []string
	sum                   string
}

const algorithm = "AWS4-HMAC-SHA256"

func parseSignature(header string) (s signature, ok bool) {
	rest, found := strings.CutPrefix(header, algorithm+" ")
	if !found {
		return s, false
	}
	for field := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch name {
		case "Credential":
			scope := strings.Split(value, "/")
			if len(scope) != 5 || scope[4] != "aws4_request" {
				return s, false
			}
			s.key, s.date, s.region, s.service = scope[0], scope[1], scope[2], scope[3]
		case "SignedHeaders":
			s.headers = strings.Split(value, ";")
		case "Signature":
			s.sum = value
		}
	}
	return s, s.key != "" && s.sum != "" && slices.Contains(s.headers, "host")
}

const amzDate = "20060102T150405Z"

// signed reports whether the signature is correct for a secret.
func (s signature) signed(r *http.Request, body []byte, secret string) bool {
	date := r.Header.Get("X-Amz-Date")
	scope := strings.Join([]string{s.date, s.region, s.service, "aws4_request"}, "/")
	toSign := strings.Join([]string{algorithm, date, scope, hexSum([]byte(s.canonical(r, body)))}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range []string{s.date, s.region, s.service, "aws4_request"} {
		key = hmacSum(key, part)
	}
	return strings.HasPrefix(date, s.date) &&
		hmac.Equal([]byte(hex.EncodeToString(hmacSum(key, toSign))), []byte(s.sum))
}

// skewed reports whether the request was signed more than five minutes before or
// after now.
func (s signature) skewed(r *http.Request, now time.Time) bool {
	at, err := time.Parse(amzDate, r.Header.Get("X-Amz-Date"))
	return err != nil || now.Sub(at).Abs() > 5*time.Minute
}

// canonical returns the canonical request.
func (s signature) canonical(r *http.Request, body []byte) string {
	var c strings.Builder
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	c.WriteString(r.Method + "\n" + path + "\n" + canonicalQuery(r.URL.Query()) + "\n")
	for _, name := range s.headers {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = strconv.FormatInt(r.ContentLength, 10)
		}
		c.WriteString(name + ":" + strings.Join(strings.Fields(value), " ") + "\n")
	}
	c.WriteString("\n" + strings.Join(s.headers, ";") + "\n" + hexSum(body))
	return c.String()
}

func canonicalQuery(q url.Values) string {
	return strings.ReplaceAll(q.Encode(), "+", "%20")
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func hmacSum(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}
