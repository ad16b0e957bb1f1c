package main

import (
	"bytes"
	"errors"
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

// nightly returns the blocks in a language of the README's section.
func nightly(t *testing.T, language string) (blocks []string) {
	t.Helper()
	_, section, found := strings.Cut(readDocument(t, "../../README.md"), "\n### Every night\n")
	section, _, ended := strings.Cut(section, "\n## ")
	if !found || !ended {
		t.Fatal("README.md has no section Every night")
	}
	for _, block := range fenced.FindAllStringSubmatch(section, -1) {
		if block[1] == language {
			blocks = append(blocks, block[2])
		}
	}
	return blocks
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

// hopeless are the exit codes after which another try at once does not help.
var hopeless = []int{exitUsage, exitIncomplete, exitBudget, exitNoJob, exitLocked, exitPlanDiffers}

// patience is how long a run of the README's harvest.yaml may go on after an
// interrupt, and how much of it the hooks may take.
func patience(t *testing.T) (all, hooks time.Duration) {
	t.Helper()
	_, example, _ := strings.Cut(readDocument(t, "../../README.md"), "\n## harvest.yaml\n")
	_, example, _ = strings.Cut(example, "```yaml\n")
	example, _, _ = strings.Cut(example, "```\n")
	s, err := config.Parse("README.md", []byte(example), func(string) (string, bool) { return "x", true })
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
	units := nightly(t, "ini")
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
	if !slices.Equal(codes, hopeless) {
		t.Errorf("RestartPreventExitStatus=%v, want %v", codes, hopeless)
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
	lines := nightly(t, "crontab")
	if len(lines) != 1 {
		t.Fatalf("%d blocks", len(lines))
	}
	fields := strings.Fields(lines[0])
	for i, most := range []int{59, 23, 31, 12, 7} {
		if n, err := strconv.Atoi(fields[i]); fields[i] != "*" && (err != nil || n < 0 || n > most) {
			t.Errorf("field %d: %q", i+1, fields[i])
		}
	}
	command := fields[5:]
	if i := slices.IndexFunc(command, func(s string) bool { return strings.HasPrefix(s, ">") }); i >= 0 {
		command = command[:i]
	}
	if c := parsed(t, command[1:]); c.Name() != "run" || command[0] != "/usr/local/bin/cwharvest" {
		t.Errorf("%q", command)
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
	blocks := nightly(t, "yaml")
	if len(blocks) != 1 {
		t.Fatalf("%d blocks", len(blocks))
	}
	d := yaml.NewDecoder(strings.NewReader(blocks[0]), yaml.Strict())
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
	if len(rules) == 0 || rules[0].Action != "FailJob" || rules[0].OnExitCodes == nil || rules[0].OnExitCodes.Operator != "In" || !slices.Equal(rules[0].OnExitCodes.Values, hopeless) {
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
