package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// TestDockerfile proves that the image holds only the program and certificates,
// and does not run as root.
func TestDockerfile(t *testing.T) {
	var from, user, entry, volume string
	var build, certificates bool
	labels := map[string]bool{}
	for line := range strings.Lines(strings.ReplaceAll(readDocument(t, "Dockerfile"), "\\\n", " ")) {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		switch instruction {
		case "FROM": // starts a new stage
			from, user, entry, volume, certificates = rest, "", "", "", false
		case "RUN":
			build = build || strings.Contains(rest, "CGO_ENABLED=0") && strings.Contains(rest, "-trimpath") &&
				strings.Contains(rest, "-X main.version=$VERSION -X main.revision=$REVISION")
		case "COPY":
			certificates = certificates || strings.Contains(rest, "/etc/ssl/certs/ca-certificates.crt")
		case "USER":
			user = rest
		case "ENTRYPOINT":
			entry = rest
		case "VOLUME":
			volume = rest
		case "LABEL":
			name, _, _ := strings.Cut(rest, "=")
			labels[name] = true
		case "", "#", "ARG", "WORKDIR":
		default:
			t.Errorf("instruction %q", instruction)
		}
	}
	if from != "scratch" && !strings.Contains(from, "distroless") {
		t.Errorf("the last stage is FROM %q", from)
	}
	if uid, _, _ := strings.Cut(user, ":"); strings.Trim(uid, "0123456789") != "" || strings.Trim(uid, "0") == "" {
		t.Errorf("USER %q: a number other than 0, which runAsNonRoot can check", user)
	}
	var program []string
	if err := json.Unmarshal([]byte(entry), &program); err != nil || !slices.Equal(program, []string{"/usr/local/bin/cwharvest"}) {
		t.Errorf("ENTRYPOINT %s: %v", entry, err)
	}
	if !build || !certificates || volume != "/harvest" {
		t.Errorf("static build %v, certificates %v, volume %q", build, certificates, volume)
	}
	for _, name := range []string{"title", "description", "version", "revision"} {
		if !labels["org.opencontainers.image."+name] {
			t.Errorf("no label %s", name)
		}
	}
}
