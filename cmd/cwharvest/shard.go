package main

import (
	"fmt"
	"log/slog"
	"regexp"
	"strconv"

	"cwharvest/store/record"
)

// arrays lists the schedulers that number the jobs of an array, with their variables.
var arrays = []struct {
	scheduler, index, size string
	first                  int
}{
	{"Kubernetes", "JOB_COMPLETION_INDEX", "", 0},
	{"AWS Batch", "AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE", 0},
	{"Slurm", "SLURM_ARRAY_TASK_ID", "", 1}, // its variable for the size describes the latest submission only
}

const sameSize = "give the array and M the same size"

var shardForm = regexp.MustCompile(`^(auto|\d{1,6})/(\d{1,6})$`)

// parseShard parses 2/4, or auto/4, where a scheduler's variable names the number.
func parseShard(text string, getenv func(string) string) (s record.Shard, err error) {
	m := shardForm.FindStringSubmatch(text)
	if m == nil {
		return s, hintedError{fmt.Errorf("%q is not a shard", text), "write N/M, such as 2/4 for the second of four, or auto/M in an array of jobs"}
	}
	s.Of, _ = strconv.Atoi(m[2]) // at most six digits
	s.Number, _ = strconv.Atoi(m[1])
	if m[1] == "auto" && s.Of > 0 {
		s.Number, err = arrayNumber(s.Of, getenv)
	} else if s.Number < 1 || s.Number > s.Of {
		err = fmt.Errorf("%q is not possible: shards are counted from 1 to M", text)
	}
	if err != nil {
		return record.Shard{}, err
	}
	return s, nil
}

// arrayNumber returns the job's number in its array, counted from 1.
func arrayNumber(of int, getenv func(string) string) (int, error) {
	for _, a := range arrays {
		text := getenv(a.index)
		if text == "" {
			continue
		}
		index, err := strconv.Atoi(text)
		number := index - a.first + 1
		if err != nil || number < 1 || number > of {
			return 0, hintedError{fmt.Errorf("auto/%d: %s=%.20q, but %s would count from %d to %d", of, a.index, text, a.scheduler, a.first, a.first+of-1), sameSize}
		}
		if size := getenv(a.size); a.size != "" && size != "" && size != strconv.Itoa(of) {
			return 0, hintedError{fmt.Errorf("auto/%d: %s=%.20q", of, a.size, size), sameSize}
		}
		return number, nil
	}
	return 0, hintedError{fmt.Errorf("auto/%d: no variable of Kubernetes, AWS Batch or Slurm numbers this job", of), fmt.Sprintf("write 1/%d to %d/%d", of, of, of)}
}

// warnOfArrays warns when each job of an array would harvest all targets.
func warnOfArrays(shard record.Shard, getenv func(string) string, log *slog.Logger) {
	for _, a := range arrays {
		if shard == (record.Shard{}) && getenv(a.index) != "" {
			log.Warn("each job of this array harvests all targets; --shard auto/M divides them", "variable", a.index)
		}
	}
}
