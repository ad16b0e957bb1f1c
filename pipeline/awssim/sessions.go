package awssim

import (
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"sync"
	"time"
)

// Key is a set of credentials as a caller holds them.
type Key struct {
	ID, Secret, Token string
}

// BaseKey is the long-lived key of the first account that every simulated AWS
// accepts.
func BaseKey() Key {
	return Key{ID: "AKIASIMULATEDBASEKEY", Secret: "simulated/base/secret/that/opens/nothing"}
}

// BaseKeys is the number of long-lived keys that a simulated AWS knows beside
// BaseKey.
const BaseKeys = 10

// NumberedKey is the n-th long-lived key, from 1; it belongs to the n-th
// account, counted round.
func NumberedKey(n int) Key {
	return Key{ID: fmt.Sprintf("AKIASIMULATEDBASE%03d", n), Secret: fmt.Sprintf("simulated/base/secret/number/%03d/of/nothing", n)}
}

// Environment returns what makes the AWS SDK call a simulated AWS with the
// base key, as NAME=value.
func Environment(c Config, url string) []string {
	return []string{
		"AWS_ENDPOINT_URL=" + url,
		"AWS_ACCESS_KEY_ID=" + BaseKey().ID,
		"AWS_SECRET_ACCESS_KEY=" + BaseKey().Secret,
		"AWS_SESSION_TOKEN=",
		"AWS_PROFILE=",
		"AWS_REGION=" + c.Regions[0],
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=/dev/null",
		"AWS_SHARED_CREDENTIALS_FILE=/dev/null",
	}
}

// principal is whose key signed a request.
type principal struct {
	key     Key
	account string
	arn     string
	base    bool
	expires time.Time // zero: never
	refused bool      // before its time
}

// sessions is the table of all keys. Keys of sessions are derived from a
// counter, so that nothing but the principal is kept for one.
type sessions struct {
	mu     sync.Mutex
	secret []byte
	issued uint64
	known  map[string]*principal
}

func newSessions(c Config) *sessions {
	s := &sessions{secret: fmt.Appendf(nil, "seed %d", c.Seed), known: map[string]*principal{}}
	s.user(BaseKey(), c.Accounts[0])
	for n := 1; n <= BaseKeys; n++ {
		s.user(NumberedKey(n), c.Accounts[(n-1)%len(c.Accounts)])
	}
	return s
}

func (s *sessions) user(key Key, account string) {
	s.known[key.ID] = &principal{key: key, account: account, base: true, arn: "arn:aws:iam::" + account + ":user/harvester"}
}

// issue makes a session of a role.
func (s *sessions) issue(account, role, name string, expires time.Time) *principal {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issued++
	sum := hmacSum(s.secret, fmt.Sprint("key ", s.issued))
	p := &principal{
		account: account, expires: expires,
		arn: fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", account, role, name),
		key: Key{
			ID:     "ASIA" + base32.StdEncoding.EncodeToString(sum)[:16],
			Secret: base64.StdEncoding.EncodeToString(hmacSum(s.secret, fmt.Sprint("secret ", s.issued)))[:40],
			Token:  base64.StdEncoding.EncodeToString(hmacSum(s.secret, fmt.Sprint("token ", s.issued))),
		},
	}
	s.known[p.key.ID] = p
	return p
}

// Secrets returns the secrets and tokens of all keys, for tests that search for
// them where they must not be.
func (s *Server) Secrets() (all []string) {
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	for _, p := range s.sessions.known {
		all = append(all, p.key.Secret)
		if p.key.Token != "" {
			all = append(all, p.key.Token)
		}
	}
	return all
}

func (s *sessions) find(id string) (principal, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, known := s.known[id]
	if !known {
		return principal{}, false
	}
	return *p, true
}

// refuse makes keys count as expired from now on.
func (s *sessions) refuse(which func(*principal) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.known {
		if which(p) {
			p.refused = true
		}
	}
}
