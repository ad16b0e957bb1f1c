package main

import (
	"fmt"
	"log/slog"
	"regexp"
	"strconv"

	"cwharvest/store/record"
)

// arrays are schedulers that number the jobs of an array, and their variables.
var arrays = []struct {
	scheduler, index, size string
	first                  int
}{
	{"Kubernetes", "JOB_COMPLETION_INDEX", "", 0},
	{"AWS Batch", "AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE", 0},
	{"Slurm", "SLURM_ARRAY_TASK_ID", "", 1}, // what it says of the size is that of the latest submission
}

var shardForm = regexp.MustCompile(`^(auto|\d{1,6})/(\d{1,6})$`)

// parseShard reads 2/4, or auto/4: then a scheduler's variable tells which.
func parseShard(text string, getenv func(string) string) (s record.Shard, err error) {
	m := shardForm.FindStringSubmatch(text)
	if m == nil {
		return s, fmt.Errorf("%q: write N/M, such as 2/4 for the second of four, or auto/M in an array of jobs", text)
	}
	s.Of, _ = strconv.Atoi(m[2]) // has six digits at most
	s.Number, _ = strconv.Atoi(m[1])
	if m[1] == "auto" && s.Of > 0 {
		s.Number, err = arrayNumber(s.Of, getenv)
	} else if s.Number < 1 || s.Number > s.Of {
		err = fmt.Errorf("%q: shards are counted from 1 to M", text)
	}
	if err != nil {
		return record.Shard{}, err
	}
	return s, nil
}

// arrayNumber is the job's number in its array, from 1.
func arrayNumber(of int, getenv func(string) string) (int, error) {
	for _, a := range arrays {
		text := getenv(a.index)
		if text == "" {
			continue
		}
		index, err := strconv.Atoi(text)
		number := index - a.first + 1
		if err != nil || number < 1 || number > of {
			return 0, fmt.Errorf("auto/%d: %s=%.20q, and %s counts %d to %d then; the array and M must have the same size", of, a.index, text, a.scheduler, a.first, a.first+of-1)
		}
		if size := getenv(a.size); a.size != "" && size != "" && size != strconv.Itoa(of) {
			return 0, fmt.Errorf("auto/%d: %s=%.20q; the array and M must have the same size", of, a.size, size)
		}
		return number, nil
	}
	return 0, fmt.Errorf("auto/%d: no variable of Kubernetes, AWS Batch or Slurm tells which job of an array this is; write 1/%d to %d/%d", of, of, of, of)
}

// warnOfArrays warns when each job of an array would harvest all targets.
func warnOfArrays(shard record.Shard, getenv func(string) string, log *slog.Logger) {
	for _, a := range arrays {
		if shard == (record.Shard{}) && getenv(a.index) != "" {
			log.Warn("each job of this array harvests all targets; --shard auto/M divides them", "variable", a.index)
		}
	}
}
