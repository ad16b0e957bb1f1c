package main

import (
	"strings"
	"testing"

	"cwharvest/store/record"
)

func TestParseShard(t *testing.T) {
	for _, c := range []struct {
		text, environment string
		want              record.Shard
		problem           string
	}{
		{"2/4", "", record.Shard{Number: 2, Of: 4}, ""},
		{"1/1", "", record.Shard{Number: 1, Of: 1}, ""},
		{"auto/4", "JOB_COMPLETION_INDEX=0", record.Shard{Number: 1, Of: 4}, ""},
		{"auto/4", "JOB_COMPLETION_INDEX=3", record.Shard{Number: 4, Of: 4}, ""},
		{"auto/4", "AWS_BATCH_JOB_ARRAY_INDEX=1 AWS_BATCH_JOB_ARRAY_SIZE=4", record.Shard{Number: 2, Of: 4}, ""},
		{"auto/4", "SLURM_ARRAY_TASK_ID=1 SLURM_ARRAY_TASK_COUNT=1", record.Shard{Number: 1, Of: 4}, ""}, // one of them again
		{"auto/4", "SLURM_ARRAY_TASK_ID=4", record.Shard{Number: 4, Of: 4}, ""},

		{"auto/4", "JOB_COMPLETION_INDEX=4", record.Shard{}, "Kubernetes would count from 0 to 3"},
		{"auto/4", "SLURM_ARRAY_TASK_ID=0", record.Shard{}, "Slurm would count from 1 to 4"},
		{"auto/4", "JOB_COMPLETION_INDEX=x", record.Shard{}, "give the array and M the same size"},
		{"auto/4", "AWS_BATCH_JOB_ARRAY_INDEX=1 AWS_BATCH_JOB_ARRAY_SIZE=8", record.Shard{}, "give the array and M the same size"},
		{"auto/4", "", record.Shard{}, "write 1/4 to 4/4"},
		{"auto", "", record.Shard{}, "write N/M"},
		{"", "", record.Shard{}, "write N/M"},
		{"2", "", record.Shard{}, "write N/M"},
		{"2/", "", record.Shard{}, "write N/M"},
		{"1/-4", "", record.Shard{}, "write N/M"},
		{"1/1000001", "", record.Shard{}, "write N/M"},
		{"0/4", "", record.Shard{}, "counted from 1"},
		{"5/4", "", record.Shard{}, "counted from 1"},
		{"1/0", "", record.Shard{}, "counted from 1"},
		{"auto/0", "", record.Shard{}, "counted from 1"},
		{"/4", "", record.Shard{}, "write N/M"},
		{"AUTO/4", "", record.Shard{}, "write N/M"},
		{"+2/4", "", record.Shard{}, "write N/M"},
		{"2/4/6", "", record.Shard{}, "write N/M"},
	} {
		environment := map[string]string{}
		for variable := range strings.FieldsSeq(c.environment) {
			name, value, _ := strings.Cut(variable, "=")
			environment[name] = value
		}
		got, err := parseShard(c.text, func(name string) string { return environment[name] })
		switch {
		case c.problem == "" && (err != nil || got != c.want):
			t.Errorf("%q, %q: %v, %v, want %v", c.text, c.environment, got, err, c.want)
		case c.problem != "" && (err == nil || !strings.Contains(err.Error()+"; "+hint(err, choice{}), c.problem)):
			t.Errorf("%q, %q: %v, want %q", c.text, c.environment, err, c.problem)
		}
	}
}
