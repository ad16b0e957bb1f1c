package creds

import (
	"strings"
	"testing"
)

func TestConflicts(t *testing.T) {
	const key, temporary = "AKIAKEYKEYKEYKEYKEYK", "ASIAKEYKEYKEYKEYKEYK"
	for _, c := range []struct {
		name, profile string
		env           map[string]string
		want          []string // beginnings of the lines
	}{
		{"clean keys", "", map[string]string{"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "s"}, nil},
		{"clean profile", "", map[string]string{"AWS_PROFILE": "p"}, nil},
		{"keys and profile", "", map[string]string{"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "s", "AWS_PROFILE": "p"},
			[]string{"AWS_PROFILE is ignored"}},
		{"keys beside the configured profile", "night", map[string]string{"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "s", "AWS_PROFILE": "p"},
			[]string{"AWS_ACCESS_KEY_ID is ignored", "AWS_PROFILE is ignored"}},
		{"half a pair", "", map[string]string{"AWS_ACCESS_KEY_ID": key}, []string{"AWS_ACCESS_KEY_ID is ignored"}},
		{"the other half", "", map[string]string{"AWS_SECRET_ACCESS_KEY": "s"}, []string{"AWS_SECRET_ACCESS_KEY is ignored"}},
		{"token alone", "", map[string]string{"AWS_SESSION_TOKEN": "t"}, []string{"AWS_SESSION_TOKEN is ignored"}},
		{"token of another key", "", map[string]string{"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"},
			[]string{"AWS_SESSION_TOKEN is left over from another key: AKIA...KEYK"}},
		{"token missing", "", map[string]string{"AWS_ACCESS_KEY_ID": temporary, "AWS_SECRET_ACCESS_KEY": "s"}, []string{"AWS_SESSION_TOKEN is missing"}},
		{"web identity and profile", "", map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": "f", "AWS_PROFILE": "p"}, []string{"AWS_PROFILE is ignored"}},
		{"keys and web identity", "", map[string]string{"AWS_ACCESS_KEY_ID": temporary, "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t",
			"AWS_WEB_IDENTITY_TOKEN_FILE": "f"}, []string{"AWS_WEB_IDENTITY_TOKEN_FILE is ignored"}},
		{"regions", "", map[string]string{"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-east-1"}, []string{"AWS_DEFAULT_REGION=us-east-1 is ignored"}},
		{"role alone", "", map[string]string{"AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/r"}, []string{"AWS_ROLE_ARN is ignored"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := conflictsWith(c.profile, false, func(name string) string { return c.env[name] })
			if len(got) != len(c.want) {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], c.want[i]) {
					t.Errorf("got %q, want %q", got[i], c.want[i])
				}
			}
		})
	}
}
