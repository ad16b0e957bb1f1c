package creds

import (
	"cmp"
	"log/slog"
	"os"
	"time"

	"cwharvest/creds/partition"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Source names the credentials of a target. Targets with equal sources share
// one session.
type Source struct {
	Profile      string // shared-config profile; empty: the SDK's default chain
	InstanceRole bool   // the machine's own role, instead of a profile or the chain

	// Via is a role to assume first, which then assumes RoleARN. AWS limits a
	// session that was assumed by another session to one hour (STS API reference,
	// AssumeRole).
	Via, ViaExternalID string

	RoleARN     string        // to assume; empty: the principal itself
	ExternalID  string        // sent with AssumeRole
	SessionName string        // default AWS_ROLE_SESSION_NAME, else "cwharvest"
	Duration    time.Duration // requested from AssumeRole, 15m..12h; default 1h
	Account     string        // account that the session must belong to; empty: any
	Home        string        // region of STS if the principal's is in another partition than the keys; empty: one of the role's partition
}

// String names the source for messages. External ids are shared in confidence
// and stay out of it.
func (s Source) String() string {
	switch {
	case s.Via != "":
		return "role " + s.RoleARN + " via " + s.Via
	case s.RoleARN != "":
		return "role " + s.RoleARN
	case s.InstanceRole:
		return "the instance role"
	case s.Profile != "":
		return "profile " + s.Profile
	}
	return "the default credential chain"
}

// LogValue returns String, so that no log shows an external id.
func (s Source) LogValue() slog.Value { return slog.StringValue(s.String()) }

// principal returns the source that signs the first AssumeRole.
func (s Source) principal() Source { return Source{Profile: s.Profile, InstanceRole: s.InstanceRole} }

// home returns a region in the partition of the source, or "" if only its principal
// knows one.
func (s Source) home() string {
	return cmp.Or(s.Home, partition.First(partition.OfARN(s.RoleARN)))
}

// viaRole returns the source of the intermediate role.
func (s Source) viaRole() Source {
	p := s.principal()
	p.RoleARN, p.ExternalID, p.SessionName, p.Duration = s.Via, s.ViaExternalID, s.SessionName, s.Duration
	return p
}

// withDefaults returns the source as AssumeRole is called for it.
func (s Source) withDefaults() Source {
	s.SessionName = cmp.Or(s.SessionName, sessionName())
	if s.Duration == 0 {
		s.Duration = time.Hour
	}
	if s.Via != "" {
		s.Duration = min(s.Duration, time.Hour)
	}
	return s
}

// sessionName returns the name of sessions without one in the configuration. The SDK
// reads the variable for the web identity of the environment only, and otherwise makes
// up names, which are hard to find in CloudTrail.
func sessionName() string { return cmp.Or(os.Getenv("AWS_ROLE_SESSION_NAME"), "cwharvest") }

// masked returns as much of an access key id as may be shown.
func masked(key string) string {
	if len(key) < 8 {
		return "..."
	}
	return key[:4] + "..." + key[len(key)-4:]
}

func sameKeys(a, b aws.Credentials) bool {
	return a.AccessKeyID == b.AccessKeyID && a.SecretAccessKey == b.SecretAccessKey
}
