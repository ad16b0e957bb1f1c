package record

import (
	"encoding/binary"
	"fmt"
)

// Outcome returns the outcome of an instance. If its target is denied, it also
// returns the denial.
func (p *Progress) Outcome(denied *Failure) (string, *Failure) {
	switch {
	case p.Complete && p.Failed != nil:
		return "failed", nil
	case p.Complete && p.Rows == 0:
		return "empty", nil
	case p.Complete:
		return "done", nil
	case denied != nil:
		return "denied", denied
	}
	return "pending", nil
}

// Shape maps the series-windows of one group to bits of an instance's progress,
// sorted by series, then window. It is frozen with the job.
type Shape struct {
	Bits   []SeriesWindow       // by bit
	Index  map[SeriesWindow]int // the inverse
	Points int64                // estimated datapoints of one instance

	Cost, Worst float64 // USD of one instance
}

// NewShapes returns the shapes of a plan by group.
func NewShapes(series []Series) map[string]*Shape {
	shapes := map[string]*Shape{}
	for s := range series {
		group := series[s].Group()
		sh := shapes[group]
		if sh == nil {
			sh = &Shape{Index: map[SeriesWindow]int{}}
			shapes[group] = sh
		}
		sh.Cost += series[s].CostUSD
		sh.Worst += series[s].WorstUSD
		for w := range series[s].Windows {
			sw := SeriesWindow{Series: s, Window: w}
			sh.Index[sw] = len(sh.Bits)
			sh.Bits = append(sh.Bits, sw)
			sh.Points += series[s].Points(w)
		}
	}
	return shapes
}

// Progress is the progress of one instance: a bitmap of series-windows that are
// done, one of those that failed, and their number of rows. Encode drops the
// bitmaps once all are done.
type Progress struct {
	Complete bool
	Rows     uint64
	Done     []byte
	Failed   []byte // nil if none failed
}

const (
	flagComplete = 1 << iota
	flagFailed
)

// Encode returns flags, rows and the bitmaps: see doc.go.
func (p *Progress) Encode() []byte {
	var flags byte
	if p.Complete {
		flags |= flagComplete
	}
	if p.Failed != nil {
		flags |= flagFailed
	}
	b := binary.AppendUvarint([]byte{flags}, p.Rows)
	if p.Complete && p.Failed == nil {
		return b
	}
	return append(append(b, p.Done...), p.Failed...)
}

// IsComplete reports whether an encoded progress has an outcome for every
// series-window.
func IsComplete(b []byte) bool { return len(b) > 0 && b[0]&flagComplete != 0 }

// HasFailed reports whether an encoded progress has a failed series-window.
func HasFailed(b []byte) bool { return len(b) > 0 && b[0]&flagFailed != 0 }

// ProgressRows returns the rows of an encoded progress.
func ProgressRows(b []byte) (uint64, error) {
	rows, _, err := progressHead(b)
	return rows, err
}

// progressHead returns the rows and the bitmaps of an encoded progress.
func progressHead(b []byte) (rows uint64, maps []byte, err error) {
	if len(b) < 2 {
		return 0, nil, fmt.Errorf("progress %x is too short", b)
	}
	rows, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return 0, nil, fmt.Errorf("progress %x: bad row count", b)
	}
	return rows, b[1+n:], nil
}

// DecodeProgress decodes the progress of an instance with so many series-windows;
// nil stands for an instance without progress.
func DecodeProgress(b []byte, bits int) (Progress, error) {
	size := (bits + 7) / 8
	p := Progress{Done: make([]byte, size)}
	if b == nil {
		return p, nil
	}
	rows, maps, err := progressHead(b)
	if err != nil {
		return p, err
	}
	if b[0] > flagComplete|flagFailed {
		return p, fmt.Errorf("progress %x: unknown flags", b)
	}
	p.Complete, p.Rows = b[0]&flagComplete != 0, rows
	want := 0
	switch {
	case b[0]&flagFailed != 0:
		want = 2 * size
		p.Failed = make([]byte, size)
	case !p.Complete:
		want = size
	}
	if len(maps) != want {
		return p, fmt.Errorf("progress %x: %d bytes of bitmaps, want %d", b, len(maps), want)
	}
	if want > 0 {
		copy(p.Done, maps)
		copy(p.Failed, maps[size:])
	}
	return p, nil
}

// BitSet reports whether a bit of a bitmap is set; a nil bitmap has none.
func BitSet(m []byte, i int) bool { return m != nil && m[i/8]&(1<<(i%8)) != 0 }

// SetBit sets a bit of a bitmap.
func SetBit(m []byte, i int) { m[i/8] |= 1 << (i % 8) }

// Marked reports whether a series-window is done or failed.
func (p *Progress) Marked(i int) bool {
	return p.Complete && p.Failed == nil || BitSet(p.Done, i) || BitSet(p.Failed, i)
}

// Mark marks one of so many series-windows as done or failed. It reports whether
// the instance is complete now.
func (p *Progress) Mark(i, bits int, failed bool) bool {
	if failed {
		if p.Failed == nil {
			p.Failed = make([]byte, len(p.Done))
		}
		SetBit(p.Failed, i)
	} else {
		SetBit(p.Done, i)
	}
	for b := range bits {
		if !p.Marked(b) {
			return false
		}
	}
	p.Complete = true
	return true
}

// Skip marks the series-windows of metrics that an instance does not have as done, and
// makes those that it has gained pending. It reports whether the progress changed, and
// whether the instance was complete and no longer is.
func (p *Progress) Skip(in, before *Instance, sh *Shape, series []Series) (changed, reopened bool) {
	for bit, sw := range sh.Bits {
		metric := series[sw.Series].Metric
		switch has := in.Has(metric); {
		case !has && !p.Marked(bit):
			SetBit(p.Done, bit)
			changed = true
		case has && before != nil && !before.Has(metric):
			reopened = reopened || p.Complete
			p.reopen(len(sh.Bits))
			p.Done[bit/8] &^= 1 << (bit % 8)
			changed = true
		}
	}
	return changed, reopened
}

// reopen makes the progress of a complete instance one that can lose bits.
func (p *Progress) reopen(bits int) {
	if p.Complete && p.Failed == nil {
		for bit := range bits {
			SetBit(p.Done, bit)
		}
	}
	p.Complete = false
}

// CountInstance counts a complete instance by its outcome, or takes it back with -1.
func (r *TargetRecord) CountInstance(p *Progress, n int64) {
	switch {
	case p.Failed != nil:
		r.Failed += n
	case p.Rows == 0:
		r.Empty += n
	default:
		r.Done += n
	}
}
