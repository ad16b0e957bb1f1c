package origin

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
)

// Explain returns the mistake that kept the SDK from loading a configuration; nil if
// the error reports something else.
func Explain(err error) error {
	var s settings
	s.checkBundle(os.Getenv("AWS_CA_BUNDLE"))
	files := Files()
	var missing config.SharedConfigProfileNotExistError
	var role config.SharedConfigAssumeRoleError
	var noARN config.CredentialRequiresARNError
	var file *fs.PathError
	switch {
	case s.err != nil:
		return s.err
	case errors.As(err, &missing):
		return missingProfile(cmp.Or(missing.Profile, role.Profile))
	case errors.As(err, &role):
		return &Error{name: "source_profile for role " + role.RoleARN, value: role.Profile, fault: "has no credentials",
			do: "put keys, a login or another source_profile into " + files[0]}
	case errors.As(err, &noARN):
		return &Error{name: "profile", value: noARN.Profile, fault: "has " + noARN.Type + " without role_arn", do: "add role_arn to the profile in " + files[0]}
	case strings.Contains(err.Error(), "credential_source values must be"):
		return &Error{name: "credential_source", value: wrongCredentialSource(), fault: "is none of EcsContainer, Ec2InstanceMetadata and Environment",
			do: "correct it in " + files[0]}
	case errors.As(err, &file) && !slices.Contains(files, file.Path): // of a profile; that of the environment is checked above
		return &Error{name: "ca_bundle", value: file.Path, fault: fmt.Sprintf("cannot be read: %v", file.Err), do: "correct ca_bundle in " + files[0]}
	case strings.Contains(err.Error(), "parse host from local HTTP"), strings.Contains(err.Error(), "invalid endpoint host"), strings.Contains(err.Error(), "invalid URL, "):
		return &Error{name: containerURI, value: os.Getenv(containerURI), fault: "is not the address of a container's credentials",
			do: "unset it, or write the http address of this machine, ECS or EKS that the platform sets"}
	case strings.Contains(err.Error(), "partial credentials found for profile"):
		_, profile, _ := strings.Cut(err.Error(), "partial credentials found for profile ")
		profile, _, _ = strings.Cut(profile, "\n")
		return &Error{name: "profile", value: profile, fault: "has only one of aws_access_key_id and aws_secret_access_key", do: "write both into " + files[1]}
	case strings.Contains(err.Error(), "role ARN is not set"):
		return &Error{name: "AWS_WEB_IDENTITY_TOKEN_FILE", value: os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE"), fault: "is set without AWS_ROLE_ARN", do: "export AWS_ROLE_ARN"}
	}
	return &Error{name: "settings of AWS", fault: "cannot be loaded: " + strings.Join(strings.Fields(err.Error()), " "),
		do: "correct the value in the environment, " + files[0] + " or " + files[1]}
}

// containerURI is the variable that the SDK's errors about it do not name.
const containerURI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"

var credentialSourceForm = regexp.MustCompile(`(?m)^\s*credential_source\s*=\s*(.*?)\s*$`)

// wrongCredentialSource returns the first value of credential_source in the shared files
// that the SDK does not know. Its error does not have it.
func wrongCredentialSource() string {
	for _, file := range Files() {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // the SDK has read the file that has the value
		}
		for _, found := range credentialSourceForm.FindAllSubmatch(data, -1) {
			if value := string(found[1]); !slices.Contains([]string{"EcsContainer", "Ec2InstanceMetadata", fromEnvironment}, value) {
				return value
			}
		}
	}
	return ""
}

// missingProfile explains that a profile does not exist.
func missingProfile(name string) error {
	files, profiles := Files(), profileNames()
	e := &Error{
		name: "profile", value: name,
		fault: fmt.Sprintf("is not in %s; these files have the profiles: %s", strings.Join(files, " or "), cmp.Or(cut(strings.Join(profiles, ", ")), "(none)")),
		do:    "correct the name in AWS_PROFILE or the configuration, or add the profile to " + files[0],
	}
	if near := nearest(name, profiles); near != "" {
		e.do = fmt.Sprintf("did you mean %s? correct the name, or add the profile to %s", near, files[0])
	}
	return e
}

var sectionForm = regexp.MustCompile(`(?m)^\s*\[\s*(profile\s+)?["']?([^\]"']+?)["']?\s*\]`)

// profileNames returns the profiles in the shared files, sorted.
func profileNames() (names []string) {
	for i, file := range Files() {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // a file that cannot be read is an error of its own
		}
		for _, section := range sectionForm.FindAllSubmatch(data, -1) {
			isProfile := i == 1 || len(section[1]) > 0 || string(section[2]) == "default"
			if isProfile {
				names = append(names, string(section[2]))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// nearest returns the name with the least edits, if they are few.
func nearest(name string, names []string) (near string) {
	least := max(2, len(name)/3) + 1
	for _, other := range names {
		if d := edits(strings.ToLower(name), strings.ToLower(other)); d < least {
			near, least = other, d
		}
	}
	return near
}

func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0]++
		for j := range b {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// CheckFiles returns an error for a shared file with a byte order mark: the SDK does
// not see its first section.
func CheckFiles() error {
	for _, file := range Files() {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // the SDK reports the errors that matter
		}
		for _, mark := range []string{"\ufeff", "\xff\xfe", "\xfe\xff"} {
			if bytes.HasPrefix(data, []byte(mark)) {
				return &Error{name: file, fault: "begins with a byte order mark", do: "save " + file + " as UTF-8 without a byte order mark"}
			}
		}
	}
	return nil
}

// Files returns the paths of the config and the credentials file.
func Files() []string {
	files := []string{os.Getenv("AWS_CONFIG_FILE"), os.Getenv("AWS_SHARED_CREDENTIALS_FILE")}
	for i, usual := range []func() string{config.DefaultSharedConfigFilename, config.DefaultSharedCredentialsFilename} {
		if files[i] == "" {
			files[i] = usual()
		}
	}
	return files
}

// cut bounds text in messages.
func cut(text string) string {
	const most = 300
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
