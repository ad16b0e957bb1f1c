package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"cwharvest/store"
)

// mostShards is no limit of anything; an array of jobs has fewer in AWS Batch
// (10,000), Kubernetes (100,000) and Slurm.
const mostShards = 100_000

// arrays are schedulers that number the jobs of an array, and their variables.
var arrays = []struct {
	scheduler, index, size string
	first                  int
}{
	{"Kubernetes", "JOB_COMPLETION_INDEX", "", 0},
	{"AWS Batch", "AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE", 0},
	{"Slurm", "SLURM_ARRAY_TASK_ID", "", 1}, // what it says of the size is that of the latest submission
}

// parseShard reads 2/4, or auto/4: then a scheduler's variable tells which.
func parseShard(text string, getenv func(string) string) (s store.Shard, err error) {
	number, of, _ := strings.Cut(text, "/")
	if s.Of, err = strconv.Atoi(of); err != nil || s.Of < 1 || s.Of > mostShards {
		return s, fmt.Errorf("%q: write N/M, such as 2/4 for the second of four, or auto/M in an array of jobs", text)
	}
	if number == "auto" {
		s.Number, err = arrayNumber(s.Of, getenv)
		return s, err
	}
	if s.Number, err = strconv.Atoi(number); err != nil || s.Number < 1 || s.Number > s.Of {
		return s, fmt.Errorf("%q: shards are counted from 1 to %d", text, s.Of)
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

// checkShard refuses directories that are divided otherwise, and warns of arrays
// in which each job harvests everything.
func (r *runner) checkShard() error {
	dir, whole := r.spec.Dir, r.spec.Shard == (store.Shard{})
	if !whole {
		dir = filepath.Dir(dir)
	}
	if err := r.spec.Shard.Check(dir); err != nil {
		return err
	}
	for _, a := range arrays {
		if whole && r.getenv(a.index) != "" {
			r.log.Warn("this is a job of an array and harvests all targets, as the others do; --shard auto/M divides them", "variable", a.index)
		}
	}
	return nil
}
