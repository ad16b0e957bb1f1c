package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cwharvest/cmd/cwharvest/docs"
	"cwharvest/pipeline/config"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
)

func readDocument(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var fenced = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")

// blocks returns the fenced blocks in a language of a document.
func blocks(document, language string) (found []string) {
	for _, block := range fenced.FindAllStringSubmatch(document, -1) {
		if block[1] == language {
			found = append(found, block[2])
		}
	}
	return found
}

// section returns a section of a page of the manual.
func section(t *testing.T, topic, title string) string {
	t.Helper()
	_, text, found := strings.Cut(docs.Markdown(topic), "\n## "+title+"\n")
	if !found {
		t.Fatalf("%s.md has no section %s", topic, title)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// parsed is the command that a command line means, its flags set.
func parsed(t *testing.T, args []string) *cobra.Command {
	t.Helper()
	c, rest, err := newRoot().Find(args)
	if err == nil {
		err = c.ParseFlags(rest)
	}
	if err == nil {
		err = c.ValidateArgs(c.Flags().Args())
	}
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return c
}

// stopping returns the exit codes after which a scheduler should not run the same command again soon.
func stopping() (codes []int) {
	for _, e := range exitTable {
		if e.code != exitComplete && !e.retry {
			codes = append(codes, e.code)
		}
	}
	return codes
}

// TestExitCodesAreDocumented holds the table of the manual to the program's.
func TestExitCodesAreDocumented(t *testing.T) {
	var b strings.Builder
	for _, e := range exitTable {
		fmt.Fprintf(&b, "| %d | %s | %s |\n", e.code, e.meaning, retryText(e.code, e.retry))
	}
	if text := section(t, "operations", "Exit codes"); !strings.Contains(text, "|---|---|---|\n"+b.String()+"\n") {
		t.Errorf("operations.md has\n%s\nwant the rows\n%s", text, b.String())
	}
}

// patience returns how long a run of the manual's harvest.yaml may continue after an interrupt, and how much of that the hooks may
// take.
func patience(t *testing.T) (all, hooks time.Duration) {
	t.Helper()
	example := blocks(section(t, "configuration", "Example"), "yaml")[0]
	s, err := config.Parse("configuration.md", []byte(example), func(string) (string, bool) { return "x", true })
	if err != nil || len(s.OnFinish) == 0 {
		t.Fatalf("%d hooks, %v", len(s.OnFinish), err)
	}
	for _, h := range s.OnFinish {
		hooks += h.Timeout
	}
	drain, err := newRun().Flags().GetDuration("drain-timeout")
	if err != nil {
		t.Fatal(err)
	}
	return drain + hooks, hooks
}

func TestServiceAndTimer(t *testing.T) {
	units := blocks(section(t, "operations", "systemd"), "ini")
	if len(units) != 2 {
		t.Fatalf("%d units", len(units))
	}
	settings := map[string]string{}
	for line := range strings.Lines(units[0] + units[1]) {
		line = strings.TrimSpace(line)
		if key, value, found := strings.Cut(line, "="); found && line[0] != '#' {
			settings[key] = value
		}
	}
	for key, want := range map[string]string{"Type": "notify", "TimeoutStartSec": "infinity", "Restart": "on-failure", "RestartSec": "60",
		"KillMode": "mixed", "User": "cwharvest", "StateDirectory": "cwharvest", "Persistent": "true", "WantedBy": "timers.target"} {
		if settings[key] != want {
			t.Errorf("%s=%s, want %s", key, settings[key], want)
		}
	}
	var codes []int
	for _, text := range strings.Fields(settings["RestartPreventExitStatus"]) {
		code, _ := strconv.Atoi(text)
		codes = append(codes, code)
	}
	if !slices.Equal(codes, stopping()) {
		t.Errorf("RestartPreventExitStatus=%v, want %v", codes, stopping())
	}
	if settings["SuccessExitStatus"] != "130 143" || settings["RestartForceExitStatus"] != "130 143" {
		t.Error("an interrupted run is a failure, or is not continued")
	}
	all, hooks := patience(t)
	for key, least := range map[string]time.Duration{"TimeoutStopSec": all, "WatchdogSec": hooks} {
		if d, err := time.ParseDuration(strings.Replace(settings[key], "min", "m", 1)); err != nil || d <= least {
			t.Errorf("%s=%s must be more than %v (%v)", key, settings[key], least, err)
		}
	}
	binary, args, _ := strings.Cut(settings["ExecStart"], " ")
	if c := parsed(t, strings.Fields(args)); c.Name() != "run" || binary != "/usr/local/bin/cwharvest" {
		t.Errorf("ExecStart=%s", settings["ExecStart"])
	}
	verifyUnits(t, strings.ReplaceAll(units[0], binary, "/bin/true"), units[1])
}

func verifyUnits(t *testing.T, service, timer string) {
	t.Helper()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze is not there: the units are not verified")
		return
	}
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "cwharvest.service"), filepath.Join(dir, "cwharvest.timer")}
	for i, text := range []string{service, timer} {
		if err := os.WriteFile(files[i], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), analyze, append([]string{"verify"}, files...)...).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte(dir)) { // an unknown setting is only a warning
		t.Errorf("%v\n%s", err, out)
	}
}

