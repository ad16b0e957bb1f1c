package check

import (
	"fmt"

	"cwharvest/store/record"
)

// Report is the result of Verify. The directory is sound if Problems is empty.
type Report struct {
	Jobs  int
	Parts int
	Rows  int64 // in parts and in the spool
	Bytes int64 // of parts

	// Sums over all jobs that have a database.
	Instances record.InstanceCounts
	Targets   record.TargetCounts

	Problems []Problem
	Damaged  []string // parts and inventories that are missing or altered
	strays   []string // files of jobs that no manifest lists
}

// Problem is one finding of Verify.
type Problem struct {
	Fact   string
	Remedy Remedy
}

// Remedy is the next step after a problem.
type Remedy int

const (
	NoRemedy  Remedy = iota
	RepairJob        // repair the directory, then run again
	MoveFileAway
)

func (r *Report) problem(remedy Remedy, format string, args ...any) {
	r.Problems = append(r.Problems, Problem{Fact: fmt.Sprintf(format, args...), Remedy: remedy})
}

// Repaired describes the work of Repair on one job.
type Repaired struct {
	Job     string
	Sound   bool   // the database was not rebuilt
	Problem string // the reason for rebuilding it
	Files   string // the problem of plan, manifest or inventory, if one was
	Backup  string // path of the damaged database; empty if there was none

	Rows    int64    // published, and not fetched again
	Dropped []string // damaged parts and the others of their segments: their rows are fetched again
}
