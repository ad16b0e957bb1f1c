package creds

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// rejectedKey is a key that AWS rejected. The secret counts as well, since a
// wrong secret is corrected without another key id.
type rejectedKey struct {
	keys  aws.Credentials
	code  string // of the response
	at    time.Time
	times int
}

const (
	// A rejected key is not used for minRejected, since the rejection may have been
	// an error of AWS; each further rejection doubles that up to maxRejected.
	minRejected = time.Minute
	maxRejected = time.Hour

	// Sessions are replaced at most once in renewEvery because a service denied a
	// call, so that missing permissions cause few replacements.
	renewEvery = 10 * time.Second
)

// is reports that keys are the rejected ones and must not be used for now.
func (r *rejectedKey) is(keys aws.Credentials) bool {
	return r.times > 0 && sameKeys(r.keys, keys) && time.Since(r.at) < min(minRejected<<min(r.times-1, 10), maxRejected)
}

// add records a rejection of keys. Of calls that were in flight together, the first
// rejection counts.
func (r *rejectedKey) add(keys aws.Credentials, code string) {
	if r.is(keys) {
		return
	}
	times := 1
	if sameKeys(r.keys, keys) {
		times += r.times
	}
	*r = rejectedKey{keys: keys, code: code, at: time.Now(), times: times}
}
