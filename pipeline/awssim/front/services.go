package front

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"cwharvest/pipeline/awssim"
)

// ContainerPath is the path of a container's credentials.
const ContainerPath = "/v1/credentials"

const rolePath = "/latest/meta-data/iam/security-credentials/"

func now() string { return time.Now().UTC().Format(time.RFC3339) }

// issue starts a session of a role, and returns it with its end.
func (f *Front) issue(r Role, name string) (awssim.Key, time.Time) {
	if r.Life == 0 {
		r.Life = time.Hour
	}
	return f.aws.Issue(r.Account, r.Name, name, r.Life), time.Now().Add(r.Life)
}

func (f *Front) role(service string) (Role, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, granted := f.roles[service]
	return r, granted
}

// serveMetadata serves an instance's metadata. An instance without a role has the
// token and no credentials.
func (f *Front) serveMetadata(w http.ResponseWriter, r *http.Request) {
	role, granted := f.role("imds")
	switch {
	case r.URL.Path == "/latest/api/token" && r.Method == http.MethodPut:
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
		write(w, []byte("token-of-the-metadata"))
	case r.Header.Get("X-Aws-Ec2-Metadata-Token") != "token-of-the-metadata":
		w.WriteHeader(http.StatusUnauthorized)
	case !granted:
		http.NotFound(w, r)
	case r.URL.Path == rolePath:
		write(w, []byte(role.Name))
	case r.URL.Path == rolePath+role.Name:
		key, end := f.issue(role, "i-0123456789abcdef0")
		writeJSON(w, http.StatusOK, map[string]string{
			"Code": "Success", "LastUpdated": now(), "Type": "AWS-HMAC", "AccessKeyId": key.ID,
			"SecretAccessKey": key.Secret, "Token": key.Token, "Expiration": end.UTC().Format(time.RFC3339),
		})
	default:
		http.NotFound(w, r)
	}
}

// NeedToken makes the container's endpoint ask for a token, as EKS Pod Identity does.
func (f *Front) NeedToken() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.podToken = true
}

// serveContainer serves the credentials of a container.
func (f *Front) serveContainer(w http.ResponseWriter, r *http.Request) {
	role, granted := f.role("container")
	token := f.secret(r.Header.Get("Authorization"))
	switch {
	case !granted:
		writeJSON(w, http.StatusNotFound, map[string]string{"code": "InvalidRequest", "message": "no task role"})
	case f.needsToken() && !f.valid(token):
		writeJSON(w, http.StatusBadRequest, map[string]string{"code": "InvalidTokenException", "message": "the token is not valid"})
	default:
		key, end := f.issue(role, "eks-cluster-pod")
		writeJSON(w, http.StatusOK, map[string]string{
			"AccessKeyId": key.ID, "SecretAccessKey": key.Secret, "Token": key.Token,
			"Expiration": end.UTC().Format(time.RFC3339), "AccountId": cmp.Or(role.Claims, role.Account), "RoleArn": "arn:aws:iam::" + role.Account + ":role/" + role.Name,
		})
	}
}

// servePortal serves GetRoleCredentials.
func (f *Front) servePortal(w http.ResponseWriter, r *http.Request, seen *Request) {
	switch {
	case !f.valid(f.secret(r.Header.Get("X-Amz-Sso_bearer_token"))):
		failREST(w, http.StatusUnauthorized, "UnauthorizedException", "Session token not found or invalid")
	case !strings.HasPrefix(r.URL.Path, "/federation/credentials"):
		failREST(w, http.StatusNotFound, "ResourceNotFoundException", "not simulated")
	default:
		key, end := f.issue(Role{Account: seen.Account, Name: "AWSReservedSSO_" + seen.Role}, "a.person")
		writeJSON(w, http.StatusOK, map[string]any{"roleCredentials": map[string]any{
			"accessKeyId": key.ID, "secretAccessKey": key.Secret, "sessionToken": key.Token, "expiration": end.UnixMilli(),
		}})
	}
}

// serveOIDC serves CreateToken with a refresh token.
func (f *Front) serveOIDC(w http.ResponseWriter, body []byte) {
	var in struct{ GrantType, RefreshToken, ClientSecret string }
	err := json.Unmarshal(body, &in)
	f.secret(in.RefreshToken)
	f.secret(in.ClientSecret)
	if err != nil || in.GrantType != "refresh_token" || !f.valid(in.RefreshToken) {
		failREST(w, http.StatusBadRequest, "InvalidGrantException", "Invalid refresh token provided")
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"accessToken": f.NewToken(), "refreshToken": f.NewToken(), "expiresIn": 3600, "tokenType": "Bearer",
	})
}

// serveSignin serves CreateOAuth2Token with a refresh token. The proof of possession
// is not checked.
func (f *Front) serveSignin(w http.ResponseWriter, body []byte) {
	var in struct{ GrantType, RefreshToken string }
	err := json.Unmarshal(body, &in)
	role, granted := f.role("signin")
	if err != nil || in.GrantType != "refresh_token" || !f.valid(f.secret(in.RefreshToken)) || !granted {
		w.Header().Set("X-Amzn-Errortype", "AccessDeniedException")
		writeJSON(w, http.StatusForbidden, map[string]string{"error": "TOKEN_EXPIRED", "message": "The refresh token has expired"})
		return
	}
	key, _ := f.issue(role, "a.person")
	writeJSON(w, http.StatusOK, map[string]any{
		"accessToken": map[string]string{"accessKeyId": key.ID, "secretAccessKey": key.Secret, "sessionToken": key.Token},
		"tokenType":   "aws_sigv4", "expiresIn": 900, "refreshToken": f.NewToken(),
	})
}

// NewToken issues a token that the portal, OIDC, sign-in and the container's endpoint
// accept until Revoke.
func (f *Front) NewToken() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.issued++
	token := fmt.Sprintf("aoaAAAAAGsecret-token-number-%03d-of-a-simulated-login", f.issued)
	f.logins[token], f.secrets[token] = true, true
	return token
}

// Revoke makes all tokens invalid, as the end of a login does.
func (f *Front) Revoke() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.logins)
}

func (f *Front) valid(token string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.logins[token]
}

func (f *Front) needsToken() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.podToken
}

// failREST answers with an error of a service whose protocol is REST JSON.
func failREST(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("X-Amzn-Errortype", code)
	writeJSON(w, status, map[string]string{"message": message})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // every value here can be encoded
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	write(w, body)
}

// write sends a body. An error means that the caller has disconnected.
func write(w http.ResponseWriter, body []byte) { _, _ = w.Write(body) }