func TestCronLine(t *testing.T) {
	lines := blocks(section(t, "operations", "cron"), "crontab")
	if len(lines) != 1 {
		t.Fatalf("%d blocks", len(lines))
	}
	fields := strings.SplitN(strings.TrimSpace(lines[0]), " ", 6)
	for i, most := range []int{59, 23, 31, 12, 7} {
		if n, err := strconv.Atoi(fields[i]); fields[i] != "*" && (err != nil || n < 0 || n > most) {
			t.Errorf("field %d: %q", i+1, fields[i])
		}
	}
	if strings.Contains(fields[5], "%") {
		t.Error("cron reads % as the end of the line")
	}
	_, command, _ := strings.Cut(fields[5], "/usr/local/bin/cwharvest ")
	command, _, _ = strings.Cut(command, " >")
	if c := parsed(t, strings.Fields(command)); c.Name() != "run" {
		t.Errorf("%q", command)
	}
	for _, e := range exitTable {
		if n, want := cronRuns(t, fields[5], e.code), 1+5*map[bool]int{true: 1}[e.retry]; n != want {
			t.Errorf("after exit %d: %d runs, want %d", e.code, n, want)
		}
	}
}

// cronRuns runs a command line of cron with a cwharvest that exits with a code, without its pauses, and returns how often that was
// started.
func cronRuns(t *testing.T, line string, code int) int {
	t.Helper()
	fake := fmt.Sprintf("sleep() { :; }; cwharvest() { echo run >&2; return %d; }; ", code)
	var started bytes.Buffer
	c := exec.CommandContext(t.Context(), "/bin/sh", "-c", fake+strings.ReplaceAll(line, "/usr/local/bin/cwharvest", "cwharvest"))
	c.Stderr = &started
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	return strings.Count(started.String(), "run\n")
}

// TestBatchJobDefinition decodes the retry strategy as AWS Batch defines it, with its limits.
func TestBatchJobDefinition(t *testing.T) {
	var job struct {
		RetryStrategy struct {
			Attempts       int `json:"attempts"`
			EvaluateOnExit []struct {
				OnExitCode string `json:"onExitCode"`
				Action     string `json:"action"`
			} `json:"evaluateOnExit"`
		} `json:"retryStrategy"`
	}
	d := json.NewDecoder(strings.NewReader(blocks(section(t, "operations", "AWS Batch"), "json")[0]))
	d.DisallowUnknownFields()
	if err := d.Decode(&job); err != nil {
		t.Fatal(err)
	}
	var codes []int
	for _, e := range job.RetryStrategy.EvaluateOnExit {
		code, err := strconv.Atoi(e.OnExitCode)
		if err != nil || e.Action != "EXIT" {
			t.Errorf("%+v: %v", e, err)
		}
		codes = append(codes, code)
	}
	const most = 5 // conditions that Batch takes
	if !slices.Equal(codes, stopping()) || len(codes) > most || job.RetryStrategy.Attempts < 2 || job.RetryStrategy.Attempts > 10 {
		t.Errorf("%d attempts, stop on %v, want %v", job.RetryStrategy.Attempts, codes, stopping())
	}
}

type kubeMeta struct {
	APIVersion string            `yaml:"apiVersion"`
	Kind       string            `yaml:"kind"`
	Metadata   map[string]string `yaml:"metadata"`
}

type kubeClaim struct {
	Meta kubeMeta `yaml:",inline"`
	Spec struct {
		AccessModes []string                     `yaml:"accessModes"`
		Resources   map[string]map[string]string `yaml:"resources"`
	} `yaml:"spec"`
}

type kubeRule struct {
	Action      string `yaml:"action"`
	OnExitCodes *struct {
		Operator string `yaml:"operator"`
		Values   []int  `yaml:"values"`
	} `yaml:"onExitCodes"`
	OnPodConditions []map[string]string `yaml:"onPodConditions"`
}

