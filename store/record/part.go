package record

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"time"

	"cwharvest/store/encode"
	"cwharvest/store/place"
)

// Part is one immutable output file, as the manifest lists it.
type Part struct {
	Name    string    `json:"name"` // relative to Plan.Out
	Segment uint64    `json:"segment"`
	Date    string    `json:"date"` // UTC date of its rows
	Rows    int64     `json:"rows"`
	Bytes   int64     `json:"bytes"`
	First   time.Time `json:"first"` // timestamp of the earliest row
	Last    time.Time `json:"last"`  // and of the latest
	SHA256  string    `json:"sha256"`
}

// PartName returns the name of the part for one date of a segment.
func PartName(plan Plan, day int64, segment uint64) string {
	return fmt.Sprintf("date=%s/%s-%06d%s", DateOf(day), plan.ID, segment, plan.OutputFormat().Suffix())
}

// Reset sets the counts to zero.
func (p *Part) Reset() { p.Rows, p.First, p.Last = 0, time.Time{}, time.Time{} }

// CountRun adds the rows of a run.
func (p *Part) CountRun(columns [][]float64, start, period int64, points int) {
	if first, end, rows := trim(columns, 0, points); rows > 0 {
		p.Count(start, period, first, end, rows)
	}
}

// Count adds rows between two points of a grid.
func (p *Part) Count(start, period int64, first, end, rows int) {
	from := time.Unix(start+int64(first)*period, 0).UTC()
	to := time.Unix(start+int64(end-1)*period, 0).UTC()
	if p.First.IsZero() || from.Before(p.First) {
		p.First = from
	}
	if to.After(p.Last) {
		p.Last = to
	}
	p.Rows += int64(rows)
}

// ReadRuns yields the runs of an output file. The next call reuses the run.
func ReadRuns(ctx context.Context, at place.Place, format encode.Format, name string, yield func(run *encode.Run, columns []string) error) error {
	object, err := at.Open(ctx, name)
	if err != nil {
		return err
	}
	rows, err := format.NewReader(object, object.Size())
	if err != nil {
		return errors.Join(err, object.Close())
	}
	var run encode.Run
	for err == nil {
		if err = rows.Next(&run); err == nil {
			err = yield(&run, rows.Columns())
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, rows.Close(), object.Close())
}

// PartForm matches the names of parts. The first group is the job's id.
var PartForm = regexp.MustCompile(`^(.+-[0-9a-f]{6})-\d{6}(-r\d{6})?\.(parquet|csv|jsonl)(\.gz|\.zst)?$`)

// DataForm matches the names of files that query engines read as data.
var DataForm = regexp.MustCompile(`^[^_.].*\.(parquet|csv|jsonl)(\.gz|\.zst)?$`)

// EveryPart is the pattern of the parts in a place.
const EveryPart = "date=*/*"

// UnknownParts returns the parts of jobs that are neither known nor of another
// shard. A place belongs to one directory, or to the shards of one division.
// Therefore the database and the manifest of such a job are lost, and a new job
// would write its rows a second time.
func UnknownParts(all, known []string, shard Shard) (names []string) {
	for _, name := range all {
		if m := PartForm.FindStringSubmatch(path.Base(name)); m != nil && !slices.Contains(known, m[1]) && !shard.sibling(m[1]) {
			names = append(names, name)
		}
	}
	return names
}
