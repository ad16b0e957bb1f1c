package record

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cwharvest/store/encode"
)

// Plan is the frozen plan of a job, as far as the store needs it. Settings holds
// the whole frozen configuration, which the store keeps without reading it.
type Plan struct {
	ID          string          `json:"id"` // set by store.Dir.Create
	Name        string          `json:"name"`
	Start       time.Time       `json:"start"`
	End         time.Time       `json:"end"`
	Created     time.Time       `json:"created"`
	Out         string          `json:"out"` // directory of the parts; absolute, or below the harvest directory
	Format      string          `json:"format"`
	Compression string          `json:"compression,omitempty"` // of text formats: none, gzip, zstd
	PartSize    int64           `json:"part_size"`             // bytes of spool per segment; its parts have about as many
	Series      []Series        `json:"series"`                // sorted by namespace and metric
	Settings    json.RawMessage `json:"plan"`
	Targets     []Target        `json:"targets,omitempty"` // at the creation of the job
	Shard       Shard           `json:"shard,omitzero"`
}

// OutputFormat returns the encoder of the job's files.
func (p *Plan) OutputFormat() encode.Format {
	return encode.Format{Name: p.Format, Compression: p.Compression}
}

// Statistics returns the union of all series' statistics in column order.
func (p *Plan) Statistics() []string {
	all := map[string]bool{}
	for i := range p.Series {
		for _, statistic := range p.Series[i].Statistics {
			all[statistic] = true
		}
	}
	return encode.SortStatistics(maps.Keys(all))
}

// InventoryPath returns the directory of inventories, relative to the place of
// output: beside a place called data, inside any other, so that it never leaves
// the directory that the user named.
func (p *Plan) InventoryPath() string {
	if path.Base(filepath.ToSlash(p.Out)) == "data" {
		return "../instances"
	}
	return "instances"
}

// InventoryPlace returns the place of the inventories of all jobs with this output.
func (p *Plan) InventoryPlace() string {
	if scheme, rest, remote := strings.Cut(p.Out, "://"); remote {
		bucket, prefix, _ := strings.Cut(rest, "/")
		return scheme + "://" + bucket + path.Join("/", prefix, p.InventoryPath())
	}
	return filepath.Join(p.Out, filepath.FromSlash(p.InventoryPath()))
}

// Replan replaces a window with one for which CloudWatch still has data.
type Replan struct {
	Window Window    `json:"window"` // replaced in every series that has it
	Now    Window    `json:"now"`    // Gone if CloudWatch has no data left
	At     time.Time `json:"at"`
}

// ApplyReplans replaces windows that have aged out. Data that were fetched before
// stay as they are.
func (p *Plan) ApplyReplans(all []Replan) {
	for _, r := range all {
		for i := range p.Series {
			for w := range p.Series[i].Windows {
				if p.Series[i].Windows[w] == r.Window {
					p.Series[i].Windows[w] = r.Now
				}
			}
		}
	}
}

// Series is one metric with its statistics, for every instance of a group, and the
// windows into which the job's range is split. A series-window is the unit of
// progress.
type Series struct {
	Namespace  string   `json:"namespace"`
	Metric     string   `json:"metric"`
	Dimensions []string `json:"dimensions"`     // names, sorted; its instances have exactly these
	Statistics []string `json:"statistics"`     // as CloudWatch spells them: Average, p99, ...
	Windows    []Window `json:"windows"`        // ascending, disjoint
	Unit       string   `json:"unit,omitempty"` // of the datapoints; empty: whichever they have

	// Cost of one instance over all windows, in USD: if CloudWatch bills five
	// statistics of a metric once, and if it bills every statistic.
	CostUSD  float64 `json:"cost_usd"`
	WorstUSD float64 `json:"worst_usd"`
}

// Group returns the group of the series' instances.
func (s *Series) Group() string { return group(s.Namespace, s.Dimensions) }

// Points returns the estimated number of datapoints of one series-window.
func (s *Series) Points(window int) int64 {
	return int64(s.Windows[window].Points()) * int64(len(s.Statistics))
}

// SeriesWindow names one series-window of an instance.
type SeriesWindow struct {
	Series int // index into Plan.Series
	Window int // index into Series.Windows
}

// Window is a half-open time range aligned to its period, in Unix seconds.
type Window struct {
	Start  int64 `json:"start"`
	End    int64 `json:"end"`
	Period int64 `json:"period"` // seconds
}

// Gone reports whether the window is empty: it was replanned after CloudWatch had
// dropped its data.
func (w Window) Gone() bool { return w.End <= w.Start }

// Points returns the number of timestamps in the window.
func (w Window) Points() int { return int(max(w.End-w.Start, 0) / w.Period) }

// possible reports whether a spool value can hold the window.
func (w Window) possible(statistics int) bool {
	return w.Period > 0 && 0 <= w.Start && w.Start <= w.End && w.End <= encode.LastSecond && w.Points() <= maxSpoolPoints/statistics
}

// check refuses a plan with the id of another job, or with an impossible window.
func (p *Plan) check(id string) error {
	if p.ID != id {
		return fmt.Errorf("it is the plan of job %q", p.ID)
	}
	if err := p.OutputFormat().Validate(); err != nil {
		return err
	}
	for i := range p.Series {
		series := &p.Series[i]
		if len(series.Statistics) == 0 {
			return fmt.Errorf("metric %q has no statistics", series.Metric)
		}
		for _, w := range series.Windows {
			if !w.possible(len(series.Statistics)) {
				return fmt.Errorf("metric %q has an impossible window %+v", series.Metric, w)
			}
		}
	}
	return nil
}

// maxSpoolPoints limits the memory that a damaged value can make us allocate.
const maxSpoolPoints = 1 << 20

// SeriesOf returns the index of the series of a metric with a dimension set, or -1.
func (p *Plan) SeriesOf(namespace, metric, dimensions string) int {
	return slices.IndexFunc(p.Series, func(s Series) bool {
		return s.Namespace == namespace && s.Metric == metric && hasNames(dimensions, s.Dimensions)
	})
}
