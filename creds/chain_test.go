package creds

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// profiles writes a credentials file and has the SDK read it instead of the
// environment.
func profiles(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "credentials")
	rewrite(t, path, text)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", path)
	return path
}

func rewrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "SECRET", secretCanary)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *fakeSTS) deny(role string, denied bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied = map[string]bool{role: denied}
}

// callWith retrieves the credentials of the first working source.
func callWith(t *testing.T, m *Manager, sources ...Source) error {
	t.Helper()
	cfg, err := m.Config(t.Context(), "us-east-1", sources...)
	if err != nil {
		t.Fatal(err)
	}
	_, err = cfg.Credentials.Retrieve(t.Context())
	return err
}

// A role that is denied during a run is replaced by the fallback when its session
// expires, and is used again once it works.
func TestFallsBackAndReturns(t *testing.T) {
	s := &fakeSTS{life: time.Hour}
	second := testSource
	second.RoleARN = "arn:aws:iam::111122223333:role/second"
	inBubble(t, s, func(t *testing.T, m *Manager) {
		expect := func(when string, switches int64, fallbacks int) {
			t.Helper()
			if err := callWith(t, m, testSource, second); err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			if stats := m.Stats(); stats.Switches != switches || stats.Fallbacks != fallbacks {
				t.Errorf("%s: %d switches, %d fallbacks in use; want %d, %d", when, stats.Switches, stats.Fallbacks, switches, fallbacks)
			}
		}
		expect("at the start", 0, 0)
		s.deny(testSource.RoleARN, true)
		time.Sleep(55 * time.Minute)
		expect("denied, but still valid", 0, 0)
		time.Sleep(10 * time.Minute)
		expect("expired", 1, 1)
		s.deny(testSource.RoleARN, false)
		time.Sleep(retryRefusal + time.Second)
		expect("works again, in the background", 1, 1)
		time.Sleep(time.Second)
		expect("back", 2, 0)
	})
}

