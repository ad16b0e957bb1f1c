package awssim

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

func (s *Server) assumeRole(w http.ResponseWriter, c *call, _ activeFaults) *apiError {
	arn := c.form.Get("RoleArn")
	partition, account, role, ok := parseRole(arn)
	if !ok {
		return errInvalid("%s is invalid", arn)
	}
	s.stats.assumed(arn)
	life, fail := s.sessionLife(c)
	switch {
	case fail != nil:
		return fail
	case !sessionName.MatchString(c.form.Get("RoleSessionName")):
		return errInvalid("Value at 'roleSessionName' failed to satisfy constraint")
	case partition != PartitionOf(c.region), !slices.Contains(strings.Split(s.cfg.RoleName, ","), role), !slices.Contains(s.cfg.Accounts, account),
		s.cfg.ExternalID != "" && c.form.Get("ExternalId") != s.cfg.ExternalID,
		s.faults.roleDenied(account, role):
		return &apiError{status: 403, code: "AccessDenied", message: fmt.Sprintf(
			"User: %s is not authorized to perform: sts:AssumeRole on resource: %s", c.principal.arn, arn)}
	}
	expires := s.cfg.Now().Add(life)
	p := s.sessions.issue(account, role, c.form.Get("RoleSessionName"), expires)
	s.writeSTS(w, c.operation, fmt.Sprintf(`<AssumedRoleUser><Arn>%s</Arn><AssumedRoleId>AROASIM:%s</AssumedRoleId></AssumedRoleUser><Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials>`,
		p.arn, escape(c.form.Get("RoleSessionName")), p.key.ID, p.key.Secret, p.key.Token,
		expires.UTC().Format(time.RFC3339Nano)))
	return nil
}

// sessionLife returns the duration of a session. It checks the request in STS's
// order: the valid range, the role's maximum, the limit for chained roles.
func (s *Server) sessionLife(c *call) (time.Duration, *apiError) {
	life := time.Hour
	if requested := c.form.Get("DurationSeconds"); requested != "" {
		n, err := strconv.Atoi(requested)
		if err != nil || n < 900 || n > 43200 {
			return 0, errInvalid("Value '%s' at 'durationSeconds' failed to satisfy constraint", requested)
		}
		life = time.Duration(n) * time.Second
	}
	switch {
	case life > s.cfg.MaxSession:
		return 0, errInvalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	case !c.principal.longLived && life > time.Hour:
		return 0, errInvalid("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	case s.cfg.SessionLife > 0:
		return s.cfg.SessionLife, nil
	}
	return life, nil
}

// parseRole returns the parts of a role ARN.
func parseRole(arn string) (partition, account, role string, ok bool) {
	fields := strings.Split(arn, ":")
	if len(fields) != 6 || fields[2] != "iam" {
		return "", "", "", false
	}
	role, ok = strings.CutPrefix(fields[5], "role/")
	return fields[1], fields[4], role, ok
}

func (s *Server) callerIdentity(w http.ResponseWriter, c *call, _ activeFaults) *apiError {
	s.writeSTS(w, "GetCallerIdentity", fmt.Sprintf(`<Arn>%s</Arn><UserId>AIDASIM</UserId><Account>%s</Account>`,
		c.principal.arn, c.principal.account))
	return nil
}

func (s *Server) writeSTS(w http.ResponseWriter, operation, result string) {
	writeXML(w, 200, fmt.Sprintf(`<%sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%sResult>%s</%sResult><ResponseMetadata><RequestId>sim</RequestId></ResponseMetadata></%sResponse>`,
		operation, operation, result, operation, operation))
}

// webIdentityErrors are the errors of AssumeRoleWithWebIdentity (AWS STS API
// Reference; the texts are from reports of users).
var webIdentityErrors = map[string]apiError{
	"InvalidIdentityToken":  {status: 400, message: "No OpenIDConnect provider found in your account for https://oidc.example"},
	"ExpiredTokenException": {status: 400, message: "Token expired: current date/time must be before the expiration date/time"},
	"AccessDenied":          {status: 403, message: "Not authorized to perform sts:AssumeRoleWithWebIdentity"},
	"IDPRejectedClaim":      {status: 403, message: "The identity provider (IdP) reported that authentication failed."},
	"IDPCommunicationError": {status: 400, message: "The identity provider could not be reached."},
}

// serveWebIdentity serves AssumeRoleWithWebIdentity, which is not signed.
func (s *Server) serveWebIdentity(w http.ResponseWriter, c *call) *apiError {
	c.service = "sts"
	s.stats.called(c)
	f := s.faults.pick(c, s.chance)
	if fail := s.applyFaults(c, f); fail != nil {
		return fail
	}
	s.web.mu.Lock()
	code, known := s.web.tokens[c.form.Get("WebIdentityToken")]
	s.web.mu.Unlock()
	if !known {
		code = "InvalidIdentityToken"
	}
	if code != "" {
		fail := webIdentityErrors[code]
		fail.code, fail.status = code, cmp.Or(fail.status, 400)
		return &fail
	}
	if _, account, _, ok := parseRole(c.form.Get("RoleArn")); ok {
		c.region = regionOfPartition(s.cfg.Partition(account))
		c.principal.longLived = true // the token is not a session, so that its role is not chained
		c.form.Set("ExternalId", s.cfg.ExternalID)
	}
	return s.assumeRole(w, c, f)
}
