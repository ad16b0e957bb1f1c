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
	Name    string    `json:"name"` // relative to Spec.Out
	Segment uint64    `json:"segment"`
	Date    string    `json:"date"` // UTC date of its rows
	Rows    int64     `json:"rows"`
	Bytes   int64     `json:"bytes"`
	First   time.Time `json:"first"` // timestamp of the earliest row
	Last    time.Time `json:"last"`  // and of the latest
	SHA256  string    `json:"sha256"`
}

func PartName(plan Plan, day int64, segment uint64) string {
	return fmt.Sprintf("date=%s/%s-%06d%s", DateOf(day), plan.ID, segment, plan.OutputFormat().Suffix())
}

// clear forgets what was counted.
func (p *Part) Reset() { p.Rows, p.First, p.Last = 0, time.Time{}, time.Time{} }

// describe counts a run for the manifest.
func (p *Part) CountRun(columns [][]float64, start, period int64, points int) {
	if first, end, rows := trim(columns, 0, points); rows > 0 {
		p.Count(start, period, first, end, rows)
	}
}

// count counts the rows from a point of a grid up to another.
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

// readRuns yields the runs of an output file.
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

// partForm is the name of a part, after its job's.
var PartForm = regexp.MustCompile(`^(.+-[0-9a-f]{6})-\d{6}(-r\d{6})?\.(parquet|csv|jsonl)(\.gz|\.zst)?$`)

// dataForm is the name of a file that readers of a place take for data.
var DataForm = regexp.MustCompile(`^[^_.].*\.(parquet|csv|jsonl)(\.gz|\.zst)?$`)

// everyPart is where the parts of a place are.
const EveryPart = "date=*/*"

// strangers are those of the names whose jobs are not among the known ones, nor
// another shard's: a place belongs to one directory or to the shards of one, so
// that their database and their manifest are lost, and a new job would bring
// their rows twice.
func UnknownParts(all, known []string, shard Shard) (names []string) {
	for _, name := range all {
		if m := PartForm.FindStringSubmatch(path.Base(name)); m != nil && !slices.Contains(known, m[1]) && !shard.sibling(m[1]) {
			names = append(names, name)
		}
	}
	return names
}