// A profile with expired keys is replaced by the fallback as well, and is rarely
// tried again until its file changes.
func TestProfileFallsBack(t *testing.T) {
	const old, fresh = "AKIAOLDOLDOLDOLDOLD0", "AKIANEWNEWNEWNEWNEW0"
	s := &fakeSTS{life: time.Hour}
	refusals := 0
	s.refuse = func(key string) (int, string) {
		if key != old {
			return 0, ""
		}
		refusals++
		return 403, errorBody("ExpiredToken", "The security token included in the request is expired")
	}
	inBubble(t, s, func(t *testing.T, m *Manager) {
		keys := "[spare]\naws_access_key_id = AKIASPARE00000000000\naws_secret_access_key = SECRET\n[night]\naws_secret_access_key = SECRET\naws_access_key_id = "
		path := profiles(t, keys+old+"\n")
		ask := func() error {
			cfg, err := m.Config(t.Context(), "us-east-1", Source{Profile: "night"}, Source{Profile: "spare"})
			if err != nil {
				return err
			}
			_, err = sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
			return err
		}
		for range 60 {
			if err := ask(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if refusals > 8 {
			t.Errorf("an expired key was used %d times in an hour", refusals)
		}
		rewrite(t, path, keys+fresh+"\n# replaced\n")
		time.Sleep(checkFilesEvery)
		if err := ask(); err != nil || m.Stats().Fallbacks != 0 {
			t.Errorf("after the file was rewritten: %d fallbacks in use, %v", m.Stats().Fallbacks, err)
		}
	})
}

// A chain is refused only if every source is.
func TestErrorsOfAllSources(t *testing.T) {
	s := &fakeSTS{life: time.Hour, denied: map[string]bool{testSource.RoleARN: true}}
	elsewhere := Source{Profile: "elsewhere", Account: testSource.Account}
	stranger := Source{RoleARN: "arn:aws:iam::999999999999:role/r", Account: testSource.Account}
	inBubble(t, s, func(t *testing.T, m *Manager) {
		path := profiles(t, "[default]\naws_access_key_id = AKIADEFAULTDEFAULT00\naws_secret_access_key = SECRET\n")
		var e *Error
		if err := callWith(t, m, testSource, stranger); !errors.As(err, &e) || !e.Refused() || !strings.Contains(err.Error(), "; fallback: ") {
			t.Errorf("a fallback to another account: %v", err)
		}
		if err := callWith(t, m, testSource, elsewhere); !errors.As(err, &e) || !e.Refused() {
			t.Errorf("a profile that does not exist: %v", err)
		}
		rewrite(t, path, "[default]\naws_access_key_id = AKIADEFAULTDEFAULT00\naws_secret_access_key = SECRET\n"+
			"[elsewhere]\naws_access_key_id = AKIAELSEWHERE0000000\naws_secret_access_key = SECRET\n")
		s.account = "" // GetCallerIdentity returns 111122223333
		other := elsewhere
		other.Account = "444455556666"
		if err := callWith(t, m, other); !errors.As(err, &e) || !e.Refused() || !strings.Contains(err.Error(), "not to account 444455556666") {
			t.Errorf("a profile of another account: %v", err)
		}
	})
}

// The principal assumes the intermediate role, which assumes the other one for an
// hour at most.
func TestRoleChain(t *testing.T) {
	s := &fakeSTS{life: time.Hour}
	src := testSource
	src.Via, src.ViaExternalID, src.Duration = "arn:aws:iam::000000000001:role/hub", "CANARYVIA", 4*time.Hour
	inBubble(t, s, func(t *testing.T, m *Manager) {
		if err := callWith(t, m, src); err != nil {
			t.Fatal(err)
		}
		if len(s.calls) != 2 {
			t.Fatalf("%d AssumeRole calls", len(s.calls))
		}
		hub, role := s.calls[0], s.calls[1]
		if hub.Get("RoleArn") != src.Via || hub.Get("ExternalId") != "CANARYVIA" || hub.Get("key") != "AKIABASEBASEBASEBASE" {
			t.Errorf("first call: %v", hub)
		}
		if role.Get("RoleArn") != src.RoleARN || role.Get("key") != "ASIA000000000001" || role.Get("DurationSeconds") != "3600" {
			t.Errorf("second call: %v", role)
		}
		s.deny(src.Via, true)
		time.Sleep(3 * time.Hour)
		var e *Error
		if err := callWith(t, m, src); !errors.As(err, &e) || !e.Refused() || !strings.Contains(err.Error(), src.Via) {
			t.Errorf("the intermediate role is denied: %v", err)
		}
	})
}

// Expired keys of a principal are not used again until its files change.
func TestFilesAreReadWhenTheyChange(t *testing.T) {
	s := &fakeSTS{life: time.Hour}
	const old, fresh = "AKIAOLDOLDOLDOLDOLD0", "AKIANEWNEWNEWNEWNEW0"
	refusals := 0
	s.refuse = func(key string) (int, string) {
		if key == old {
			refusals++
			return 403, errorBody("ExpiredToken", "The security token included in the request is expired")
		}
		return 0, ""
	}
	inBubble(t, s, func(t *testing.T, m *Manager) {
		path := profiles(t, "[night]\naws_access_key_id = "+old+"\naws_secret_access_key = SECRET\n")
		src := Source{Profile: "night"}
		for range 20 {
			var e *Error
			if err := call(t, m, src); !errors.As(err, &e) || !e.NeedsPerson() || !strings.Contains(e.Hint(), "profile night of "+path) {
				t.Fatalf("%v", err)
			}
			time.Sleep(time.Second)
		}
		if refusals != 1 {
			t.Errorf("an expired key was used %d times", refusals)
		}
		rewrite(t, path, "[night]\naws_access_key_id = "+fresh+"\naws_secret_access_key = SECRET\n# longer\n")
		time.Sleep(checkFilesEvery)
		if err := call(t, m, src); err != nil {
			t.Errorf("after the file was rewritten: %v", err)
		}
	})
}

// A profile that needs an MFA code cannot be used at night, and the error says so.
func TestMFAIsRefused(t *testing.T) {
	s := &fakeSTS{life: time.Hour}
	inBubble(t, s, func(t *testing.T, m *Manager) {
		profiles(t, "[keys]\naws_access_key_id = AKIAKEYSKEYSKEYSKEYS\naws_secret_access_key = SECRET\n"+
			"[human]\nrole_arn = arn:aws:iam::111122223333:role/r\nsource_profile = keys\nmfa_serial = arn:aws:iam::111122223333:mfa/me\n")
		_, err := m.Config(t.Context(), "us-east-1", Source{Profile: "human"})
		if err == nil || !strings.Contains(err.Error(), "MFA code") {
			t.Errorf("%v", err)
		}
	})
}

// Sources that differ in any field, even only in the account that they demand, do
// not share a chain.
func TestChainsAreSeparate(t *testing.T) {
	s := &fakeSTS{life: time.Hour, account: "999999999999"}
	inBubble(t, s, func(t *testing.T, m *Manager) {
		anyAccount := testSource
		anyAccount.Account = ""
		if err := callWith(t, m, anyAccount); err != nil {
			t.Fatal(err)
		}
		var e *Error
		if err := callWith(t, m, testSource); !errors.As(err, &e) || !e.Refused() {
			t.Errorf("a session of another account: %v", err)
		}
	})
}

// No verb prints more than a masked key of any value.
func TestNothingPrintsSecrets(t *testing.T) {
	s := &fakeSTS{life: time.Hour}
	inBubble(t, s, func(t *testing.T, m *Manager) {
		cfg, err := m.Config(t.Context(), "us-east-1", testSource)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cfg.Credentials.Retrieve(t.Context()); err != nil {
			t.Fatal(err)
		}
		c := cfg.Credentials.(*chain)
		r := c.providers[0].(*refresher)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			for _, value := range []any{c, r, r.session, r.session.grant, r.role.principal} {
				if text := fmt.Sprintf(verb, value); strings.Contains(text, "CANARY") {
					t.Errorf("%s of %T: %s", verb, value, text)
				}
			}
		}
		m.cfg.Log.Info("all of them", "chain", c, "refresher", r, "session", r.session, "grant", r.session.grant, "source", testSource)
	})
}

// A throttled STS is asked once in each step of the backoff, for a thousand roles.
func TestOneAttemptForAllRoles(t *testing.T) {
	s := &fakeSTS{life: time.Hour}
	inBubble(t, s, func(t *testing.T, m *Manager) {
		s.assume = func() error { return fault{status: 400, code: "Throttling", message: "Rate exceeded"} }
		var all sync.WaitGroup
		for n := range 1000 {
			src := Source{RoleARN: fmt.Sprintf("arn:aws:iam::%012d:role/r", n)}
			p := credentialsOf(t, m, src)
			all.Go(func() {
				for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(time.Second) {
					var e *Error
					if _, err := p.Retrieve(t.Context()); !errors.As(err, &e) || e.Shared() == "" || e.Refused() || e.NeedsPerson() {
						t.Errorf("%v", err)
						return
					}
				}
			})
		}
		all.Wait()
		if s.assumed < 8 || s.assumed > 60 {
			t.Errorf("%d AssumeRole calls in a minute", s.assumed)
		}
		t.Logf("%d AssumeRole calls in a minute", s.assumed)
		s.mu.Lock()
		s.assume = nil
		s.mu.Unlock()
		time.Sleep(maxBackoff)
		if err := callWith(t, m, Source{RoleARN: "arn:aws:iam::000000000007:role/r"}); err != nil {
			t.Errorf("after STS came back: %v", err)
		}
	})
}

// Hundreds of roles log their first session, and one line a minute afterwards.
func TestRefreshesAreSummarized(t *testing.T) {
	setEnvironment(t)
	const roles, hours = 300, 8
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		m := NewManager(Config{HTTPClient: &fakeSTS{life: time.Hour}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		defer m.Close()
		for range hours * 12 {
			for n := range roles {
				if err := callWith(t, m, Source{RoleARN: fmt.Sprintf("arn:aws:iam::%012d:role/r", n)}); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(5 * time.Minute)
		}
		if m.Stats().Assumed < roles*hours {
			t.Errorf("%+v", m.Stats())
		}
	})
	first, all := strings.Count(log.String(), "source="), strings.Count(log.String(), "\n")
	if first != roles || all-first > hours*60 {
		t.Errorf("%d lines about single roles, %d others", first, all-first)
	}
	t.Logf("%d lines about single roles, %d others", first, all-first)
}
