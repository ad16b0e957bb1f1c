package awssim

import (
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"sync"
	"time"
)

// Key is a set of AWS credentials. A long-lived key has no token.
type Key struct {
	ID, Secret, Token string
}

// AccessKey returns a long-lived key of the first account.
func AccessKey() Key {
	return Key{ID: "AKIASIMULATEDBASEKEY", Secret: "simulated/base/secret/that/opens/nothing"}
}

// NumberedKeys is the number of long-lived keys in addition to AccessKey.
const NumberedKeys = 10

// NumberedKey returns long-lived key number n, from 1. The keys are distributed over
// the accounts in turn.
func NumberedKey(n int) Key {
	return Key{ID: fmt.Sprintf("AKIASIMULATEDBASE%03d", n), Secret: fmt.Sprintf("simulated/base/secret/number/%03d/of/nothing", n)}
}

// Environment returns the variables, as NAME=value, with which the AWS SDK calls a
// simulated AWS at url with AccessKey.
func Environment(c Config, url string) []string {
	return []string{
		"AWS_ENDPOINT_URL=" + url,
		"AWS_ACCESS_KEY_ID=" + AccessKey().ID,
		"AWS_SECRET_ACCESS_KEY=" + AccessKey().Secret,
		"AWS_SESSION_TOKEN=",
		"AWS_PROFILE=",
		"AWS_REGION=" + c.Regions[0],
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=/dev/null",
		"AWS_SHARED_CREDENTIALS_FILE=/dev/null",
	}
}

// principal is the user or the role session that a key belongs to.
type principal struct {
	key       Key
	account   string
	arn       string
	longLived bool      // a user's key, not a session's
	expires   time.Time // zero: never
	revoked   bool      // by a fault, before it expired
	denied    bool      // by a policy for sessions issued before a time
}

// sessions is the table of all keys. It derives the keys of sessions from a counter,
// so that the same seed gives the same keys.
type sessions struct {
	mu        sync.Mutex
	secret    []byte
	issued    uint64
	known     map[string]*principal
	partition func(account string) string
}

func newSessions(c Config) *sessions {
	s := &sessions{secret: fmt.Appendf(nil, "seed %d", c.Seed), known: map[string]*principal{}, partition: c.Partition}
	s.user(AccessKey(), c.Accounts[0])
	for n := 1; n <= NumberedKeys; n++ {
		s.user(NumberedKey(n), c.Accounts[(n-1)%len(c.Accounts)])
	}
	return s
}

func (s *sessions) user(key Key, account string) {
	s.known[key.ID] = &principal{key: key, account: account, longLived: true,
		arn: "arn:" + s.partition(account) + ":iam::" + account + ":user/harvester"}
}

// issue starts a session of a role.
func (s *sessions) issue(account, role, name string, expires time.Time) *principal {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issued++
	sum := hmacSum(s.secret, fmt.Sprint("key ", s.issued))
	p := &principal{
		account: account, expires: expires,
		arn: fmt.Sprintf("arn:%s:sts::%s:assumed-role/%s/%s", s.partition(account), account, role, name),
		key: Key{
			ID:     "ASIA" + base32.StdEncoding.EncodeToString(sum)[:16],
			Secret: base64.StdEncoding.EncodeToString(hmacSum(s.secret, fmt.Sprint("secret ", s.issued)))[:40],
			Token:  base64.StdEncoding.EncodeToString(hmacSum(s.secret, fmt.Sprint("token ", s.issued))),
		},
	}
	s.known[p.key.ID] = p
	return p
}

// Issue starts a session of a role, as the services that give credentials to
// instances, containers and people do.
func (s *Server) Issue(account, role, name string, life time.Duration) Key {
	return s.sessions.issue(account, role, name, s.cfg.Now().Add(life)).key
}

// Secrets returns the secrets and tokens of all keys and the web identity tokens,
// for tests that search logs and files for them.
func (s *Server) Secrets() (all []string) {
	s.web.mu.Lock()
	for token := range s.web.tokens {
		all = append(all, token)
	}
	s.web.mu.Unlock()
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

// revoke makes keys count as expired from now on.
func (s *sessions) revoke(which func(*principal) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.known {
		if which(p) {
			p.revoked = true
		}
	}
}

// deny makes the calls of all present sessions denied.
func (s *sessions) deny() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.known {
		p.denied = !p.longLived
	}
}

// webIdentities are the known tokens of an OpenID Connect provider, each with the
// code of the error that it leads to; empty: it is accepted.
type webIdentities struct {
	mu     sync.Mutex
	tokens map[string]string
}

// TrustWebIdentity makes STS accept a token, or refuse it with a code: for example
// ExpiredTokenException or AccessDenied. Other tokens are InvalidIdentityToken.
func (s *Server) TrustWebIdentity(token, code string) {
	s.web.mu.Lock()
	defer s.web.mu.Unlock()
	if s.web.tokens == nil {
		s.web.tokens = map[string]string{}
	}
	s.web.tokens[token] = code
}
