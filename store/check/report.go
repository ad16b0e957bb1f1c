package check

import (
	"fmt"

	"cwharvest/store/record"
)

// Report is what Verify found. It is good when Problems is empty.
type Report struct {
	Jobs  int
	Parts int
	Rows  int64 // in parts and in the spool
	Bytes int64 // of parts

	// Of all jobs whose database is there: planned is the sum of the rest.
	Instances record.InstanceCounts
	Targets   record.TargetCounts

	Problems []string
	Damaged  []string // parts and inventories that are missing or altered
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// Repaired tells what Repair did to one job.
type Repaired struct {
	Job     string
	Sound   bool   // nothing was wrong with the database
	Problem string // what was
	Files   string // what was wrong with specification or manifest, which were written anew
	Backup  string // where the damaged database went; empty when there was none

	Rows    int64    // that are published and not fetched again
	Dropped []string // parts that were damaged, or of one segment with such: their rows are fetched again
}