type kubeContainer struct {
	Name            string                       `yaml:"name"`
	Image           string                       `yaml:"image"`
	Args            []string                     `yaml:"args"`
	Resources       map[string]map[string]string `yaml:"resources"`
	SecurityContext struct {
		AllowPrivilegeEscalation *bool               `yaml:"allowPrivilegeEscalation"`
		ReadOnlyRootFilesystem   bool                `yaml:"readOnlyRootFilesystem"`
		Capabilities             map[string][]string `yaml:"capabilities"`
	} `yaml:"securityContext"`
	VolumeMounts []struct {
		Name      string `yaml:"name"`
		MountPath string `yaml:"mountPath"`
		ReadOnly  bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

type kubePod struct {
	RestartPolicy                 string `yaml:"restartPolicy"`
	ServiceAccountName            string `yaml:"serviceAccountName"`
	TerminationGracePeriodSeconds int    `yaml:"terminationGracePeriodSeconds"`
	SecurityContext               struct {
		RunAsNonRoot   bool              `yaml:"runAsNonRoot"`
		RunAsUser      int               `yaml:"runAsUser"`
		RunAsGroup     int               `yaml:"runAsGroup"`
		FSGroup        int               `yaml:"fsGroup"`
		SeccompProfile map[string]string `yaml:"seccompProfile"`
	} `yaml:"securityContext"`
	Containers []kubeContainer `yaml:"containers"`
	Volumes    []struct {
		Name  string            `yaml:"name"`
		Claim map[string]string `yaml:"persistentVolumeClaim"`
		Map   map[string]string `yaml:"configMap"`
	} `yaml:"volumes"`
}

type kubeCronJob struct {
	Meta kubeMeta `yaml:",inline"`
	Spec struct {
		Schedule          string `yaml:"schedule"`
		TimeZone          string `yaml:"timeZone"`
		ConcurrencyPolicy string `yaml:"concurrencyPolicy"`
		JobTemplate       struct {
			Spec struct {
				BackoffLimit     int `yaml:"backoffLimit"`
				PodFailurePolicy struct {
					Rules []kubeRule `yaml:"rules"`
				} `yaml:"podFailurePolicy"`
				Template struct {
					Spec kubePod `yaml:"spec"`
				} `yaml:"template"`
			} `yaml:"spec"`
		} `yaml:"jobTemplate"`
	} `yaml:"spec"`
}

func TestCronJob(t *testing.T) {
	manifests := blocks(section(t, "operations", "Kubernetes"), "yaml")
	if len(manifests) != 1 {
		t.Fatalf("%d blocks", len(manifests))
	}
	d := yaml.NewDecoder(strings.NewReader(manifests[0]), yaml.Strict())
	var claim kubeClaim
	var job kubeCronJob
	if err := errors.Join(d.Decode(&claim), d.Decode(&job)); err != nil {
		t.Fatal(err)
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		t.Errorf("after the CronJob: %v", err)
	}
	if claim.Meta.Kind != "PersistentVolumeClaim" || claim.Meta.APIVersion != "v1" || claim.Spec.Resources["requests"]["storage"] == "" {
		t.Errorf("%+v", claim)
	}
	if job.Meta.Kind != "CronJob" || job.Meta.APIVersion != "batch/v1" || job.Spec.ConcurrencyPolicy != "Forbid" || len(strings.Fields(job.Spec.Schedule)) != 5 {
		t.Errorf("%+v", job)
	}
	rules := job.Spec.JobTemplate.Spec.PodFailurePolicy.Rules
	if len(rules) == 0 || rules[0].Action != "FailJob" || rules[0].OnExitCodes == nil || rules[0].OnExitCodes.Operator != "In" || !slices.Equal(rules[0].OnExitCodes.Values, stopping()) {
		t.Errorf("rules %+v", rules)
	}
	pod := &job.Spec.JobTemplate.Spec.Template.Spec
	if all, _ := patience(t); time.Duration(pod.TerminationGracePeriodSeconds)*time.Second <= all {
		t.Errorf("terminationGracePeriodSeconds %d: a run may take %v", pod.TerminationGracePeriodSeconds, all)
	}
	if pod.RestartPolicy != "Never" || !pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.RunAsUser == 0 || len(pod.Containers) != 1 {
		t.Fatalf("%+v", pod)
	}
	c := &pod.Containers[0]
	if escalates := c.SecurityContext.AllowPrivilegeEscalation; escalates == nil || *escalates || !c.SecurityContext.ReadOnlyRootFilesystem || c.Resources["limits"]["memory"] == "" {
		t.Errorf("%+v", c)
	}
	run := parsed(t, c.Args)
	dir, _ := run.Flags().GetString("dir")
	for _, m := range c.VolumeMounts {
		if m.MountPath == dir && !m.ReadOnly && pod.Volumes[0].Name == m.Name && pod.Volumes[0].Claim["claimName"] == claim.Meta.Metadata["name"] {
			return
		}
	}
	t.Errorf("%s %s: --dir %q is on no volume that lasts", run.Name(), c.Args, dir)
}
